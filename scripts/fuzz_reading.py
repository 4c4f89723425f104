"""Damage DICOM and NIfTI files by the thousand and read them: the reader must read or refuse, nothing else.

    python scripts/fuzz_reading.py --cases 20000 --seed 0 [--data FOLDER] [--output FOLDER]

A case fails where anything but a medimg error comes out; where reading takes more than 5 s of processor time, hangs, or
ends the process; where memory grows by more than the limit (a cap on the address space, and the peak while reading);
where an image is larger than the policy's ``max_bytes``; where anything is printed, warned or logged; or where an error
names a value that identifies a patient. What C libraries of decoders write to standard error about a damaged stream
cannot hold such a value: it is counted, and is no failure. Each failing file is kept in the output folder with what
happened; failures that end at the same place are told once. ``--only N`` reads case N again in this process. Cases
depend on the seed, the installed packages and FOLDER alone. The exit code is 1 where a case failed.

Seeds are small generated files and those of pydicom and nibabel; with FOLDER (MEDIMG_REAL_DATA has one) also those of
its dicom-conformance and nifti-conformance. Workers are forked once and used again until one hangs or dies.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.mutations import mutate
from fuzzing.seeds import Seed, frame_of_reference, identifying, seeds

from medimg.errors import InputError, MedimgError
from medimg.io.image import Video, Volume
from medimg.io.mask import read_mask
from medimg.io.policy import ReadPolicy
from medimg.io.read import read_all
from medimg.io.sniff import sniff

# Of the processor's time, so that a busy machine fails nobody; a case that takes this many times longer hangs.
LIMIT_S, PATIENCE = 5.0, 6
MAX_BYTES = 64 << 20
# Beside the array itself: files and decoders' buffers; the cap on the address space leaves room to be refused.
MAX_GROWTH_BYTES, MAX_ADDRESS_BYTES = 3 * MAX_BYTES, 12 * MAX_BYTES
NIFTI_PART = 0.3
CASES_A_WORKER = 2000
OUTPUT, CHATTER = "standard output: ", "decoder chatter"
# What Python itself writes: warnings, tracebacks and pydicom's log.
_IS_PYTHON = re.compile(r"Warning: |Traceback|\.py:\d|File \"|pydicom|Exception ignored")
_LIBC = ctypes.CDLL(None)
# The image that masks are put on.
LIKE = Volume(
    np.zeros((4, 8, 6), np.int16),
    np.asarray([[0, 0, 0.7, 0], [0, 0.8, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1.0]]),
    frame_of_reference_uid=frame_of_reference(),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one case: ``read``, ``refused``, or the name of a failure with its place and its story."""

    case: int
    name: str
    place: str = ""
    story: str = ""

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return self.name not in ("read", "refused")


@dataclass(frozen=True)
class Case:
    """One damaged file in a folder of its own, and what is read: the file, or the folder."""

    number: int
    seed: Seed
    data: bytes
    done: str

    def write(self, folder: Path) -> Path:
        """Write the file and its companions; return what is to be read."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / Path(self.seed.name.replace(" ", "_")).name
        path.write_bytes(self.data)
        for name, data in self.seed.companions.items():
            (folder / name).write_bytes(data)
        return folder if self.seed.folder else path


class Cases:
    """Makes any case from its number alone."""

    def __init__(self, found: Sequence[Seed], seed: int) -> None:
        self.seed = seed
        self.kinds = {kind: [one for one in found if one.kind == kind] for kind in ("dicom", "nifti")}
        self.contents = {kind: [one.data for one in ones] for kind, ones in self.kinds.items()}
        self.secrets = {one.name: identifying(one.data) for one in found if one.kind == "dicom"}

    def make(self, number: int) -> Case:
        """Return case ``number``."""
        rng = np.random.default_rng([self.seed, number])
        kind = "nifti" if rng.random() < NIFTI_PART else "dicom"
        chosen = self.kinds[kind][int(rng.integers(0, len(self.kinds[kind])))]
        data, done = mutate(chosen.data, kind, rng, self.contents[kind])
        return Case(number, chosen, data, done)


def main() -> int:
    """Run the cases, print the counts and what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="read this case alone, with its traceback")
    parser.add_argument("--data", type=Path, help="folder with dicom-conformance and nifti-conformance")
    parser.add_argument("--output", type=Path, default=Path("fuzz-failures"))
    arguments = parser.parse_args()
    cases = Cases(seeds(arguments.data), arguments.seed)
    if arguments.only is not None:
        return again(cases, arguments.only, arguments.output)
    start, counts, told = time.perf_counter(), Counter[str](), Counter[str]()
    chatter = 0
    for outcome in run(cases, range(arguments.first, arguments.first + arguments.cases)):
        counts[outcome.name] += 1
        chatter += outcome.place == CHATTER
        if outcome.failed:
            told[f"{outcome.name} {outcome.place}"] += 1
            if told[f"{outcome.name} {outcome.place}"] == 1:
                keep(cases.make(outcome.case), outcome, arguments.output)
                print(f"case {outcome.case}: {outcome.name} {outcome.place}", flush=True)
    seconds = time.perf_counter() - start
    rate = arguments.cases / seconds
    print(f"{arguments.cases} cases in {seconds:.0f} s ({rate:.0f} a second), seed {arguments.seed}:")
    print(", ".join(f"{count} {name}" for name, count in counts.most_common()) + f"; in {chatter} a decoder chattered")
    for place, count in told.most_common():
        print(f"  {count:>6}  {place}")
    return int(bool(told))


