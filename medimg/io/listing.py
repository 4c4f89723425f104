"""What a path holds, from headers alone: images, and what was left out or noticed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.aside import passed_over
from medimg.io.dicom.copies import without_copies
from medimg.io.dicom.headers import Header, probe
from medimg.io.dicom.layouts import Layouts
from medimg.io.dicom.load import load
from medimg.io.dicom.series import Stack, stacks
from medimg.io.findings import Finding
from medimg.io.image import Image
from medimg.io.nifti.read import read_nifti
from medimg.io.picture import read_picture
from medimg.io.policy import STRICT, ReadPolicy
from medimg.io.sniff import Content
from medimg.io.video import read_video

Loader = Callable[[type[np.float32] | None], Image]

# Left behind by operating systems; not worth a word.
_LITTER = {"thumbs.db", "desktop.ini", ".ds_store"}


@dataclass(frozen=True, eq=False)
class Entry:
    """One image that a path holds, before its pixels are read.

    Attributes
    ----------
    kind : str
        ``DICOM``, ``NIfTI``, ``picture`` or ``video``.
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
    values : dict
        What it is where others of its series differ: ``echo_time_ms``, ``b_value``, ``temporal_position``, …
    aside : str
        '' for a scan; else why the automatic choice passes it over where a scan is beside it: ``localizer``,
        ``derived``, ``capture``, ``dose``, ``map`` (parametric), ``result`` (made by medimg).
    """

    kind: str
    modality: str
    shape: tuple[int, ...]
    series_uid: str
    paths: tuple[Path, ...]
    split_by: tuple[str, ...]
    problem: InputError | None
    _load: Loader
    values: dict[str, Any] = field(default_factory=dict)
    aside: str = ""

    def load(self, *, dtype: type[np.float32] | None = None) -> Image:
        """Read the pixels.

        Parameters
        ----------
        dtype : numpy.float32, optional
            Type of a volume's values; the default is the narrowest one that holds them exactly.

        Raises
        ------
        InputError
            The entry's own problem, damaged pixels, or more memory than the policy allows.
        MissingDependency
            A decoder is missing.
        """
        return self._load(dtype)

    def describe(self) -> str:
        """Return one line for a listing, without anything that could name a patient."""
        size = "×".join(str(side) for side in self.shape)
        parts = [self.modality or self.kind, f"{len(self.paths)} file(s)", size]
        parts.append(self.series_uid or self.paths[0].name)
        parts.append(f"(split by {', '.join(self.split_by)})" if self.split_by else "")
        parts.append(", ".join(f"{name} = {value}" for name, value in self.values.items()))
        parts.append(f"[{self.aside}]" if self.aside else "")
        parts.append(f"unreadable: {self.problem.what}" if self.problem else "")
        return "  ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a path holds: the images, and what was left out or noticed."""

    path: Path
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]

    @property
    def choices(self) -> tuple[Entry, ...]:
        """The entries that the automatic choice considers.

        Localizers, captures, doses, parametric maps and results of medimg are passed over where a scan is there;
        derived images (projections, reformats, ADC and the like) where an original of their modality is.
        """
        over = passed_over([(entry.aside, entry.modality) for entry in self.entries])
        return tuple(entry for entry, passed in zip(self.entries, over, strict=True) if not passed)

    def excluded(self) -> list[Finding]:
        """Return a finding for every kind of entry that `choices` passes over."""
        chosen = set(map(id, self.choices))
        passed: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if id(entry) not in chosen:
                passed.setdefault(entry.aside, []).append(entry)
        return [_excluded(aside, entries) for aside, entries in passed.items()]


