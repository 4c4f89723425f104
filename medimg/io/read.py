"""The door: a path in, a Volume or a Picture out. What a file is, its content decides.

``read`` wants exactly one image and lists the choices where there are several; ``scan`` lists without reading
pixels; ``read_all`` reads everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medimg.errors import InputError
from medimg.io.dicom import load
from medimg.io.dicom_headers import Header, read_header
from medimg.io.dicom_series import Stack, stacks, without_localizers
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.nifti import read_nifti
from medimg.io.picture import read_picture
from medimg.io.sniff import Content, sniff

_LISTED = 20
# Left behind by operating systems; not worth a word.
_LITTER = {"thumbs.db", "desktop.ini", ".ds_store"}


@dataclass(frozen=True, eq=False)
class Entry:
    """One image that a path holds, before its pixels are read.

    Attributes
    ----------
    kind : str
        ``DICOM``, ``NIfTI`` or ``picture``.
    modality : str
        DICOM modality, else ''.
    shape : tuple of int
        (Z, Y, X) or (H, W) of DICOM; empty for others, whose headers are not read for a listing.
    series_uid : str
        DICOM SeriesInstanceUID, else ''.
    paths : tuple of Path
        Its files.
    split_by : tuple of str
        What sets this stack apart from others of the same series (echo, temporal position, …).
    problem : InputError or None
        Why it cannot be read.
    """

    kind: str
    modality: str
    shape: tuple[int, ...]
    series_uid: str
    paths: tuple[Path, ...]
    split_by: tuple[str, ...]
    problem: InputError | None
    _load: Callable[[], Volume | Picture]

    def load(self) -> Volume | Picture:
        """Read the pixels; raises InputError or MissingDependency."""
        return self._load()

    def describe(self) -> str:
        """Return one line for a listing, without anything that could name a patient."""
        size = "×".join(str(side) for side in self.shape)
        parts = [self.modality or self.kind, f"{len(self.paths)} file(s)", size]
        parts.append(self.series_uid or self.paths[0].name)
        parts.append(f"(split by {', '.join(self.split_by)})" if self.split_by else "")
        parts.append(f"unreadable: {self.problem.what}" if self.problem else "")
        return "  ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a path holds: the images, and what was left out or noticed."""

    path: Path
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]


def read(path: str | Path, *, series: str | int | None = None) -> Volume | Picture:
    """Read the one image at a path.

    Parameters
    ----------
    path : str or Path
        A DICOM file, NIfTI file (either half of a pair) or picture; or a folder, searched with its
        subfolders, that holds one DICOM series, one NIfTI or one picture.
    series : str or int, optional
        SeriesInstanceUID, or index in the listing, where a folder holds several.

    Returns
    -------
    Volume or Picture
        Volume: native axis order with ``affine`` zyx to LPS mm. Picture: (H, W, 3).

    Raises
    ------
    InputError
        Missing, empty, damaged, of unknown kind, unusable geometry, or several images and no choice.
    MissingDependency
        A decoder is missing.
    """
    found = scan(path)
    entry = _choose(found, series)
    image = entry.load()
    return replace(image, findings=image.findings + found.findings)


def read_all(path: str | Path) -> list[Volume | Picture]:
    """Read every image at a path, in the order of the listing.

    Raises
    ------
    InputError
        The path holds none, or one of them cannot be read. Use `scan` to go on past a broken one.
    MissingDependency
        A decoder is missing.
    """
    found = scan(path)
    if not found.entries:
        raise _nothing(found)
    images = [entry.load() for entry in found.entries]
    return [replace(image, findings=image.findings + found.findings) for image in images]


def scan(path: str | Path) -> Scan:
    """List the images at a path from headers alone.

    Raises
    ------
    InputError
        The path is missing; it is a file that is not an image; or a folder without files.
    """
    path = Path(path)
    if path.is_dir():
        return _scan_folder(path)
    if not path.exists():
        raise InputError("No such file or folder.", where=path, fix="check the path")
    content = sniff(path)
    if content.compressed and content.kind in ("dicom", "picture"):
        raise InputError("The file is compressed as a whole.", where=path, fix="gunzip it first")
    if content.kind == "dicom":
        header = read_header(path)
        if not header.is_image:
            raise _not_an_image(path, header.kind)
        return Scan(path, _dicom_entries([header]), ())
    if content.kind == "other":
        raise _not_an_image(path, content.name)
    return Scan(path, (_file_entry(path, content),), ())


