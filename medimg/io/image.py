"""The two things that reading a scan can yield: a Volume or a Picture.

Legend: C channels, Z slices (index 0), Y rows, X columns; H, W as Y, X of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.io.findings import Finding

Unit = Literal["HU", "arbitrary", "SUV", "label"]


@dataclass(frozen=True)
class Source:
    """Where an image came from. UIDs are kept for provenance, never patient attributes.

    ``acquisition`` holds technical attributes only (manufacturer, model, kvp, sequence, …).
    """

    paths: tuple[Path, ...] = ()
    format: str = ""
    modality: str = ""
    series_uid: str | None = None
    study_uid: str | None = None
    instance_uids: tuple[str, ...] = ()
    acquisition: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan on a regular grid in patient space.

    Attributes
    ----------
    array : (Z, Y, X) or (C, Z, Y, X) ndarray
        Voxel values in ``unit``.
    affine : (4, 4) ndarray of float64
        Maps array indices ``(z, y, x, 1)`` to patient LPS millimetres.
    unit : {'HU', 'arbitrary', 'SUV', 'label'}
        What the values are.
    frame_of_reference_uid : str or None
        DICOM frame of reference, where the source has one.
    source : Source
        Paths and UIDs.
    findings : tuple of Finding
        What the reader noticed.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    unit: Unit = "arbitrary"
    frame_of_reference_uid: str | None = None
    source: Source = field(default_factory=Source)
    findings: tuple[Finding, ...] = ()

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        z, y, x = self.array.shape[-3:]
        return int(z), int(y), int(x)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along Z, Y, X in millimetres."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])


@dataclass(frozen=True, eq=False)
class Picture:
    """An ordinary colour picture: endoscopy frame, fundus photograph.

    Attributes
    ----------
    array : (H, W, 3) ndarray of uint8 or uint16
        sRGB unless ``colour_space`` says otherwise. A label picture is (H, W).
    spacing_mm : (float, float) or None
        Row and column spacing where the file states one.
    colour_space : str
        ``sRGB`` or ``label``.
    field_of_view : (H, W) ndarray of bool or None
        Where the camera saw something.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, float] | None = None
    colour_space: str = "sRGB"
    field_of_view: NDArray[np.bool_] | None = None
    source: Source = field(default_factory=Source)
    findings: tuple[Finding, ...] = ()