def again(cases: Cases, number: int, output: Path) -> int:
    """Write one case into the output folder and read it here."""
    case = cases.make(number)
    path = case.write(output / f"case-{number}")
    print(f"case {number}: {case.seed.name}, {case.done}, {len(case.data)} bytes, written to {path}")
    try:
        print(f"read: {[array.shape for array in read_case(path)]}")
    except MedimgError as error:
        print(f"refused: {error}")
    return 0


def keep(case: Case, outcome: Outcome, output: Path) -> None:
    """Keep a failing file with its story."""
    folder = output / f"case-{case.number}"
    case.write(folder)
    head = f"{outcome.name} {outcome.place}\nseed file: {case.seed.name}\nmutations: {case.done}\n\n"
    (folder / "story.txt").write_text(head + outcome.story, encoding="utf-8")


def run(cases: Cases, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Yield the outcome of every case; a worker that hangs or dies is replaced."""
    todo = list(numbers)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
        while todo:
            batch = todo[:CASES_A_WORKER]
            done = 0
            for outcome in _worker(cases, batch, Path(scratch)):
                done += 1
                yield outcome
            todo = todo[done:]


def _worker(cases: Cases, numbers: Sequence[int], scratch: Path) -> Iterator[Outcome]:
    """Yield outcomes until the worker is through, hangs or dies; the last one then says so."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(cases, numbers, theirs, scratch), daemon=True)
    process.start()
    theirs.close()
    try:
        for number in numbers:
            try:
                if not ours.poll(LIMIT_S * PATIENCE):
                    yield Outcome(number, "hang", story=f"longer than {LIMIT_S * PATIENCE:g} s")
                    return
                yield ours.recv()
            except EOFError:
                process.join(LIMIT_S)
                yield Outcome(number, "died", place=f"exit code {process.exitcode}")
                return
    finally:
        process.kill()
        process.join()
        ours.close()


def _work(cases: Cases, numbers: Sequence[int], answers: Connection, scratch: Path) -> None:
    """Read case after case in this process, with its output in a file and its address space capped."""
    printed = os.open(scratch / "printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 2)
    os.dup2(os.open(scratch / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC), 1)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    warnings.simplefilter("always")
    for kind in cases.kinds.values():
        for warm in kind[:12]:
            _outcome(Case(-1, warm, warm.data, ""), (), scratch, printed)
    address = _status("VmSize") + MAX_ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address, address))
    for number in numbers:
        case = cases.make(number)
        answers.send(_outcome(case, cases.secrets.get(case.seed.name, ()), scratch, printed))


def _outcome(case: Case, secrets: Sequence[str], scratch: Path, printed: int) -> Outcome:
    folder = scratch / "case"
    path = case.write(folder)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _status("VmRSS"), time.process_time()
    name = place = story = ""
    try:
        arrays = read_case(path)
        name = "read"
        if max(array.nbytes for array in arrays) > MAX_BYTES:
            name, place = "larger than max_bytes", str([array.shape for array in arrays])
    except MedimgError as error:
        name, story = "refused", str(error)
        if any(secret in story for secret in secrets):
            name, place = "names a patient", error.what
    except BaseException as error:  # noqa: BLE001 - whatever else comes out is what this script looks for
        name, place, story = "crash", _place(error), traceback.format_exc()
    seconds, growth = time.process_time() - start, _status("VmHWM") - before
    shutil.rmtree(folder)
    text = _printed(printed)
    if name in ("read", "refused"):
        if text and (_IS_PYTHON.search(text) or text.startswith(OUTPUT)):
            name, place, story = "printed", _shape(text), text
        elif seconds > LIMIT_S:
            name, place = "slow", f"{case.done} of {case.seed.name}: {seconds:.1f} s"
        elif growth > MAX_GROWTH_BYTES:
            name, place = "memory", f"{case.done} of {case.seed.name}: {growth >> 20} MB"
        elif text:
            place = CHATTER
    return Outcome(case.number, name, place, story)


def read_case(path: Path) -> list[Any]:
    """Return the arrays of a file, read through medimg's public functions: as images or videos, else as a mask.

    Raises
    ------
    MedimgError
        The file is refused.
    """
    try:
        images = read_all(path, policy=ReadPolicy(max_bytes=MAX_BYTES))
    except InputError as error:
        if path.is_dir() or sniff(path).kind != "dicom":
            raise
        try:
            return [read_mask(path, LIKE).array]
        except MedimgError:
            raise error from None
    arrays: list[Any] = []
    for image in images:
        arrays += islice(image, 5) if isinstance(image, Video) else [image.array]
    return arrays


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(one.filename).name}:{one.lineno}" for one in frames if "medimg" in Path(one.filename).parts]
    last = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} {' > '.join(ours[-3:])} > {last}"


def _shape(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "blank"
    return "".join("#" if char.isdigit() else char for char in line)[:100]


def _printed(descriptor: int) -> str:
    """Return what was written to standard output, else to standard error, since the last call."""
    sys.stdout.flush()
    sys.stderr.flush()
    _LIBC.fflush(None)
    found = ""
    for one, mark in ((descriptor, ""), (1, OUTPUT)):
        size = os.fstat(one).st_size
        if size:
            found = mark + os.pread(one, min(size, 4000), 0).decode("utf-8", "replace")
            os.ftruncate(one, 0)
            os.lseek(one, 0, os.SEEK_SET)
    return found


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
