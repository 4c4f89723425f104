"""Why a stack of slices is not a volume, in words: what is wrong, where, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header
from medimg.io.dicom.spacing import Floats, Spacing


def series_of(headers: Sequence[Header]) -> str:
    """Return the place of a stack, for messages."""
    return f"series {headers[0].series_uid or '(no UID)'} in {headers[0].path.parent}"


def name(header: Header) -> str:
    """Return the name of a slice, for messages."""
    return header.path.name + (f" frame {header.frame + 1}" if header.frames > 1 else "")


def _policy(*choices: str) -> str:
    return " or ".join(f"reading.{choice}" for choice in choices)


def pixel_spacing(headers: Sequence[Header], pixel_mm: Floats) -> InputError:
    """PixelSpacing is zero or negative."""
    return InputError(
        "PixelSpacing (0028,0030) is not positive.",
        where=series_of(headers),
        got=pixel_mm.tolist(),
        expected="two positive numbers",
        fix="export the series again from the scanner or PACS",
    )


def cosines(headers: Sequence[Header], mean: Floats, limit: float) -> InputError:
    """ImageOrientationPatient (as ``mean``, (2, 3)) is not orthonormal within ``limit``."""
    return InputError(
        "The row and column cosines are not at right angles or not of length 1.",
        where=series_of(headers),
        got=f"ImageOrientationPatient (0020,0037) = {[round(float(v), 6) for v in mean.ravel()]}",
        expected=f"orthonormal within {limit:g}",
        fix="export the series again from the scanner or PACS",
    )


def doubled(headers: Sequence[Header], count: int, first: int) -> InputError:
    """``count`` slices lie where another lies; slice ``first`` and the next one do."""
    pair = headers[first], headers[first + 1]
    same = bool(pair[0].instance_uid) and pair[0].instance_uid == pair[1].instance_uid and pair[0].path != pair[1].path
    return InputError(
        "Slices lie at the same position.",
        where=series_of(headers),
        got=f"{count} doubled ImagePositionPatient (0020,0032), such as {name(pair[0])} and {name(pair[1])}",
        expected="one slice a position",
        fix="remove one; both have the same SOPInstanceUID (0008,0018) but other content"
        if same
        else "put echoes, phases or repeated scans into folders of their own, or read with "
        + _policy("duplicates=keep_last"),
    )


def no_last(first: Header, second: Header) -> InputError:
    """Nothing says which of two slices at one position was made later."""
    return InputError(
        "Slices lie at the same position, and nothing says which of them is the last.",
        where=series_of([first]),
        got=f"equal or no InstanceNumber (0020,0013) in {name(first)} and {name(second)}",
        expected="instance numbers or times that differ",
        fix="remove the one that is not wanted",
    )


def another_stack(headers: Sequence[Header], dropped: int, kept: int) -> InputError:
    """Too many slices are doubled for repeats of single ones."""
    return InputError(
        "So many slices lie at the same positions that they are another stack, not repeats of single slices.",
        where=series_of(headers),
        got=f"{dropped} doubled slices at {kept} positions",
        expected="at most half as many as positions",
        fix="put echoes, phases or repeated scans into folders of their own",
    )


def missing(headers: Sequence[Header], spacing: Spacing) -> InputError:
    """Slices are absent from an otherwise even stack; ``headers`` in order."""
    steps = np.diff(spacing.slots)
    first = int(np.flatnonzero(steps >= 2)[0])
    return InputError(
        "Slices are missing.",
        where=series_of(headers),
        got=f"{spacing.n_missing} missing; the first gap of {steps[first] * spacing.gap_mm:.3f} mm is between "
        f"{name(headers[first])} and {name(headers[first + 1])} (ImagePositionPatient (0020,0032))",
        expected=f"a gap of {spacing.gap_mm:.3f} mm everywhere",
        fix="fetch the whole series again from the PACS, or read with "
        + _policy("missing=interpolate", "missing=split"),
    )


def uneven(headers: Sequence[Header], gaps: NDArray[np.float64], spacing: Spacing) -> InputError:
    """Gaps differ by more than rounding."""
    return InputError(
        "The slices are unevenly spaced.",
        where=series_of(headers),
        got=f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm (ImagePositionPatient (0020,0032)); "
        f"a slice is {spacing.off_mm:.3f} mm off",
        expected=f"even positions within {spacing.accepted_mm:.3f} mm",
        fix="use a reconstruction with even gaps, or read with "
        + _policy("irregular=resample")
        + ", which at most doubles the number of slices",
    )


def bent(headers: Sequence[Header], off_mm: float, limit_mm: float) -> InputError:
    """A slice lies beside the line of the others."""
    return InputError(
        "The slices are not stacked along one line.",
        where=series_of(headers),
        got=f"a slice lies {off_mm:.2f} mm beside it (ImagePositionPatient (0020,0032))",
        expected=f"at most {limit_mm:g} mm",
        fix="split the series where the patient or the table was moved",
    )


def tilted(headers: Sequence[Header], lean_deg: float, limit_deg: float, largest_deg: float) -> InputError:
    """The stack is sheared."""
    return InputError(
        "The stack is sheared: a tilted gantry that was not corrected.",
        where=series_of(headers),
        got=f"{lean_deg:.2f} degrees between the slice normal (0020,0037) and the positions (0020,0032)",
        expected=f"at most {limit_deg:g} degrees",
        fix="check ImagePositionPatient (0020,0032); no gantry leans so far"
        if lean_deg > largest_deg
        else "reconstruct without tilt, or read with " + _policy("tilt=resample", "tilt=shear"),
    )


def without_place(header: Header) -> InputError:
    """An image that must say where it lies in the patient does not."""
    lacking = [
        f"{word} {tags.show(tag)}"
        for word, tag, value in (
            ("ImagePositionPatient", tags.POSITION, header.position),
            ("ImageOrientationPatient", tags.ORIENTATION, header.orientation),
            ("PixelSpacing", tags.PIXEL_SPACING, header.pixel_spacing),
        )
        if value is None
    ]
    return InputError(
        f"A {header.modality} image does not say where it lies in the patient.",
        where=header.path,
        got=f"{', '.join(lacking)} absent or malformed"
        if lacking
        else f"PhotometricInterpretation (0028,0004) = {header.photometric or 'absent'}",
        expected="position, orientation and pixel spacing of a grey image",
        fix="export the original series from the scanner or PACS; screenshots and old exports lack these tags",
    )


def mosaic(header: Header) -> InputError:
    """Many slices are tiled into one picture."""
    return InputError(
        "A Siemens mosaic: many slices are tiled into one picture, and only private tags say where they lie.",
        where=header.path,
        got="ImageType (0008,0008) holds MOSAIC",
        expected="one slice an image, or an enhanced multi-frame object",
        fix="export from the scanner without mosaic, or convert the series to NIfTI with dcm2niix",
    )
