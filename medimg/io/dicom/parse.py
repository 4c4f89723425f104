"""Parse a DICOM file again for what its Header does not hold: sequences, palettes, pixels.

The bytes are read first and parsed in memory: an element that claims a length which the file does not have can then
never make the parser allocate it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly
from medimg.io.sniff import open_regular


def parse(header: Header, wanted: Sequence[int] | None = None, *, pixels: bool = False) -> Dataset:
    """Return the data set of a file.

    Parameters
    ----------
    header : Header
        Of any frame of the file.
    wanted : sequence of int, optional
        Tags; all where it is not given.
    pixels : bool
        Whether to go on behind the header, to the pixels.

    Raises
    ------
    InputError
        The file cannot be read, or is damaged.
    """
    end = header.pixel_offset or header.encapsulated_offset
    try:
        with open_regular(header.path) as file:
            content = file.read() if pixels or end is None else file.read(end)
        with quietly():
            tags = None if wanted is None else list(wanted)
            return pydicom.dcmread(
                BytesIO(content or b""), force=True, stop_before_pixels=not pixels, specific_tags=tags
            )
    except PYDICOM_ERRORS as error:
        raise InputError(
            "The DICOM file is damaged; its header cannot be parsed.",
            where=header.path,
            got=type(error).__name__,
            fix="copy or export the file again",
        ) from error


@contextmanager
def interpreting(header: Header, what: str) -> Iterator[None]:
    """Turn what a malformed element makes pydicom raise into an error with a name.

    Parameters
    ----------
    header : Header
        Of the file, for the message.
    what : str
        Which elements are looked at.

    Raises
    ------
    InputError
    """
    try:
        with quietly():
            yield
    except PYDICOM_ERRORS as error:
        raise InputError(
            "An element of the DICOM file is malformed.",
            where=header.path,
            got=f"{type(error).__name__} in {what}",
            fix="copy or export the file again",
        ) from error
