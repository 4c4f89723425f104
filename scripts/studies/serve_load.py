"""How fast the service takes instances in, each safe on the disk before it is acknowledged.

    python scripts/studies/serve_load.py FOLDER [--instances 2000] [--senders 4] [--side 512] [--storescu PROGRAM]

FOLDER must not exist; it is left for looking at. Each sender is a process of its own that sends one series over one
association; --storescu names DCMTK's program (run with TCP_NODELAY=1), else pynetdicom sends. Prints one JSON line:
instances a second from the first to the last acknowledgement, and how long until the last result was stored. Every
instance is checked to be in the journal and on the disk, and every series to have one set of results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "pacs" / "serve"))

from parts import Pacs, Running, ct_series, send, settings_for, wait_for
from tiny import tiny_package

from medimg.pacs.serve.service import CHILDREN

TESTS = Path(__file__).parents[2] / "tests" / "pacs" / "serve"
SEND = "import sys, pydicom; from pathlib import Path; from parts import send; " + (
    "files = [pydicom.dcmread(path) for path in sorted(Path(sys.argv[2]).iterdir())]; "
    "sys.exit(len(send(int(sys.argv[1]), files)) != len(files))"
)


def words(port: int, folder: Path, storescu: str | None) -> list[str]:
    """Return the command of one sender."""
    if storescu:
        return [storescu, "-aet", "SENDER", "-aec", "MEDIMG", "+sd", "127.0.0.1", str(port), str(folder)]
    return [sys.executable, "-c", SEND, str(port), str(folder)]


def write(root: Path, senders: int, each: int, side: int) -> list[Path]:
    """Write the series that are sent."""
    folders = [root / "sent" / str(number) for number in range(senders)]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for index, one in enumerate(ct_series(f"load{number}", each, side=side)):
            one.save_as(folder / f"{index:05d}.dcm", enforce_file_format=True)
    return folders


def series_answered(pacs: Pacs) -> int:
    """Count the series of which the PACS has results: each is a study of its own here."""
    return len({str(one.StudyInstanceUID) for one in list(pacs.got)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--storescu")
    parser.add_argument("--real", action="store_true", help="write SEG, SR and SC instead of stand-ins")
    wanted = parser.parse_args()
    each = wanted.instances // wanted.senders
    folders = write(wanted.folder, wanted.senders, each, wanted.side)
    pacs = Pacs().start()
    settings = settings_for(wanted.folder / "spool", tiny_package(wanted.folder), pacs.port, quiet_s=2.0)
    settings.worker.lease_s = 60.0
    service = Running(settings)
    if wanted.real:
        service.children = dict(CHILDREN)
    service.start()
    send(service.port, [])
    path = os.pathsep.join([str(TESTS), str(TESTS.parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TCP_NODELAY": "1", "TCP_BUFFER_LENGTH": "262144"}
    begun = time.monotonic()
    processes = [subprocess.Popen(words(service.port, folder, wanted.storescu), env=environment) for folder in folders]
    codes = [process.wait() for process in processes]
    sent_s = time.monotonic() - begun
    if any(codes):
        service.stop()
        raise SystemExit(f"a sender failed: {codes}")
    wait_for(lambda: series_answered(pacs) == wanted.senders, 240.0, "results are missing")
    wait_for(lambda: not service.rows("SELECT 1 FROM deliveries WHERE state != 'sent'"), 60.0, "results are not sent")
    done_s = time.monotonic() - begun
    jobs = service.rows("SELECT SUM(finished_s - started_s) AS s FROM jobs")[0]["s"]
    times = service.rows("SELECT MIN(received_s) AS first, MAX(received_s) AS last, COUNT(*) AS n FROM instances")[0]
    service.stop()
    pacs.stop()
    files = sum(1 for _ in (service.root / "series").rglob("*.dcm"))
    uids = {str(one.SOPInstanceUID) for one in pacs.got}
    taken = each * wanted.senders
    if times["n"] != taken or files != taken or len(uids) != len(pacs.got):
        raise SystemExit(f"instances or results are missing: {times['n']}, {files}, {len(uids)}")
    rate = (taken - 1) / (times["last"] - times["first"])
    print(
        json.dumps(
            {
                "instances": taken,
                "bytes_each": next(folders[0].iterdir()).stat().st_size,
                "senders": wanted.senders,
                "sender": "storescu" if wanted.storescu else "pynetdicom",
                "instances_per_s": round(rate, 1),
                "sent_s": round(sent_s, 1),
                "last_result_s": round(done_s, 1),
                "jobs_s": round(jobs, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
