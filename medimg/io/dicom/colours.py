"""From the stored samples of one frame to RGB, for images that are pictures and not slices.

Legend: H rows, W columns. What does not depend on the frame (palette, look-up table, depth) is prepared once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom import lut as luts
from medimg.io.dicom import tags
from medimg.io.dicom.codestream import family_of
from medimg.io.dicom.groups import values
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header
from medimg.io.dicom.partial import PARTIAL
from medimg.io.findings import Finding
from medimg.io.picture import replicated

# What pydicom turns into RGB, or the decoder has turned already.
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_BURNED_IN, _ICC, _WINDOW, _VOI_LUT = 0x00280301, 0x00282000, 0x00281050, 0x00283010
_OVERLAY_ROWS = 0x60000010

Samples = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Colours:
    """How the stored samples of a file become RGB.

    Attributes
    ----------
    convert : callable
        (H, W) or (H, W, 3) stored samples, YBR already turned, to (H, W, 3) uint8 or uint16.
    findings : tuple of Finding
        What the conversion does, and what the file holds beside the pixels.
    """

    convert: Callable[[Samples], Samples]
    findings: tuple[Finding, ...]


def colours_of(header: Header, dataset: Dataset) -> Colours:
    """Prepare the conversion of one file.

    Parameters
    ----------
    header : Header
    dataset : Dataset
        The whole header as pydicom parses it.

    Raises
    ------
    InputError
        Samples that are not 1, 8 or 16 bits of grey, palette or three colours; an unusable palette or table.
    """
    findings = _beside(header, dataset)
    bits = header.bits_allocated
    kind = header.photometric
    if not (bits in (8, 16) or (bits == 1 and header.samples == 1)) or not 0 < header.bits_stored <= bits:
        raise _unsupported(header)
    if header.samples == 3 and not header.signed and _has_colour(header):
        return Colours(_spread(header, findings), tuple(findings))
    if header.samples != 1:
        raise _unsupported(header)
    try:
        if kind == "PALETTE COLOR":
            return Colours(_palette(header, dataset, findings), tuple(findings))
        if kind in ("MONOCHROME1", "MONOCHROME2"):
            return Colours(_grey(header, dataset, findings), tuple(findings))
    except PYDICOM_ERRORS as error:
        raise InputError(
            "A look-up table of this picture cannot be used.",
            where=header.path,
            got=f"{type(error).__name__} in the palette (0028,1101) to (0028,1223) or ModalityLUTSequence (0028,3000)",
            fix="export the picture again, if possible as RGB",
        ) from error
    raise _unsupported(header)


def _has_colour(header: Header) -> bool:
    kind, deep = header.photometric, header.bits_allocated > 8
    plain = header.encapsulated_offset is None and not family_of(header.transfer_syntax)
    return (kind in _COLOUR and not (kind.startswith("YBR_FULL") and deep)) or (kind == PARTIAL and plain and not deep)


def _unsupported(header: Header) -> InputError:
    return InputError(
        "Pictures with such pixels are not supported.",
        where=header.path,
        got=f"PhotometricInterpretation (0028,0004) = {header.photometric or 'absent'}, {header.samples} samples of "
        f"{header.bits_allocated} bits, {'signed' if header.signed else 'unsigned'}",
        expected="1, 8 or 16 bits of MONOCHROME1, MONOCHROME2 or PALETTE COLOR, or 8 or 16 bits of RGB, or 8 of YBR",
        fix="export the picture again as 8- or 16-bit grey or RGB",
    )


def _palette(header: Header, dataset: Dataset, findings: list[Finding]) -> Callable[[Samples], Samples]:
    table = luts.palette_table(dataset)
    file = str(header.path)
    findings.append(Finding("PALETTE_EXPANDED", "info", "Palette colours were looked up.", file=file))
    if luts.has_alpha(dataset):
        findings.append(Finding("ALPHA_DROPPED", "info", "The transparency of the palette was dropped.", file=file))
    return table


def _grey(header: Header, dataset: Dataset, findings: list[Finding]) -> Callable[[Samples], Samples]:
    file = str(header.path)
    table = luts.modality_table(dataset)
    if luts.is_supplemental(dataset):
        text = "A supplemental palette that colours some of the grey values was not applied."
        findings.append(Finding("PALETTE_NOT_APPLIED", "warning", text, file=file, tag="(0008,9205)"))
    if table is None:
        spread = _spread(header, findings)
        # Inverted within the bits that are stored: white is the same as in MONOCHROME2.
        unused = header.bits_allocated - header.bits_stored
        top = ((1 << header.bits_stored) - 1) << unused if header.bits_allocated > 1 else 255
    else:
        text = "The modality look-up table was applied."
        value = table.kind or None
        findings.append(Finding("MODALITY_LUT", "info", text, file=file, tag=tags.show(tags.MODALITY_LUT), value=value))
        wide = int(table.entries.max()) > 255
        looked_up = luts.Table(table.entries.astype(np.uint16 if wide else np.uint8), table.first)
        top = (1 << max(1, int(table.entries.max()).bit_length())) - 1

        def spread(stored: Samples) -> Samples:
            return looked_up(_plain(stored, header))

    if header.photometric == "MONOCHROME1":
        text = "MONOCHROME1 (small values bright) was inverted."
        tag = tags.show(tags.PHOTOMETRIC)
        findings.append(
            Finding("MONOCHROME1", "info", text, file=file, tag=tag, value="MONOCHROME1", assumed="inverted")
        )
    findings.append(replicated(file))

    def convert(stored: Samples) -> Samples:
        grey = spread(stored)
        if header.photometric == "MONOCHROME1":
            grey = np.subtract(grey.dtype.type(top), grey)
        return np.repeat(grey[..., None], 3, axis=2)

    return convert


def _plain(stored: Samples, header: Header) -> Samples:
    """Remove what stands outside BitsStored; signed values keep their sign."""
    shift = _left_aligned(header)
    unused = stored.dtype.itemsize * 8 - header.bits_stored
    raised = np.left_shift(np.right_shift(stored, shift) if shift else stored, unused)
    return np.right_shift(raised, unused)


def _left_aligned(header: Header) -> int:
    high = tags.short(header.elements, tags.HIGH_BIT)
    shift = 0 if high is None else high + 1 - header.bits_stored
    return shift if 0 < shift <= header.bits_allocated - header.bits_stored else 0


def _spread(header: Header, findings: list[Finding]) -> Callable[[Samples], Samples]:
    """Return what makes unsigned values of full depth: 1 bit to 0 and 255, others shifted up."""
    file, unused = str(header.path), header.bits_allocated - header.bits_stored
    if header.bits_allocated == 1:
        text = "Single bits were spread to 0 and 255."
        findings.append(
            Finding("DEPTH_SPREAD", "info", text, file=file, tag=tags.show(tags.BITS_STORED), value="× 255")
        )
        return lambda stored: (stored != 0).astype(np.uint8) * np.uint8(255)
    if header.signed:
        text = "Signed values were shifted to begin at 0."
        value = f"+ {1 << (header.bits_stored - 1)}"
        findings.append(Finding("SIGNED_SHIFTED", "info", text, file=file, tag=tags.show(tags.SIGNED), value=value))
    if unused:
        text = f"{header.bits_stored}-bit values were spread over {header.bits_allocated} bits."
        findings.append(
            Finding("DEPTH_SPREAD", "info", text, file=file, tag=tags.show(tags.BITS_STORED), value=f"× {1 << unused}")
        )
    unsigned = np.dtype(f"u{header.bits_allocated // 8}")

    def convert(stored: Samples) -> Samples:
        plain = stored if not unused else _plain(stored, header)
        if header.signed:
            plain = plain.astype(np.int32) + (1 << (header.bits_stored - 1))
        return np.left_shift(plain.astype(unsigned, copy=False), unused)

    return convert


def _beside(header: Header, dataset: Dataset) -> list[Finding]:
    """Say what the file holds that was not used: overlays, burned-in text, a window, a colour profile."""
    file, findings = str(header.path), []
    overlays = sum(_OVERLAY_ROWS + (group << 17) in dataset for group in range(16))
    if overlays:
        text = "Overlays (6000 to 601E) were not drawn into the picture."
        findings.append(Finding("OVERLAY_IGNORED", "info", text, file=file, tag="(60xx,3000)", value=str(overlays)))
    if values(dataset, _BURNED_IN)[:1] == ["YES"]:
        text = "The picture has text burned in, which may name the patient."
        findings.append(Finding("BURNED_IN", "warning", text, file=file, tag=tags.show(_BURNED_IN), value="YES"))
    if values(dataset, _WINDOW) or _VOI_LUT in dataset:
        text = "A display window or VOI look-up table was not applied."
        findings.append(Finding("WINDOW_NOT_APPLIED", "info", text, file=file, tag=tags.show(_WINDOW)))
    profile = dataset.get_item(_ICC)
    if profile is not None and isinstance(profile.value, bytes) and profile.value and b"sRGB" not in profile.value:
        text = "The picture carries a colour profile other than sRGB; its numbers were kept as they are."
        findings.append(Finding("COLOUR_PROFILE", "info", text, file=file, tag=tags.show(_ICC), assumed="sRGB"))
    return findings
