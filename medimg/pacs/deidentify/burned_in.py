"""Text in the pixels: which images may show it, and which regions of them a catalogue says to mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydicom.dataset import Dataset

from medimg.errors import ConfigError, InputError

Box = tuple[int, int, int, int]
_SUSPECT_MODALITIES = {"US", "IVUS", "ES", "XC", "GM", "OT", "SC", "DOC", "ECG", "BDUS", "EPS", "HD"}
_SUSPECT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.77.1.1",
    "1.2.840.10008.5.1.4.1.1.77.1.4",
)
_SCREENS = re.compile(r"SCREEN|CAPTURE|REPORT|DOSE|PROTOCOL", re.IGNORECASE)
OUTSIDE = "outside_ultrasound_regions"


@dataclass(frozen=True)
class Entry:
    """One kind of image, and the regions of it that show text."""

    name: str
    match: dict[str, object]
    regions: list[list[float]] | str
    complete: bool = True

    def fits(self, dataset: Dataset) -> bool:
        """Tell whether every attribute of ``match`` has the value that is asked for."""
        return all(_equal(dataset.get(keyword), wanted) for keyword, wanted in self.match.items())

    def boxes(self, dataset: Dataset) -> list[Box]:
        """Return the regions to mask as (x0, y0, x1, y1) in pixels, the ends excluded."""
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        if isinstance(self.regions, str):
            return _outside(dataset, rows, columns)
        return [_pixels(region, rows, columns) for region in self.regions]


def may_show_text(dataset: Dataset) -> bool:
    """Tell whether an image says, or is of a kind, that may show a name in its pixels."""
    stated = str(dataset.get("BurnedInAnnotation", "") or "").strip().upper()
    if stated in ("YES", "NO"):
        return stated == "YES"
    image_type = str(dataset.get("ImageType", "") or "")
    return (
        str(dataset.get("Modality", "")).strip().upper() in _SUSPECT_MODALITIES
        or str(dataset.get("SOPClassUID", "")).startswith(_SUSPECT_CLASSES)
        or bool(_SCREENS.search(image_type))
        or bool(dataset.get("ConversionType"))
    )


def read_catalogue(path: Path | None) -> list[Entry]:
    """Return the entries of a site's catalogue, then those that come with medimg.

    Raises
    ------
    ConfigError
        An entry lacks a part, or a region is no box.
    InputError
        The file cannot be read.
    """
    own = Path(__file__).with_name("catalogue.yaml")
    return [entry for file in ([path] if path else []) + [own] for entry in _entries(file)]


def _entries(path: Path) -> list[Entry]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("The catalogue cannot be read.", where=path, got=type(error).__name__) from error
    return [_entry(one, path) for one in raw]


def _entry(raw: object, path: Path) -> Entry:
    wrong = ConfigError(
        "an entry of the catalogue cannot be used",
        where=path,
        expected="name, match (keyword: value), regions ([[x0, y0, x1, y1], …]), complete",
    )
    if not isinstance(raw, dict) or set(raw) - {"name", "match", "regions", "complete"} or not raw.get("match"):
        raise wrong
    regions: Any = raw.get("regions")
    boxes = isinstance(regions, list) and all(_is_box(region) for region in regions)
    if not isinstance(raw["match"], dict) or not (boxes or regions == OUTSIDE):
        raise wrong
    return Entry(str(raw.get("name", "")), raw["match"], regions, bool(raw.get("complete", True)))


def _is_box(region: object) -> bool:
    return (
        isinstance(region, list)
        and len(region) == 4
        and all(isinstance(one, (int, float)) for one in region)
        and 0 <= region[0] < region[2]
        and 0 <= region[1] < region[3]
    )


def _equal(value: object, wanted: object) -> bool:
    if value is None:
        return False
    if isinstance(wanted, str):
        return bool(re.fullmatch(wanted, str(value).strip(), re.IGNORECASE))
    return str(value).strip() == str(wanted)


def _pixels(region: list[float], rows: int, columns: int) -> Box:
    shares = max(region) <= 1
    width, height = (columns, rows) if shares else (1, 1)
    x0, y0, x1, y1 = region[0] * width, region[1] * height, region[2] * width, region[3] * height
    return int(x0), int(y0), min(columns, int(-(-x1 // 1))), min(rows, int(-(-y1 // 1)))


def _outside(dataset: Dataset, rows: int, columns: int) -> list[Box]:
    """Return boxes that cover all that lies outside the rectangle around the calibrated regions (PS3.3 C.8.5.5)."""
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    corners = [
        [int(item.get(f"RegionLocation{name}", 0) or 0) for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        for item in regions
    ]
    if not corners:
        return []
    left, top = max(0, min(one[0] for one in corners)), max(0, min(one[1] for one in corners))
    right, bottom = min(columns, max(one[2] for one in corners) + 1), min(rows, max(one[3] for one in corners) + 1)
    boxes = [(0, 0, columns, top), (0, bottom, columns, rows), (0, top, left, bottom), (right, top, columns, bottom)]
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
