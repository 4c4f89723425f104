"""Read every file of the conformance folders and of the packages that bring test files; write the table.

    python scripts/studies/conformance.py --data FOLDER --output docs/conformance.md

FOLDER holds dicom-conformance and nifti-conformance (default: MEDIMG_REAL_DATA); without it only the files inside
installed packages (pydicom, pynetdicom, nibabel) are read. One row a file: what came of it, its shape, the findings
or the error's first line, and whether the pixels equal those of another library (conformance_pixels.py). Then the
twins: files that hold one image in several encodings (conformance_twins.py). A row is a crash where anything but a
medimg error came out, or where reading took more than 5 s of processor time. The exit code is 1 where a row is a
crash, pixels differ, or twins disagree.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance_masks import as_volume, compare_mask, is_mask, read_as_mask
from conformance_pixels import Comparison, compare, others_read
from conformance_twins import TWINS, Twins, agree, read_nrrd

from medimg.errors import InputError, MedimgError
from medimg.io.image import Video
from medimg.io.read import read_all
from medimg.io.segmentation import Segmentation

SLOWEST_S = 5.0
PACKAGES = {
    "pydicom": ("data/test_files", "data/charset_files", "data/palettes"),
    "pynetdicom": ("tests/dicom_files",),
    "nibabel": ("tests/data", "nicom/tests/data"),
}
FOLDERS = ("dicom-conformance", "nifti-conformance")
NOT_DATA = (".py", ".pyc", ".m", ".rst")
OUTCOMES = ("read", "mask", "video", "refused", "crash")


@dataclass(frozen=True)
class Row:
    """What came of one file; ``what`` is its shapes, or the error's first line."""

    group: str
    name: str
    outcome: str
    what: str
    findings: tuple[str, ...]
    pixels: Comparison
    seconds: float
    trace: str = ""


@dataclass(frozen=True)
class TwinRow:
    """Whether files that hold one image agree; ``problem`` is '' where they do."""

    twins: Twins
    read: int
    problem: str


def main() -> int:
    """Read everything, write the table, print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDIMG_REAL_DATA"))
    parser.add_argument("--output", type=Path, help="Markdown table; printed where absent")
    parser.add_argument("--only", default="", help="part of a file's name")
    arguments = parser.parse_args()
    sources = collect(arguments.data)
    rows = [read_row(group, root, path) for group, root, path in sources if arguments.only in str(path)]
    twins = [] if arguments.only else list(twin_rows(sources))
    text = table(rows, twins)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
        print(summary(rows, twins))
    else:
        print(text)
    for problem in problems(rows, twins):
        print(problem, file=sys.stderr)
    return int(any(True for _ in problems(rows, twins)))


def collect(data: Path | None, packages: bool = True) -> list[tuple[str, Path, Path]]:
    """Return (group, root of the group, file) of every file, sorted; names inside a group are relative to its root."""
    found = []
    for package, folders in PACKAGES.items() if packages else ():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin).parent
        found += [(f"{package} (package)", root, path) for folder in folders for path in _files(root / folder)]
    for folder in FOLDERS if data is not None else ():
        for path in _files(Path(data or "") / folder):
            relative = path.relative_to(Path(data or "") / folder).parts
            group = f"{folder}/{relative[0]}" if len(relative) > 1 else folder
            found.append((group, Path(data or "") / group, path))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in NOT_DATA)


def read_row(group: str, root: Path, path: Path) -> Row:
    """Read one file through medimg's public functions and compare it with another library."""
    name, trace, what = path.relative_to(root).as_posix(), "", ""
    images: list[Any] = []
    start = time.process_time()
    try:
        with warnings.catch_warnings(record=True) as printed:
            warnings.simplefilter("always")
            outcome, images = read_file(path)
    except MedimgError as error:
        outcome, what = "refused", f"{error.what} {error.got}" if isinstance(error.got, str) else error.what
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - finding what else comes out is what this script is for
        outcome, what, trace = "crash", f"{type(error).__name__}: {error}", traceback.format_exc()
    seconds = time.process_time() - start
    if printed:
        outcome, what = "crash", f"warned: {printed[0].message}"
    if seconds > SLOWEST_S:
        outcome, what = "crash", f"took {seconds:.1f} s"
    if outcome in ("crash", "refused"):
        other = others_read(path)
        note = Comparison("", f"{other} reads it" if other else "")
        return Row(group, name, outcome, _line(what, path), (), note, seconds, trace)
    pixels = compare_mask(path, images[0]) if outcome == "mask" else compare(path, images)
    return Row(group, name, outcome, _shapes(images), _codes(images), pixels, seconds)


