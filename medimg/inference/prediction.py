"""What a model says about a study."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.inference.postprocess import membership
from medimg.io.findings import Finding
from medimg.io.image import Source
from medimg.packaging.manifest import TaskSpec


@dataclass(frozen=True)
class Box:
    """One detection.

    Attributes
    ----------
    label : str
    score : float
        Probability.
    box : tuple of float
        Lower then upper corner in source indices (z, y, x or y, x), half-open: voxel ``i`` spans i to i + 1.
    box_mm : tuple of float or None
        The same two corners in LPS mm (x, y, z each); None for pictures.
    positive : bool
        The score reaches the package's threshold of this label.
    """

    label: str
    score: float
    box: tuple[float, ...]
    box_mm: tuple[float, ...] | None
    positive: bool


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answer of a model package for one study, on the grid and in the axis order of the study's first image.

    Attributes
    ----------
    task : TaskSpec
        Kind, mode and labels.
    labels : (Z, Y, X) or (H, W) ndarray or None
        Segmentation: class index, or bit mask (multilabel).
    probabilities : (L, *source) ndarray of float32 or None
        Segmentation, where asked for: one channel per label (no background).
    boxes : tuple of Box
        Detection, by falling score.
    scores : dict of str to float
        Classification: scores by name. Detection: each label's highest score.
    grade : int or None
        Classification: class or grade.
    decisions : dict of str to bool
        Scores that have a threshold in the package: whether they reach it.
    affine : (4, 4) ndarray or None
        Source indices to LPS mm.
    findings : tuple of Finding
        What reader, preparation and engine noticed, and the package's own limits.
    package, package_digest : str
        Name with version, and the digest that reports name.
    backend : str
        Engine that ran.
    source : Source
        Where the first image came from.
    """

    task: TaskSpec
    labels: NDArray[Any] | None = None
    probabilities: NDArray[np.float32] | None = None
    boxes: tuple[Box, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    grade: int | None = None
    decisions: dict[str, bool] = field(default_factory=dict)
    affine: NDArray[np.float64] | None = None
    findings: tuple[Finding, ...] = ()
    package: str = ""
    package_digest: str = ""
    backend: str = ""
    source: Source = field(default_factory=Source)

    @property
    def kind(self) -> str:
        """Segmentation, classification or detection."""
        return self.task.kind

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return where the label ``name`` is present, on the source grid.

        Raises
        ------
        KeyError
            There is no such label, or this is no segmentation.
        """
        index = {label.name: label.index for label in self.task.labels}[name]
        if self.labels is None:
            raise KeyError(name)
        return membership(self.labels, self.task, index)
