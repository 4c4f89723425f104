"""What the tests of the service share: scans, a sender, a PACS that keeps what it gets, the service as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, VLEndoscopicImageStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt

from medimg.io.dicom.uid import uid_from
from medimg.pacs.serve import scu
from medimg.pacs.serve.intake import Intake
from medimg.pacs.serve.journal import Journal
from medimg.pacs.serve.running import Writers
from medimg.pacs.serve.scheduler import Scheduler
from medimg.pacs.serve.settings import (
    CompletenessSettings,
    DestinationSettings,
    ReceiverSettings,
    RetrySettings,
    RouteSettings,
    ServeSettings,
    WorkerSettings,
    save,
)
from medimg.pacs.serve.spool import Spool
from medimg.pacs.serve.wire import meta_header
from medimg.pacs.serve.worker import Worker

HERE = Path(__file__).parent
NAME = "Planted^Patient"
ECHO = ("1.2.840.10008.1.1", "1.2.840.10008.1.2.1")


def ct_slice(series: str, index: int, *, side: int = 24, gap_mm: float = 2.0, **more: Any) -> Dataset:
    """One CT slice; ``index`` places it. Attributes in ``more`` overwrite those here."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid_from("test", series, index)
    dataset.StudyInstanceUID = uid_from("test", "study", series.split("/", maxsplit=1)[0])
    dataset.SeriesInstanceUID = uid_from("test", "series", series)
    dataset.FrameOfReferenceUID = uid_from("test", "frame", series)
    dataset.Modality = "CT"
    dataset.Manufacturer = "Nobody"
    dataset.PatientName, dataset.PatientID = NAME, "PLANTED-4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20260101", "101010", "", "1"
    dataset.ReferringPhysicianName, dataset.PositionReferenceIndicator = "", ""
    dataset.BodyPartExamined, dataset.SeriesDescription = "CHEST", "Thorax 2 mm"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = 1, 1, index + 1
    dataset.ImagePositionPatient = [0.0, 0.0, gap_mm * index]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1.5, 1.5], gap_mm
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    pixels = np.full((side, side), -1000, dtype="<i2")
    pixels[8:14, 8:14] = 900
    pixels[0, 0] = index
    dataset.PixelData = pixels.tobytes()
    for name, value in more.items():
        setattr(dataset, name, value)
    return dataset


def endoscopy(series: str, index: int, side: int = 32) -> Dataset:
    """One endoscopic picture: grey, with a red square."""
    dataset = ct_slice(series, index)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, name)
    for name in ("RescaleIntercept", "RescaleSlope", "FrameOfReferenceUID", "PositionReferenceIndicator"):
        delattr(dataset, name)
    dataset.SOPClassUID, dataset.Modality, dataset.BodyPartExamined = VLEndoscopicImageStorage, "ES", "COLON"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.AcquisitionContextSequence, dataset.LossyImageCompression = [], "00"
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    pixels = np.full((side, side, 3), 60, dtype=np.uint8)
    pixels[8 : 14 + index, 8:14] = (250, 20, 20)
    dataset.PixelData = pixels.tobytes()
    return dataset


def ct_series(series: str, count: int, **more: Any) -> list[Dataset]:
    return [ct_slice(series, index, **more) for index in range(count)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def associate(port: int, datasets: Sequence[Dataset], *, calling: str = "SENDER", called: str = "MEDIMG") -> Any:
    kinds = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets} | {ECHO}
    contexts = [(sop_class, [syntax]) for sop_class, syntax in sorted(kinds)]
    return scu.associate(calling, "127.0.0.1", port, called, contexts, timeout_s=20.0)


def send(
    port: int, datasets: Sequence[Dataset], *, abort_after: int | None = None, calling: str = "SENDER"
) -> list[str]:
    """Send over one association; return the UIDs that were acknowledged."""
    association = associate(port, datasets, calling=calling)
    taken: list[str] = []
    if not association.is_established:
        return taken
    for index, dataset in enumerate(datasets):
        if abort_after == index:
            association.abort()
            return taken
        if not association.is_established:
            break
        try:
            status = association.send_c_store(dataset)
        except (RuntimeError, ValueError):
            break
        if status and status.Status == 0x0000:
            taken.append(str(dataset.SOPInstanceUID))
    if association.is_established:
        association.release()
    return taken


def wait_for(condition: Callable[[], Any], seconds: float = 30.0, what: str = "") -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(what or "the condition was not met in time")


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer HTTP requests on loopback meanwhile; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Pacs:
    """Keeps what it gets. ``answer`` is its status; ``delay_s`` makes it slow."""

    answer: int = 0x0000
    delay_s: float = 0.0
    port: int = 0
    got: list[Dataset] = field(default_factory=list)
    server: Any = None
    title: str = "PACS"

    def start(self) -> Pacs:
        ae = AE(self.title)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, "1.2.840.10008.1.2.1")
            ae.add_supported_context(context.abstract_syntax, "1.2.840.10008.1.2.5")
        self.port = self.port or free_port()
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_OPEN, scu.without_delay)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def _store(self, event: Any) -> int:
        time.sleep(self.delay_s)
        if self.answer == 0x0000:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.got.append(dataset)
        return self.answer


