"""package.json: what a model package says about itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medimg.data.digest import digest_value
from medimg.data.preparation import Preparation
from medimg.errors import InputError

SCHEMA = "medimg.package/1"

Validation = Literal["validated", "validated_with_limitations", "ancestry_not_evaluated", "not_validated"]
SEALABLE: tuple[Validation, ...] = ("validated", "validated_with_limitations")
"""What the gate seals."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
_SHA256 = r"^[0-9a-f]{64}$"
# What may change without another answer for any scan, and what the report, which names the digest, leads to.
_NOT_IN_DIGEST = {"status", "validation", "not_validated_for", "report_sha256", "parity"}


class Part(BaseModel):
    """Base of every part: unknown keys and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Label(Part):
    """One label.

    ``index`` is the voxel value (multiclass segmentation, from 1), the bit (multilabel segmentation, from 0), the
    class or grade (classification) or the class of a box (detection). ``code`` is a SNOMED CT CURIE such as
    ``SNOMEDCT:285307005``.
    """

    name: str = Field(min_length=1)
    index: int = Field(ge=0)
    code: str | None = None


class TaskSpec(Part):
    """What the model does.

    Attributes
    ----------
    labels : tuple of Label
        In the order of the network's outputs (without the background of multiclass segmentation). Binary
        classification: the positive class alone. Ordinal: all grades, the lowest first.
    target : str or None
        Classification: name of the score. Default: the label's name (binary), ``positive`` otherwise.
    positive_from : int or None
        Lowest grade that counts as positive in the binary view of grades.
    negative_to : int or None
        Highest grade that counts as negative there; None: all below ``positive_from``.
    """

    kind: Literal["segmentation", "classification", "detection"]
    mode: Literal["multiclass", "multilabel", "binary", "ordinal", "boxes"]
    spatial_dims: Literal[2, 3]
    labels: tuple[Label, ...] = Field(min_length=1)
    target: str | None = None
    positive_from: int | None = None
    negative_to: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TaskSpec:
        modes = {
            "segmentation": ("multiclass", "multilabel"),
            "classification": ("binary", "multiclass", "ordinal"),
            "detection": ("boxes",),
        }[self.kind]
        if self.mode not in modes:
            raise ValueError(f"mode of a {self.kind} task is one of {', '.join(modes)}, not {self.mode!r}")
        names = [label.name for label in self.labels]
        first = 1 if self.kind == "segmentation" and self.mode == "multiclass" else 0
        if len(set(names)) < len(names) or len({label.index for label in self.labels}) < len(names):
            raise ValueError("two labels share a name or an index")
        expected = list(range(first, first + len(names)))
        if self.mode != "binary" and [label.index for label in self.labels] != expected:
            raise ValueError(f"labels come in the order of their indices {expected}")
        if self.mode == "ordinal" and (self.positive_from is None or not 1 <= self.positive_from < len(names)):
            raise ValueError("an ordinal task needs positive_from, a grade above the lowest")
        if self.negative_to is not None and not 0 <= self.negative_to < (self.positive_from or 0):
            raise ValueError("negative_to is a grade below positive_from")
        return self

    @property
    def outputs(self) -> int:
        """Number of logits per voxel, study or anchor."""
        if self.kind == "segmentation" and self.mode == "multiclass":
            return len(self.labels) + 1
        if self.mode == "binary":
            return 1
        return len(self.labels) - 1 if self.mode == "ordinal" else len(self.labels)

    @property
    def score_name(self) -> str:
        """Name of the score of a classification."""
        return self.target or (self.labels[0].name if self.mode == "binary" else "positive")


class Tiling(Part):
    """How scans are passed through the network.

    Attributes
    ----------
    mode : {'whole', 'tiles'}
        ``tiles`` still takes the whole scan in one pass where it fits the memory budget.
    tile : tuple of int
        Size of a window as the network sees it, halo included, per axis.
    halo : tuple of int
        Border of a window whose answers are not used, per axis.
    divisor : tuple of int
        What the network's input size must be a multiple of, per axis.
    flips : tuple of tuple of int
        Test-time flips besides the plain pass: axes per pass (0 is the first spatial axis). Averaged.
    bytes_per_voxel : float or None
        Peak memory of a pass per input voxel, from the graph.
    """

    mode: Literal["whole", "tiles"] = "whole"
    tile: tuple[int, ...] | None = None
    halo: tuple[int, ...] | None = None
    divisor: tuple[int, ...]
    flips: tuple[tuple[int, ...], ...] = ()
    bytes_per_voxel: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Tiling:
        dims = len(self.divisor)
        if any(not flip or any(not 0 <= axis < dims for axis in flip) for flip in self.flips):
            raise ValueError(f"flips name axes 0 to {dims - 1}")
        if self.mode == "whole":
            return self
        if self.tile is None or self.halo is None or len(self.tile) != dims or len(self.halo) != dims:
            raise ValueError(f"tiles need a tile and a halo of {dims} numbers")
        for size, border, step in zip(self.tile, self.halo, self.divisor):
            if size % step or border % step or border < 0 or size <= 2 * border:
                raise ValueError("tile and halo are multiples of the divisor, and a tile is larger than two halos")
        return self


class Postprocessing(Part):
    """From probabilities to answers.

    Attributes
    ----------
    thresholds : dict of str to float
        By label (multilabel segmentation, boxes) or score name (classification). Default 0.5.
    min_component_voxels : dict of str to int
        Smaller connected components (full connectivity, on the prepared grid) of a label are dropped.
    keep_largest : tuple of str
        Labels of which only the largest component is kept.
    """

    thresholds: dict[str, float] = Field(default_factory=dict)
    min_component_voxels: dict[str, int] = Field(default_factory=dict)
    keep_largest: tuple[str, ...] = ()


class Network(Part):
    """Which network the weights belong to, and how its graph was written."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    onnx_opset: int
    outputs: tuple[str, ...]


