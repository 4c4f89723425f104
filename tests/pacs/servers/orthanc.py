"""A real Orthanc for the tests: on loopback alone, which is checked, and ended by its process number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHIM = Path(__file__).parent / "loopback.c"
_LISTENS, _LOOPBACK = "0A", ("0100007F", "00000000000000000000000001000000")


def missing() -> str | None:
    """Return what is not installed, or None."""
    for name in ("Orthanc", "gcc", "storescu"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    return None if PLUGIN.exists() else "Orthanc's DICOMweb plug-in is not installed"


class Orthanc:
    """One server in a folder of its own."""

    def __init__(self, folder: Path, dicom_port: int, http_port: int) -> None:
        self.folder, self.dicom_port, self.http_port = folder, dicom_port, http_port
        self.url = f"http://127.0.0.1:{http_port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Orthanc:
        shim = self.folder / "loopback.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", shim, SHIM, "-ldl"], check=True)
        settings = {
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "DicomAet": "PACS",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "UnknownSopClassAccepted": True,
            "SyncStorageArea": False,
            "StableAge": 1,
            "HttpsCACertificates": "",
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        # Without this DCMTK waits for acknowledgements of small packets: five times slower on loopback.
        environment = {**os.environ, "LD_PRELOAD": str(shim), "TCP_NODELAY": "1"}
        with (self.folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                ["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log, env=environment
            )
        self._await()
        wrong = [one for one in listening(self.process.pid) if one[0] not in _LOOPBACK]
        if wrong:
            self.stop()
            raise AssertionError(f"Orthanc listens on other addresses than loopback: {wrong}")
        return self

    def _await(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError((self.folder / "log.txt").read_text()[-2000:])
            try:
                self.get("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise TimeoutError("Orthanc did not start")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def modalities(self) -> dict[str, list[str]]:
        """Return Orthanc's numbers of the instances of each modality."""
        found: dict[str, list[str]] = {}
        for series in self.get("/series?expand"):
            found.setdefault(series["MainDicomTags"].get("Modality", ""), []).extend(series["Instances"])
        return found


def listening(pid: int) -> list[tuple[str, int]]:
    """Return address (hexadecimal, as the kernel prints it) and port of every socket a process listens on."""
    inodes = set()
    for name in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(name)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENS and words[9] in inodes:
                address, port = words[1].split(":")
                found.append((address, int(port, 16)))
    return found
