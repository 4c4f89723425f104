"""What a task wants to know about a case."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Mode = Literal["multiclass", "multilabel", "binary", "ordinal", "boxes"]


class Targets(BaseModel):
    """Names of what is to be found, and in which form the truth is stored.

    Attributes
    ----------
    kind : {'segmentation', 'classification', 'detection'}
        Task.
    mode : str
        ``multiclass`` (label index), ``multilabel`` (bitmask: bit l is label l), ``binary``, ``ordinal`` or ``boxes``.
    names : tuple of str
        Targets in order. Segmentation label l + 1 (multiclass) or bit l (multilabel) is ``names[l]``.
        Classification: the one column of ``labels`` that holds the class.
    classes : int
        Number of classes or grades (classification).
    negative_grades, positive_grades : tuple of int
        The binary view of a grade that is reported; grades in neither are left out of it.
    boxes_from_masks : bool
        Detection: every connected component of a mask is one box.
    min_component : int
        Components with fewer voxels are no lesion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["segmentation", "classification", "detection"]
    mode: Mode
    names: tuple[str, ...] = Field(min_length=1)
    classes: int = 2
    negative_grades: tuple[int, ...] = ()
    positive_grades: tuple[int, ...] = ()
    boxes_from_masks: bool = False
    min_component: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Targets:
        allowed = {
            "segmentation": ("multiclass", "multilabel"),
            "classification": ("binary", "multiclass", "ordinal"),
            "detection": ("boxes",),
        }[self.kind]
        if self.mode not in allowed:
            raise ValueError(f"mode of a {self.kind} task is one of {', '.join(allowed)}, not {self.mode!r}")
        if self.mode == "multilabel" and len(self.names) > 16:
            raise ValueError("a multilabel segmentation holds at most 16 labels")
        if self.mode == "ordinal" and not (self.negative_grades and self.positive_grades):
            raise ValueError("an ordinal task names negative_grades and positive_grades for its binary view")
        return self

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Masks that are drawn into the stored label; with ``multiclass`` segmentation an index, else a bitmask."""
        if self.kind == "segmentation" or (self.kind == "detection" and self.boxes_from_masks):
            return self.names
        return ()

    @property
    def exclusive(self) -> bool:
        """Whether the stored label holds class indices."""
        return self.kind == "segmentation" and self.mode == "multiclass"

    @property
    def output_channels(self) -> int:
        """Number of logits a network gives for each voxel, case or anchor."""
        if self.kind == "segmentation":
            return len(self.names) + (self.mode == "multiclass")
        if self.kind == "detection":
            return len(self.names)
        return {"binary": 1, "multiclass": self.classes, "ordinal": self.classes - 1}[self.mode]

    def binary_truth(self, grade: float) -> int | None:
        """Return 1, 0 or None (left out) for a grade or class under the reported binary view."""
        if self.mode == "binary":
            return int(grade > 0)
        if int(grade) in self.positive_grades:
            return 1
        return 0 if int(grade) in self.negative_grades else None
