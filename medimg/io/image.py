"""What reading a scan can yield: a Volume, a Picture or a Video.

Legend: C channels, Z slices (index 0), Y rows, X columns; H, W as Y, X of a picture; N frames of a video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

    ``acquisition`` holds technical attributes only (manufacturer, model, kvp, sequence, …). ``channels`` holds, for
    each channel of an array (C, Z, Y, X) that was stacked from several, what sets it apart (``echo_time_ms``, …).
    ``paths`` and ``instance_uids`` name every file once. ``frames`` holds, for each slice of a volume that came out
    of one multi-frame file, its frame there (from 0); it is empty where every file held one slice.
    """

    paths: tuple[Path, ...] = ()
    format: str = ""
    modality: str = ""
    series_uid: str | None = None
    study_uid: str | None = None
    instance_uids: tuple[str, ...] = ()
    acquisition: dict[str, Any] = field(default_factory=dict)
    channels: tuple[dict[str, Any], ...] = ()
    frames: tuple[int, ...] = ()


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


@dataclass(frozen=True, eq=False)
class Video:
    """A sequence of pictures, decoded on demand: endoscopy, ultrasound and angiography loops.

    ``len(video)`` is the number of frames, ``video[n]`` one of them, and iterating decodes them in order, which is
    much faster than asking for one after another.

    Attributes
    ----------
    size : (int, int)
        Rows and columns (H, W) of every frame.
    n_frames : int
        Frames in the file.
    frame_times_ms : (N,) ndarray of float64 or None
        When each frame begins, in milliseconds after the first; None where the file does not say.
    spacing_mm : (float, float) or None
        Row and column spacing where the file states one.
    """

    size: tuple[int, int]
    n_frames: int
    frame_times_ms: NDArray[np.float64] | None
    frames_from: Callable[[int], Iterator[NDArray[Any]]] = field(repr=False)
    spacing_mm: tuple[float, float] | None = None
    colour_space: str = "sRGB"
    source: Source = field(default_factory=Source)
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return self.n_frames

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self.frames_from(0)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return frame ``index`` as (H, W, 3) uint8 or uint16; negative ones count from the end.

        Raises
        ------
        IndexError
            There is no such frame.
        InputError
            The frame is damaged.
        """
        place = index + self.n_frames if index < 0 else index
        if not 0 <= place < self.n_frames:
            raise IndexError(f"frame {index} of {self.n_frames}")
        return next(self.frames_from(place))

    def picture(self, index: int) -> Picture:
        """Return frame ``index`` as a Picture of its own; raises as indexing does."""
        return Picture(self[index], self.spacing_mm, self.colour_space, None, self.source, self.findings)


Image = Volume | Picture | Video