def read_file(path: Path) -> tuple[str, list[Any]]:
    """Return the outcome's name and the images of one file.

    Raises
    ------
    MedimgError
        The file is refused.
    """
    try:
        images = list(read_all(path))
        for image in images:
            # Videos decode on demand: what is wrong with a frame belongs to reading.
            deque(image if isinstance(image, Video) else (), maxlen=0)
        return "video" if any(isinstance(image, Video) for image in images) else "read", images
    except InputError:
        if not is_mask(path):
            raise
        return "mask", [read_as_mask(path)]


def _line(text: str, path: Path) -> str:
    first = text.splitlines()[0] if text else ""
    return first.replace(str(path), path.name).replace("|", "\\|")[:160]


def _shapes(images: Sequence[Any]) -> str:
    shown = Counter(_shape(image) for image in images)
    return ", ".join(text if count == 1 else f"{count} of {text}" for text, count in shown.items())


def _shape(image: Any) -> str:
    if isinstance(image, Video):
        return f"{len(image)} frames of {image.size[0]}×{image.size[1]}"
    if isinstance(image, Segmentation):
        return f"{'×'.join(map(str, image.shape))} {image.kind}, {len(image.segments)} segments"
    return f"{'×'.join(map(str, image.array.shape))} {image.array.dtype}"


def _codes(images: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted({finding.code for image in images for finding in image.findings}))


def twin_rows(sources: Sequence[tuple[str, Path, Path]]) -> Iterator[TwinRow]:
    """Read and compare the twins whose files are all there."""
    roots = {group: root for group, root, _ in sources}
    for twins in TWINS:
        paths = [roots[twins.group] / name for name in twins.names] if twins.group in roots else []
        if paths and all(path.exists() for path in paths):
            yield _twin_row(twins, paths)


def _twin_row(twins: Twins, paths: Sequence[Path]) -> TwinRow:
    images, refused = [], []
    for path in paths:
        try:
            found = [read_nrrd(path)] if path.suffix == ".nrrd" else read_file(path)[1]
            images.append([as_volume(one) if isinstance(one, Segmentation) else one for one in found])
        except MedimgError as error:
            refused.append(error.what)
    if len(images) < 2:
        return TwinRow(twins, len(images), "" if len(set(refused)) <= 1 else "; ".join(sorted(set(refused))))
    return TwinRow(twins, len(images), agree(images, twins))


def problems(rows: Iterable[Row], twins: Iterable[TwinRow]) -> Iterator[str]:
    """Yield one text for each crash, difference and disagreement."""
    for row in rows:
        if row.outcome == "crash":
            yield f"crash: {row.group}/{row.name}: {row.what}\n{row.trace}"
        elif row.pixels.state == "differs":
            yield f"pixels differ: {row.group}/{row.name}: {row.pixels.note}"
    for one in twins:
        if one.problem:
            yield f"twins disagree: {one.twins.group}: {one.twins.title}: {one.problem}"


def summary(rows: Sequence[Row], twins: Sequence[TwinRow]) -> str:
    """Return the counts in one line."""
    outcome = Counter(row.outcome for row in rows)
    equal = sum(row.pixels.state == "equal" for row in rows)
    differ = sum(row.pixels.state == "differs" for row in rows)
    agreeing = sum(not one.problem and one.read > 1 for one in twins)
    refused = sum(one.read < 2 and not one.problem for one in twins)
    return (
        f"{len(rows)} files: " + ", ".join(f"{outcome[name]} {name}" for name in OUTCOMES) + f". Pixels compared with "
        f"another library: {equal + differ} files, {equal} equal, {differ} different. Twins: {len(twins)} families, "
        f"{agreeing} agree, {refused} refused alike, {len(twins) - agreeing - refused} disagree."
    )


def table(rows: Sequence[Row], twins: Sequence[TwinRow]) -> str:
    """Return the Markdown document."""
    lines = ["# Which files are read", "", "Made by `scripts/studies/conformance.py`.", "", summary(rows, twins), ""]
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        counts = Counter(row.outcome for row in mine)
        told = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])
        lines += [f"## {group}: {told}", "", "| file | outcome | shape, or why not | findings | pixels |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {row.name} | {row.outcome} | {row.what} | {', '.join(row.findings)} | {_pixels(row)} |" for row in mine
        ]
        lines.append("")
    if twins:
        lines += ["## Twins", "", "| one image in several files | files read | result |", "|---|---|---|"]
        lines += [
            f"| {one.twins.title}: {', '.join(f'`{name}`' for name in one.twins.names)} "
            f"| {one.read} of {len(one.twins.names)} | {one.problem or ('agree' if one.read > 1 else 'refused')} |"
            for one in twins
        ]
        lines.append("")
    return "\n".join(lines)


def _pixels(row: Row) -> str:
    return f"{row.pixels.state} {row.pixels.note}".strip()


if __name__ == "__main__":
    logging.disable()
    sys.exit(main())
