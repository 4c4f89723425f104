"""The door: a path in, a Volume, a Picture or a Video out. What a file is, its content decides.

``read`` wants exactly one image and lists the choices where there are several; ``scan`` lists without reading
pixels; ``read_all`` reads everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medimg.errors import InputError
from medimg.io.image import Image, Picture, Volume
from medimg.io.listing import Entry, Scan, scan
from medimg.io.policy import STRICT, ReadPolicy
from medimg.io.stacked import load_stacked

__all__ = ["Entry", "ReadPolicy", "Scan", "read", "read_all", "read_still", "scan", "still"]

_LISTED = 20


def read(
    path: str | Path,
    *,
    series: str | int | None = None,
    policy: ReadPolicy = STRICT,
    stacked: bool = False,
    dtype: type[np.float32] | None = None,
) -> Image:
    """Read the one image at a path.

    Parameters
    ----------
    path : str or Path
        A DICOM file, NIfTI file (either half of a pair), picture or video; or a folder, searched with its
        subfolders (linked files are followed, linked folders are not), that holds one DICOM series, one NIfTI or
        one picture. Localizers, derived images, captures and results of medimg beside a scan are passed over with
        a finding.
    series : str or int, optional
        SeriesInstanceUID, or index in the listing, where a folder holds several.
    policy : ReadPolicy
        What to do about missing, doubled, unevenly spaced or tilted slices; by default they are refused.
    stacked : bool
        Read all stacks of a series (echoes, b-values, times) as the channels of one Volume (C, Z, Y, X);
        ``source.channels`` says what each channel is.
    dtype : numpy.float32, optional
        Type of a volume's values; the default is the narrowest one that holds them exactly.

    Returns
    -------
    Volume, Picture or Video
        Volume: native axis order with ``affine`` zyx to LPS mm. Picture: (H, W, 3). Video: frames of that shape.

    Raises
    ------
    InputError
        Missing, empty, damaged, of unknown kind, unusable geometry, several images and no choice, or, if
        ``stacked``, stacks that do not share one grid.
    MissingDependency
        A decoder is missing.
    """
    found = scan(path, policy=policy)
    if stacked:
        image: Image = load_stacked(_one_series(found, series), dtype=dtype)
    else:
        image = _choose(found, series).load(dtype=dtype)
    noticed = found.findings if series is not None else (*found.findings, *found.excluded())
    return replace(image, findings=image.findings + noticed)


def read_still(path: str | Path, *, series: str | int | None = None, policy: ReadPolicy = STRICT) -> Volume | Picture:
    """Read the one volume or picture at a path, like `read`; a video is refused.

    Raises
    ------
    InputError
        As `read`, or a video.
    MissingDependency
        A decoder is missing.
    """
    return still(read(path, series=series, policy=policy))


def still(image: Image) -> Volume | Picture:
    """Return a volume or picture as it is; raise InputError for a video."""
    if isinstance(image, Volume | Picture):
        return image
    raise InputError(
        "A video is no single image.",
        where=image.source.paths[0] if image.source.paths else None,
        got=f"{image.n_frames} frames",
        expected="a volume or a picture",
        fix="write the frames that are wanted as pictures: medimg.read(path).picture(n)",
    )


def read_all(path: str | Path, *, policy: ReadPolicy = STRICT, dtype: type[np.float32] | None = None) -> list[Image]:
    """Read every image at a path, in the order of the listing: within a series by time, echo, b-value.

    What sets stacks of one series apart stands in ``source.acquisition``. Localizers, derived images, captures and
    results of medimg beside a scan are passed over with a finding.

    Raises
    ------
    InputError
        The path holds none, or one of them cannot be read. Use `scan` to go on past a broken one.
    MissingDependency
        A decoder is missing.
    """
    found = scan(path, policy=policy)
    if not found.entries:
        raise _nothing(found)
    noticed = (*found.findings, *found.excluded())
    images = [entry.load(dtype=dtype) for entry in found.choices]
    return [replace(image, findings=image.findings + noticed) for image in images]


def _choose(found: Scan, series: str | int | None) -> Entry:
    entries = found.entries
    if not entries:
        raise _nothing(found)
    if series is None:
        if len(found.choices) == 1:
            return found.choices[0]
        raise _several(found, entries, "The folder holds several images; which one?")
    if isinstance(series, int) or series.isdigit():
        if 0 <= int(series) < len(entries):
            return entries[int(series)]
        raise _several(found, entries, f"There is no image number {series}.")
    chosen = _of_series(found, series)
    if len(chosen) == 1:
        return chosen[0]
    raise _several(
        found, entries, "The series holds several stacks; which one?" if chosen else "There is no such series here."
    )


def _of_series(found: Scan, series: str) -> list[Entry]:
    """Return the entries of a series: those that are not passed over, where there are any."""
    chosen = [entry for entry in found.entries if entry.series_uid == series]
    scans = [entry for entry in chosen if not entry.aside]
    return scans or chosen


def _one_series(found: Scan, series: str | int | None) -> list[Entry]:
    """Return the stacks of one series."""
    if series is not None and not isinstance(series, int) and not series.isdigit():
        chosen = _of_series(found, series)
        if chosen:
            return chosen
    elif series is None and len({entry.series_uid for entry in found.choices}) == 1 and found.choices[0].series_uid:
        return list(found.choices)
    one = _choose(found, series)
    return _of_series(found, one.series_uid) if one.series_uid else [one]


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