def _scan_folder(folder: Path) -> Scan:
    files = _files(folder)
    if not files:
        raise InputError("The folder is empty.", where=folder, expected="DICOM, NIfTI or picture files")
    findings: list[Finding] = []
    headers: list[Header] = []
    single: list[tuple[Path, Content]] = []
    skipped: dict[str, list[Path]] = {}
    for file in files:
        try:
            content = sniff(file)
            if content.kind == "dicom" and not content.compressed:
                header = read_header(file)
                if header.is_image:
                    headers.append(header)
                else:
                    skipped.setdefault(header.kind, []).append(file)
            elif content.kind in ("nifti", "picture"):
                single.append((file, content))
            elif content.kind != "nifti-data":
                skipped.setdefault(content.name, []).append(file)
        except InputError as error:
            findings.append(Finding("UNREADABLE", "warning", error.what, file=str(file), value=_text(error.got)))
    if headers:
        headers, excluded = without_localizers(headers)
        findings += excluded
        for file, content in single:
            skipped.setdefault(content.name, []).append(file)
        entries = _dicom_entries(headers)
    else:
        entries = tuple(_file_entry(file, content) for file, content in single)
    findings += [_skipped(kind, paths) for kind, paths in skipped.items()]
    return Scan(folder, entries, tuple(findings))


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder and its subfolders, sorted; hidden ones and litter left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(parent, name) for name in sorted(names) if not name.startswith(".") and name.lower() not in _LITTER
        ]
    return found


def _dicom_entries(headers: Sequence[Header]) -> tuple[Entry, ...]:
    return tuple(_dicom_entry(stack) for stack in stacks(headers))


def _dicom_entry(stack: Stack) -> Entry:
    first = stack.headers[0]
    findings = []
    if first.is_localizer:
        text = "The image calls itself a localizer."
        findings.append(Finding("LOCALIZER", "warning", text, file=str(first.path), tag="(0008,0008)"))
    return Entry(
        kind="DICOM",
        modality=first.modality,
        shape=stack.shape,
        series_uid=first.series_uid,
        paths=tuple(header.path for header in stack.headers),
        split_by=stack.split_by,
        problem=stack.problem,
        _load=partial(load, stack, findings),
    )


def _file_entry(path: Path, content: Content) -> Entry:
    nifti = content.kind in ("nifti", "nifti-data")
    loader: Callable[[Path], Volume | Picture] = read_nifti if nifti else read_picture
    return Entry("NIfTI" if nifti else "picture", "", (), "", (path,), (), None, partial(loader, path))


def _choose(found: Scan, series: str | int | None) -> Entry:
    entries = found.entries
    if not entries:
        raise _nothing(found)
    if series is None:
        if len(entries) == 1:
            return entries[0]
        raise _several(found, entries, "The folder holds several images; which one?")
    if isinstance(series, int) or series.isdigit():
        if 0 <= int(series) < len(entries):
            return entries[int(series)]
        raise _several(found, entries, f"There is no image number {series}.")
    chosen = [entry for entry in entries if entry.series_uid == series]
    if len(chosen) == 1:
        return chosen[0]
    raise _several(
        found, entries, "The series holds several stacks; which one?" if chosen else "There is no such series here."
    )


def _several(found: Scan, entries: Sequence[Entry], what: str) -> InputError:
    lines = [f"{n:>3}  {entry.describe()}" for n, entry in enumerate(entries[:_LISTED])]
    if len(entries) > _LISTED:
        lines.append(f"     … and {len(entries) - _LISTED} more")
    return InputError(
        what,
        where=found.path,
        got="\n" + "\n".join(lines),
        expected="one image",
        fix="choose one by its number or its series UID, such as series=0, or use read_all",
    )


def _nothing(found: Scan) -> InputError:
    noticed = "; ".join(f"{finding.message} ({finding.file})" for finding in found.findings[:5])
    return InputError(
        "The folder holds no image.",
        where=found.path,
        got=noticed or None,
        expected="DICOM images, NIfTI, PNG, JPEG or TIFF",
    )


def _not_an_image(path: Path, got: str) -> InputError:
    return InputError(
        "Not an image that can be read.",
        where=path,
        got=got,
        expected="a DICOM image, NIfTI, PNG, JPEG or TIFF",
        fix="check where the file came from; the extension does not matter, the content does",
    )


def _skipped(kind: str, paths: Sequence[Path]) -> Finding:
    text = f"{len(paths)} file(s) were skipped: {kind}."
    return Finding("SKIPPED", "info", text, file=str(paths[0]), value=str(len(paths)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
