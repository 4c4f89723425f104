"""Colours of labels in overlays and segmentations: told apart also by people who see no red or green.

After the palette of M. Okabe and K. Ito, "Color universal design", 2008.
"""

from __future__ import annotations

_PALETTE = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
)


def rgb_of(index: int) -> tuple[int, int, int]:
    """Return the colour of a label index."""
    return _PALETTE[index % len(_PALETTE)]
