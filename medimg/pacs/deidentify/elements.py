"""Read one element without falling over what is written in it."""

from __future__ import annotations

import struct
import warnings

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
    BytesLengthException,
)


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
