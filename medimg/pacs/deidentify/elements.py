"""Read one element without falling over what is written in it."""

from __future__ import annotations

import struct
import warnings
import zlib

from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag

# What pydicom raises where an element's bytes are no value of its VR.
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    LookupError,
    OverflowError,
    NotImplementedError,
    AttributeError,
    EOFError,
    OSError,
    RecursionError,
    struct.error,
    zlib.error,
    BytesLengthException,
)

_NUMBERS = {"AT", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV"}


def readable(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    """Return an element with its value read, None where the value cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            element = dataset[tag]
            # Values are read when they are first asked for.
            _ = element.value
    except UNREADABLE:
        return None
    return element


def strings(element: DataElement) -> list[str]:
    """Return the values of a text element; [] for an empty one."""
    value = element.value
    if value is None or value == "":
        return []
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [str(value)]
    return [str(one) for one in value]


def too_many(element: DataElement) -> bool:
    """Tell whether a number has more values than PS3.6 gives it: then a wrong length made it swallow other elements."""
    if element.VR not in _NUMBERS:
        return False
    try:
        most = dictionary_VM(element.tag)
    except KeyError:
        return True
    return most.isdigit() and int(most) < element.VM