def settings_for(root: Path, package: Path, pacs_port: int, **completeness: Any) -> ServeSettings:
    """Everything on loopback and in a hurry."""
    usual = {"quiet_s": 0.4, "doubt_s": 1.0, "deadline_s": 3600.0, "poll_s": 0.1}
    return ServeSettings(
        root=str(root),
        receiver=ReceiverSettings(port=free_port(), peers=["SENDER", "OTHER"], min_free_bytes=0),
        completeness=CompletenessSettings(**{**usual, **completeness}),
        routes=[RouteSettings("ct", str(package), modality="CT", min_slices=3, destinations=["pacs"])],
        destinations={"pacs": DestinationSettings(port=pacs_port, timeout_s=5.0)},
        worker=WorkerSettings(lease_s=3.0, poll_s=0.1, first_s=0.2, threads=1),
        retry=RetrySettings(tries=20, first_s=0.2, longest_s=0.5),
    )


@dataclass
class Running:
    """The service in its own process, with a worker that writes plain captures."""

    settings: ServeSettings
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    children: dict[str, str] = field(
        default_factory=lambda: {"worker": "stub_worker", "courier": "medimg.pacs.serve.courier"}
    )

    @property
    def root(self) -> Path:
        return Path(self.settings.root)

    @property
    def port(self) -> int:
        return self.settings.receiver.port

    def start(self) -> Running:
        self.root.mkdir(parents=True, exist_ok=True)
        save(self.settings, self.root / "wanted.json")
        paths = os.pathsep.join([str(HERE), str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")])
        words = [
            sys.executable,
            str(HERE / "stub_service.py"),
            str(self.root / "wanted.json"),
            json.dumps(self.children),
        ]
        with (self.root / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                words, stderr=log, env={**os.environ, **self.environment, "PYTHONPATH": paths}
            )
        wait_for(self.listens, 40.0, "the service does not listen")
        return self

    def listens(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(self.log())
        association = associate(self.port, [])
        if association.is_established:
            association.release()
            return True
        return False

    def kill(self) -> None:
        """Kill the receiver without a word."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, seconds: float = 40.0) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)

    def log(self) -> str:
        return (self.root / "log.txt").read_text()

    def journal(self) -> Journal:
        return Journal(self.root / "journal.sqlite")

    def rows(self, statement: str, values: Iterable[Any] = ()) -> list[dict[str, Any]]:
        journal = self.journal()
        try:
            return [dict(row) for row in journal.rows(statement, tuple(values))]
        finally:
            journal.close()

    def worker_pid(self) -> int | None:
        found = self.rows("SELECT pid FROM processes WHERE name = 'worker'")
        return int(found[0]["pid"]) if found else None


@dataclass
class Bench:
    """The parts of the service in this process, moved by hand: clocks are arguments, nothing waits."""

    settings: ServeSettings
    writers: Writers

    def __post_init__(self) -> None:
        self.spool = Spool(Path(self.settings.root))
        self.journal = Journal(self.spool.journal_path)
        self.intake = Intake(self.spool, self.journal, self.settings.receiver)
        self.scheduler = Scheduler(self.settings, self.journal)
        self.worker = Worker(self.settings, self.journal, self.spool, self.writers, "worker-test")

    def take(self, datasets: Iterable[Dataset], ended: str = "released") -> list[str]:
        """Take instances in over one association that ends like this; return what became of each."""
        association = self.intake.open_association("SENDER", "dicom")
        kinds = [self.intake.take(association, *encoded(one)).kind for one in datasets]
        if ended != "open":
            self.intake.close_association(association, ended)
        return kinds

    def turn(self, later_s: float = 1.0) -> None:
        """Look at the series as if so much time had passed, then do what jobs there are."""
        self.scheduler.turn(time.time() + later_s)
        while self.worker.turn(threading.Event()):
            pass

    def one(self, statement: str) -> Any:
        row = self.journal.one(statement)
        return None if row is None else (row[0] if len(row) == 1 else dict(row))

    def files(self) -> list[Dataset]:
        return [dcmread(self.spool.root / row["file"]) for row in self.journal.rows("SELECT file FROM results")]


def encoded(dataset: Dataset) -> tuple[bytes, tuple[bytes, ...], str]:
    """Return what a sender hands over: meta header, data set, announced UID."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    uid = str(dataset.SOPInstanceUID)
    head = meta_header(str(dataset.SOPClassUID), uid, str(dataset.file_meta.TransferSyntaxUID))
    return head, (buffer.getvalue(),), uid
