"""Encoded frames of one DICOM file, and the decoders that turn them into stored values.

Legend: Y rows, X columns of a frame. pydicom runs the decoders; what it gets is exactly one frame, and the decoder is
named, so that it never tries one that ends the process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medimg.errors import InputError, MissingDependency
from medimg.io.dicom.codestream import NATIVE, RETIRED_JPEG, is_plain_jpeg, precision, stated_of
from medimg.io.dicom.fast import decode_fast
from medimg.io.dicom.gdcm import decode_twelve_bits, muffled
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly
from medimg.io.dicom.packed import DEFLATED_FRAMES, inflate, unpack_rle_bits
from medimg.io.dicom.partial import PARTIAL, rgb_of_partial
from medimg.io.findings import Finding
from medimg.io.whole_pictures import refuse_cut_pictures

# Which of pydicom's plug-ins are asked, the fastest first. GDCM is asked where there is no other (gdcm.py).
_PLUGINS = {
    RLELossless: ("pylibjpeg", "pydicom"),
    JPEGLSLossless: ("pyjpegls",),
    JPEGLSNearLossless: ("pyjpegls",),
    JPEG2000: ("pylibjpeg", "pillow"),
    JPEG2000Lossless: ("pylibjpeg", "pillow"),
}
_Result = TypeVar("_Result")
_GDCM = "gdcm"
_SILENT = ("pydicom", "pyjpegls")


@dataclass(frozen=True, eq=False)
class Encoded:
    """The wanted frames of one file, still encoded. Decoding is thread-safe.

    Attributes
    ----------
    header : Header
        Of any frame of the file.
    syntax : UID
        What the pixels are really in.
    findings : tuple of Finding
        What was noticed, such as a wrong transfer syntax.
    """

    header: Header
    syntax: UID
    findings: tuple[Finding, ...] = ()
    _frames: dict[int, bytes] = field(default_factory=dict)
    _native: Dataset | None = None
    _planar: int = 0

    def frame(self, index: int, *, as_rgb: bool = False, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Decode one frame: (Y, X), or (Y, X, 3) in RGB where ``as_rgb`` converts YBR.

        ``out`` is C-contiguous memory that may be filled; where its values are the frame's, a view of it comes back.

        Raises
        ------
        InputError
            Damaged pixels, or pixels that do not fit the header.
        MissingDependency
            No decoder for the transfer syntax is installed.
        """
        header = self.header
        array = guarded(header, self.syntax, lambda: self._decode(index, as_rgb, out))
        expected = (header.rows, header.columns, *((header.samples,) if header.samples > 1 else ()))
        if array.shape != expected:
            raise InputError(
                "The decoded pixels do not fit the header.", where=header.path, got=array.shape, expected=expected
            )
        return np.asarray(array, dtype=array.dtype.newbyteorder("="))

    def _decode(self, index: int, as_rgb: bool, out: NDArray[Any] | None) -> NDArray[Any]:
        header, syntax = self.header, self.syntax
        if self._native is None and index not in self._frames:
            raise too_few(header, index)
        if syntax in NATIVE:
            # Bits above BitsStored are left for the callers, who tell of them.
            options: dict[str, Any] = {"raw": not as_rgb, "correct_unused_bits": False}
            decoder = _decoder(header, syntax)
            if self._native is not None and header.photometric == PARTIAL:
                options |= {"raw": True, "photometric_interpretation": "YBR_FULL_422"}
                array = np.asarray(decoder.as_array(self._native, index=index, **options)[0])
                return rgb_of_partial(array) if as_rgb else array
            if self._native is not None:
                return np.asarray(decoder.as_array(self._native, index=index, **options)[0])
            return np.asarray(decoder.as_array(self._frames[index], index=0, **options, **self._options())[0])
        frame = self._frames[index]
        stated = stated_of(frame)
        if stated is not None and stated[:2] != (header.rows, header.columns):
            raise ValueError("the compressed frame states another size than the header")
        if syntax == DEFLATED_FRAMES:
            return inflate(frame, header)
        if syntax == RLELossless and header.bits_allocated == 1:
            return unpack_rle_bits(frame, header)
        if syntax in RETIRED_JPEG or (syntax == JPEGExtended12Bit and header.bits_stored > 8):
            return decode_twelve_bits(frame, header, syntax)
        fast = decode_fast(frame, header, syntax, out)
        return self._by_pydicom(frame, as_rgb) if fast is None else fast

    def _by_pydicom(self, frame: bytes, as_rgb: bool) -> NDArray[Any]:
        header, syntax = self.header, self.syntax
        decoder = _decoder(header, syntax)
        if not decoder.is_available:
            raise _no_decoder(header, syntax, "; or ".join(decoder.missing_dependencies))
        options: dict[str, Any] = {**self._options(), "index": 0, "raw": not as_rgb}
        if syntax == RLELossless:
            options["correct_unused_bits"] = False
        source = encapsulate([frame], has_bot=False)
        others = [name for name in decoder.available_plugins if name != _GDCM]
        plugins = [name for name in _PLUGINS.get(syntax, others) if name in others]
        if not plugins and not is_plain_jpeg(frame, header.samples, header.bits_allocated):
            raise ValueError("the header of the JPEG stream is not plain")
        if not plugins:
            # GDCM ends the process where the stored bits do not fit the stream; the values are the same.
            options["bits_stored"] = 8 if header.bits_allocated == 8 else precision(frame)
        refuse_cut_pictures()
        raised: BaseException | None = None
        for name in plugins or [_GDCM]:
            try:
                with nullcontext() if name in _SILENT else muffled():
                    return np.asarray(decoder.as_array(source, decoding_plugin=name, **options)[0])
            except _raised() as error:
                raised = error
        raise RuntimeError("no decoder could decode the frame") from raised

    def _options(self) -> dict[str, Any]:
        header = self.header
        options: dict[str, Any] = {
            "rows": header.rows,
            "columns": header.columns,
            "samples_per_pixel": header.samples,
            "number_of_frames": 1,
            "photometric_interpretation": header.photometric,
            "bits_allocated": header.bits_allocated,
            "bits_stored": header.bits_stored,
            "pixel_representation": int(header.signed),
            "pixel_keyword": "PixelData",
        }
        return {**options, "planar_configuration": self._planar} if header.samples > 1 else options