def scan(path: str | Path, *, policy: ReadPolicy = STRICT) -> Scan:
    """List the images at a path from headers alone.

    Parameters
    ----------
    path : str or Path
        A file or a folder.
    policy : ReadPolicy
        What is done where the slices of a series are not what a volume needs.

    Raises
    ------
    InputError
        The path is missing; it is a file that is not an image; or a folder without files.
    """
    path = Path(path)
    if path.is_dir():
        return _scan_folder(path, policy)
    if not path.exists():
        raise InputError("No such file or folder.", where=path, fix="check the path")
    found = probe(path, max_bytes=policy.max_bytes)
    if isinstance(found, Header):
        if not found.is_image:
            raise _not_an_image(path, found.kind)
        return Scan(path, _dicom_entries([found], policy), ())
    if found.compressed and found.kind in ("dicom", "picture", "video"):
        raise InputError("The file is compressed as a whole.", where=path, fix="gunzip it first")
    if found.kind == "other":
        raise _not_an_image(path, found.name)
    return Scan(path, (_file_entry(path, found, policy),), ())


def _scan_folder(folder: Path, policy: ReadPolicy) -> Scan:
    files = _files(folder)
    if not files:
        raise InputError("The folder is empty.", where=folder, expected="DICOM, NIfTI or picture files")
    findings: list[Finding] = []
    headers: list[Header] = []
    single: list[tuple[Path, Content]] = []
    skipped: dict[str, list[Path]] = {}
    layouts = Layouts()
    for file in files:
        try:
            found = probe(file, max_bytes=policy.max_bytes, layouts=layouts)
        except InputError as error:
            value = None if error.got is None else str(error.got)
            findings.append(Finding("UNREADABLE", "warning", error.what, file=str(file), value=value))
            continue
        if isinstance(found, Header):
            if found.is_image:
                headers.append(found)
            else:
                skipped.setdefault(found.kind, []).append(file)
        elif found.kind in ("nifti", "picture", "video"):
            single.append((file, found))
        elif found.kind != "nifti-data":
            skipped.setdefault(found.name, []).append(file)
    if headers:
        headers, copies = without_copies(headers)
        findings += copies
        for file, content in single:
            skipped.setdefault(content.name, []).append(file)
        entries = _dicom_entries(headers, policy)
    else:
        entries = tuple(_file_entry(file, content, policy) for file, content in single)
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


def _dicom_entries(headers: Sequence[Header], policy: ReadPolicy) -> tuple[Entry, ...]:
    return tuple(_dicom_entry(stack, policy) for stack in stacks(headers, policy))


def _dicom_entry(stack: Stack, policy: ReadPolicy) -> Entry:
    first = stack.headers[0]
    findings = []
    if stack.aside == "localizer":
        text = "The image calls itself a localizer."
        findings.append(Finding("LOCALIZER", "warning", text, file=str(first.path), tag=tags.show(tags.IMAGE_TYPE)))
    return Entry(
        kind="DICOM",
        modality=first.modality,
        shape=stack.shape,
        series_uid=first.series_uid,
        paths=tuple(dict.fromkeys(header.path for header in stack.headers)),
        split_by=stack.split_by,
        problem=stack.problem,
        _load=lambda dtype: load(stack, findings, policy, dtype=dtype),
        values=stack.values,
        aside=stack.aside,
    )


def _file_entry(path: Path, content: Content, policy: ReadPolicy) -> Entry:
    def load_file(dtype: type[np.float32] | None) -> Image:
        if kind == "NIfTI":
            return read_nifti(path, dtype=dtype, max_bytes=policy.max_bytes)
        return read_video(path, content.name) if kind == "video" else read_picture(path, max_bytes=policy.max_bytes)

    kind = "NIfTI" if content.kind in ("nifti", "nifti-data") else str(content.kind)
    return Entry(kind, "", (), "", (path,), (), None, load_file)


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


def _excluded(aside: str, entries: Sequence[Entry]) -> Finding:
    count = sum(len(entry.paths) for entry in entries)
    text = f"{count} {aside} image(s) were left out; a scan is beside them."
    file, tag = str(entries[0].paths[0]), tags.show(tags.IMAGE_TYPE)
    return Finding(f"{aside.upper()}_EXCLUDED", "info", text, file=file, tag=tag, value=str(count))
