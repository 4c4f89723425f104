"""From cohort rows to cases: what is one input of the network, and what is known about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from medimg.data.cohort import Cohort
from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.image import Picture, Unit, Volume
from medimg.io.policy import STRICT, ReadPolicy
from medimg.io.read import read_still

_VOLUME_UNITS = ("HU", "arbitrary", "SUV", "label")


@dataclass(frozen=True)
class MaskRef:
    """Where the truth of one target is drawn.

    ``path`` is None where an annotator looked and found nothing; ``value`` is the label inside the file, or None
    where every non-zero voxel counts.
    """

    name: str
    path: Path | None
    value: int | None


@dataclass(frozen=True)
class BoxRef:
    """One annotated box in index coordinates of the image, half-open, lower corner first."""

    name: str
    box: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """One input of the network with its truth.

    Attributes
    ----------
    images : dict of str to Path
        Channel name to file or series folder.
    units : dict of str to str
        Channel name to the unit of its values, where the cohort states one.
    masks, boxes, classes
        Drawn truth, boxes, and numbers (class 0/1 or a grade) by target name.
    digests : dict of str to str
        SHA-256 of every image file by channel, as indexed.
    """

    case_id: str
    subject_id: str
    site_id: str
    scanner: str
    modality: str
    images: dict[str, Path]
    units: dict[str, Unit] = field(default_factory=dict)
    masks: tuple[MaskRef, ...] = ()
    boxes: tuple[BoxRef, ...] = ()
    classes: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    split: str | None = None


def read_images(case: Case, reading: ReadPolicy = STRICT) -> dict[str, Volume | Picture]:
    """Read the images of a case by channel, with the units that the cohort states.

    Parameters
    ----------
    case : Case
        Names the files.
    reading : ReadPolicy
        Of the preparation that the images are meant for.

    Raises
    ------
    InputError
        An image cannot be used.
    """
    images = {}
    for name, path in case.images.items():
        image = read_still(path, policy=reading)
        if isinstance(image, Volume) and name in case.units:
            image = replace(image, unit=case.units[name])
        images[name] = image
    return images


def build_cases(cohort: Cohort, channels: tuple[str, ...]) -> tuple[list[Case], list[Finding]]:
    """Turn cohort rows into cases.

    Parameters
    ----------
    cohort : Cohort
        Validated tables.
    channels : tuple of str
        One name: every image is a case. Several names: images of one session are grouped by ``sequence``.

    Returns
    -------
    cases : list of Case
        In order of ``case_id``.
    findings : list of Finding
        Sessions without one of the channels; they are left out and named.
    """
    labels = {str(key): rows for key, rows in cohort.labels.groupby("image_id", sort=False)}
    if len(channels) == 1:
        cases = [_case(cohort, str(row["image_id"]), {channels[0]: row}, labels) for _, row in cohort.images.iterrows()]
        return sorted(cases, key=lambda case: case.case_id), []
    return _sessions(cohort, channels, labels)


def _sessions(
    cohort: Cohort, channels: tuple[str, ...], labels: dict[str, pd.DataFrame]
) -> tuple[list[Case], list[Finding]]:
    cases, findings = [], []
    for (subject, session), rows in cohort.images.groupby(["subject_id", "session_id"], sort=True):
        by_channel = {}
        for name in channels:
            found = rows[rows["sequence"] == name]
            if len(found) == 1:
                by_channel[name] = found.iloc[0]
        absent = [name for name in channels if name not in by_channel]
        case_id = f"{subject}_{session}"
        if absent:
            findings.append(
                Finding(
                    "CHANNEL_ABSENT",
                    "warning",
                    f"session {case_id} is left out: it needs exactly one image each of {', '.join(absent)}",
                    file=case_id,
                    tag="sequence",
                    value=", ".join(sorted(str(value) for value in rows["sequence"])),
                )
            )
            continue
        cases.append(_case(cohort, case_id, by_channel, labels))
    return cases, findings


def _case(cohort: Cohort, case_id: str, rows: dict[str, pd.Series], labels: dict[str, pd.DataFrame]) -> Case:
    masks: list[MaskRef] = []
    boxes: list[BoxRef] = []
    classes: dict[str, float] = {}
    for row in rows.values():
        for _, label in labels.get(str(row["image_id"]), pd.DataFrame()).iterrows():
            name, value = str(label["name"]), str(label["value"])
            if label["kind"] == "mask":
                number = None if pd.isna(label["mask_value"]) else int(label["mask_value"])
                masks.append(MaskRef(name, cohort.resolve(value) if value else None, number))
            elif label["kind"] == "box":
                boxes.append(BoxRef(name, _box(value, case_id)))
            else:
                classes[name] = float(value)
    first = next(iter(rows.values()))
    return Case(
        case_id=case_id,
        subject_id=str(first["subject_id"]),
        site_id=str(first["site_id"]),
        scanner=str(first["scanner"]) if first["scanner"] is not None else "unknown",
        modality=str(first["modality"]),
        images={name: cohort.resolve(str(row["path"])) for name, row in rows.items()},
        units={name: row["intensity_unit"] for name, row in rows.items() if row["intensity_unit"] in _VOLUME_UNITS},
        masks=tuple(masks),
        boxes=tuple(boxes),
        classes=classes,
        digests={name: str(row["sha256"]) for name, row in rows.items()},
        split=None if first["split"] is None else str(first["split"]),
    )


def _box(text: str, case_id: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError("a box cannot be read", where=case_id, got=text, expected="JSON list of numbers") from error
    half = len(numbers) // 2
    if len(numbers) not in (4, 6) or any(a >= b for a, b in zip(numbers[:half], numbers[half:])):
        raise InputError(
            "a box is not valid",
            where=case_id,
            got=text,
            expected="[y0, x0, y1, x1] or [z0, y0, x0, z1, y1, x1], upper above lower",
        )
    return numbers