def _decoder(header: Header, syntax: UID) -> Decoder:
    try:
        return get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(
            "This version does not read this transfer syntax.",
            where=header.path,
            got=f"{syntax.name} ({syntax})",
            fix="ask the sender for an uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE export",
        ) from error


def guarded(header: Header, syntax: UID, work: Callable[[], _Result]) -> _Result:
    """Run ``work`` and turn what pydicom and the decoders raise into an error with a name."""
    try:
        with quietly():
            return work()
    except _raised() as error:
        raise InputError(
            "The pixels are damaged, cut short, or not in the stated transfer syntax.",
            where=header.path,
            got=f"{type(error).__name__} while decoding {syntax.name}",
            fix="copy or fetch the file again",
        ) from error


def _raised() -> tuple[type[BaseException], ...]:
    # What a decoder written in Rust raises on damaged data is no Exception and cannot be imported.
    return (*PYDICOM_ERRORS, *(kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException"))


def too_few(header: Header, index: int) -> InputError:
    """Return the error for a frame that the file states and does not hold."""
    return InputError(
        "The file holds fewer frames than it states.",
        where=header.path,
        got=f"no pixels for frame {index + 1}",
        expected=f"NumberOfFrames (0028,0008) = {header.frames}",
        fix="copy or fetch the file again; the transfer did not finish",
    )


def _no_decoder(header: Header, syntax: UID, needed: str) -> MissingDependency:
    return MissingDependency(
        "No decoder for this transfer syntax is installed.",
        where=header.path,
        got=f"{syntax.name} ({syntax}), {header.bits_stored} bits",
        expected=needed,
        fix="install the packages named, or ask the sender for an uncompressed export",
    )
