#!/usr/bin/env bash
# The README's test command: set-up, style, types, import walls, and every test, with coverage of medimg/.
source "$(dirname "$0")/environment.sh" "test,openvino,encoder,video,fast,pdf,pacs"
# shellcheck disable=SC1091
source scripts/system_packages.sh
ruff check .
ruff format --check .
mypy
lint-imports
coverage erase
coverage run -m pytest "$@"
coverage combine --quiet
coverage report --fail-under=85 --skip-covered --sort=cover