class Provenance(Part):
    """What produced the weights. ``training_groups`` counts training subjects by ancestry group."""

    medimg_version: str
    torch_version: str
    created: datetime
    experiment: str = ""
    config_sha256: str = ""
    cohort_sha256: str = ""
    split_sha256: str = ""
    training_subjects: int = 0
    training_groups: dict[str, int] = Field(default_factory=dict)


class Parity(Part):
    """Agreement of the exported graph with the network that was trained.

    ``max_abs_difference`` is the largest one of a probability, over ``cases`` scans. ``answers`` held-out scans went
    the whole way through both: their boxes, grades and decisions were equal, and at most ``labels_differing`` of a
    scan's voxels had another label.
    """

    max_abs_difference: float = Field(ge=0)
    cases: int = Field(ge=1)
    answers: int = Field(default=0, ge=0)
    labels_differing: float | None = Field(default=None, ge=0)


class PackageManifest(Part):
    """package.json. See the parts for their fields.

    ``weights_sha256`` and ``onnx_sha256`` bind the two files that decide every answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    schema_: Literal["medimg.package/1"] = Field(default="medimg.package/1", alias="schema")
    name: str = Field(pattern=_NAME)
    version: str
    status: Literal["candidate", "sealed"] = "candidate"
    validation: Validation = "not_validated"
    not_validated_for: tuple[str, ...] = ()
    modality: Literal["CT", "MR", "ES", "OP"]
    intended_use: str
    research_use_only: Literal[True] = True
    task: TaskSpec
    preparation: Preparation
    tiling: Tiling
    postprocessing: Postprocessing = Postprocessing()
    anchors: dict[str, Any] | None = None
    network: Network
    provenance: Provenance
    weights_sha256: str = Field(pattern=_SHA256)
    onnx_sha256: str = Field(pattern=_SHA256)
    report_sha256: str | None = Field(default=None, pattern=_SHA256)
    parity: Parity | None = None

    @model_validator(mode="after")
    def _consistent(self) -> PackageManifest:
        if self.status == "sealed" and (self.validation not in SEALABLE or self.report_sha256 is None):
            raise ValueError(f"a sealed package has a report and is {' or '.join(SEALABLE)}")
        if len(self.tiling.divisor) != self.task.spatial_dims:
            raise ValueError("tiling and task differ in their number of axes")
        if (self.preparation.kind == "volume") != (self.task.spatial_dims == 3):
            raise ValueError("volumes have three axes, pictures two")
        if (self.anchors is not None) != (self.task.kind == "detection"):
            raise ValueError("anchors belong to detection, and detection needs them")
        if self.task.kind == "classification" and self.tiling.mode == "tiles":
            raise ValueError("a classification sees the image whole: no tiles")
        if self.task.kind == "detection" and self.tiling.flips:
            raise ValueError("test-time flips are for segmentation and classification")
        known = {label.name for label in self.task.labels} | {self.task.score_name}
        post = self.postprocessing
        named = {*post.thresholds, *post.min_component_voxels, *post.keep_largest}
        if named - known:
            raise ValueError(f"postprocessing names unknown labels: {', '.join(sorted(named - known))}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides an answer: the same for a candidate and the package sealed from it."""
        return digest_value(self.model_dump(mode="json", by_alias=True, exclude=_NOT_IN_DIGEST))


def read_manifest(path: Path) -> PackageManifest:
    """Read and check package.json.

    Raises
    ------
    InputError
        Missing, no JSON, of another schema, or against it; the message names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("The model package has no readable package.json.", where=path) from error
    try:
        return PackageManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "package.json"
        raise InputError(
            "package.json does not follow the schema of model packages.",
            where=f"{path}: {key}",
            got=first["msg"],
            expected=SCHEMA,
            fix="take the package from its source again; a newer schema needs a newer medimg",
        ) from error
