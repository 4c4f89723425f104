"""kill -9 of the service's receiver and worker at random points: what is lost, what comes twice.

    python scripts/studies/serve_kill.py FOLDER [--kills 50] [--seed 1]

The same check as tests/pacs/serve/test_kills.py, more often. FOLDER must not exist; it is left for looking at.
Everything is on loopback: senders, service, and a PACS that keeps what it gets. Prints one JSON line; a failed check
ends it with an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "pacs" / "serve"))

from parts import Pacs, Running, settings_for
from test_kills import survive
from tiny import tiny_package


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True)
    pacs = Pacs().start()
    service = Running(settings_for(wanted.folder / "spool", tiny_package(wanted.folder), pacs.port))
    service.environment = {"SLOW_S": "0.3"}
    begun = time.monotonic()
    found = survive(service, pacs, wanted.kills, np.random.default_rng(wanted.seed))
    pacs.stop()
    counters = {row["name"]: row["value"] for row in service.rows("SELECT * FROM counters")}
    print(json.dumps({**found, "seconds": round(time.monotonic() - begun), "counters": counters}))


if __name__ == "__main__":
    main()
