"""Look-up tables of DICOM: modality LUT, VOI LUT and palettes.

Source: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT and window), C.7.6.3.1.5 (palettes), C.7.9 (segmented
ones). Stored values below the first mapped one take the first entry, those above the last one take the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from medimg.io.dicom.groups import first_item, values

_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_DESCRIPTOR, _DATA, _MODALITY_TYPE = 0x00283002, 0x00283006, 0x00283004
_PALETTE_DESCRIPTOR, _PALETTES = 0x00281101, (0x00281201, 0x00281202, 0x00281203)
_ALPHA = (0x00281204, 0x00281224)
_PRESENTATION = 0x00089205
_SIGNED = 0x00280103
_MOST_ENTRIES = 1 << 16


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table.

    Attributes
    ----------
    entries : (N,) or (N, 3) ndarray of uint8 or uint16
    first : int
        Stored value that the first entry stands for.
    kind : str
        ModalityLUTType: 'HU', 'OD', 'US', …; '' for others.
    """

    entries: NDArray[Any]
    first: int
    kind: str = ""

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Look up stored values of any integer type."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[index]


def modality_table(dataset: Dataset) -> Table | None:
    """Return the modality LUT of a data set, or None.

    Raises
    ------
    ValueError
        The table is malformed.
    """
    item = first_item(dataset, _MODALITY_LUT)
    return None if item is None else _single(item, dataset)


def voi_table(dataset: Dataset) -> Table | None:
    """Return the first VOI LUT of a data set, or None; ValueError where it is malformed."""
    item = first_item(dataset, _VOI_LUT)
    return None if item is None else _single(item, dataset)


def palette_table(dataset: Dataset) -> Table:
    """Return the palette of a data set, (N, 3) of uint8 or uint16, segmented ones expanded.

    Raises
    ------
    ValueError, AttributeError, KeyError, IndexError, TypeError
        There is none, or it is malformed.
    """
    count, first, bits = _descriptor(values(dataset, _PALETTE_DESCRIPTOR), dataset)
    if all(tag in dataset for tag in _PALETTES):
        columns = [_entries(dataset, tag, count, bits, _is_little(dataset)) for tag in _PALETTES]
        entries = np.stack(columns, axis=1)
    else:
        # pydicom expands segmented tables: looking up every index gives the table itself.
        expanded = np.asarray(apply_color_lut(np.arange(first, first + count, dtype=np.int32), dataset))
        entries = expanded[:, :3]
    return Table(entries.astype(np.uint8) if bits <= 8 else entries.astype(np.uint16), first)


def has_alpha(dataset: Dataset) -> bool:
    """Tell whether the palette has transparency, which is not used."""
    return any(tag in dataset for tag in _ALPHA)


def is_supplemental(dataset: Dataset) -> bool:
    """Tell whether the palette colours a part of the grey values only (PixelPresentation MIXED or COLOR)."""
    return values(dataset, _PRESENTATION)[:1] in (["MIXED"], ["COLOR"])


def _single(item: Dataset, dataset: Dataset) -> Table:
    count, first, bits = _descriptor(values(item, _DESCRIPTOR), dataset)
    kind = values(item, _MODALITY_TYPE)
    return Table(_entries(item, _DATA, count, bits, _is_little(dataset)), first, kind[0].upper() if kind else "")


def _descriptor(stated: list[str], dataset: Dataset) -> tuple[int, int, int]:
    if len(stated) != 3:
        raise ValueError("a LUT descriptor needs three values")
    count, first, bits = (int(float(value)) for value in stated)
    signed = values(dataset, _SIGNED)[:1] == ["1"]
    # 0 stands for 65536 entries; the first value is signed as the pixels are, whatever the VR says.
    count = (count % _MOST_ENTRIES) or _MOST_ENTRIES
    first = (first + 0x8000) % 0x10000 - 0x8000 if signed else first % 0x10000
    if not 1 <= bits <= 16:
        raise ValueError("LUT entries must have 1 to 16 bits")
    return count, first, bits


def _entries(dataset: Dataset, tag: int, count: int, bits: int, little: bool) -> NDArray[Any]:
    element = dataset.get_item(tag)
    if element is None or element.value is None:
        raise ValueError("LUT data are absent")
    value = element.value
    entries: NDArray[Any]
    if not isinstance(value, bytes):
        entries = np.atleast_1d(np.asarray(value, dtype=np.int64)) & 0xFFFF
    elif len(value) in (count, count + count % 2) and bits <= 8:
        swapped = not little and str(element.VR or "") == "OW"
        plain = np.frombuffer(value, np.uint8)
        entries = plain.reshape(-1, 2)[:, ::-1].ravel() if swapped and len(plain) % 2 == 0 else plain
    else:
        order = "<" if little else ">"
        entries = np.frombuffer(value[: len(value) // 2 * 2], np.dtype(f"{order}u2"))
    if len(entries) < count:
        raise ValueError("LUT data are shorter than their descriptor says")
    return entries[:count].astype(np.uint16)


def _is_little(dataset: Dataset) -> bool:
    return dataset.original_encoding[1] is not False


def windowed(values_: NDArray[Any], centre: float, width: float, function: str = "LINEAR") -> NDArray[np.float32]:
    """Map values through a display window to 0 … 1 (DICOM PS3.3 C.11.2.1.2, C.11.2.1.3).

    For display alone: volumes keep their values; ``Source.acquisition`` holds the window that a file recommends.

    Parameters
    ----------
    values_ : ndarray
        In the unit of the window, which for CT is HU.
    centre, width : float
    function : {'LINEAR', 'LINEAR_EXACT', 'SIGMOID'}

    Raises
    ------
    ValueError
        The width is too small for the function, or there is no such function.
    """
    x = np.asarray(values_, dtype=np.float64)
    least = 1.0 if function == "LINEAR" else 0.0
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or width < least or (width == 0 and least == 0):
        raise ValueError(f"no window {function} of width {width:g}")
    if function == "SIGMOID":
        return (1.0 / (1.0 + np.exp(-4.0 * (x - centre) / width))).astype(np.float32)
    if function == "LINEAR_EXACT":
        return np.clip((x - centre) / width + 0.5, 0.0, 1.0).astype(np.float32)
    if width == 1:
        return (x > centre - 0.5).astype(np.float32)
    return np.clip((x - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0).astype(np.float32)
