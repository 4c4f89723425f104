#!/usr/bin/env bash
# The whole way on generated scans of all four modalities: set-up, training, report, gate, package, prediction.
source "$(dirname "$0")/environment.sh" "encoder"
medimg doctor
medimg demo output=demo_runs
