"""The schema of every configuration: a wrong key or type fails when the configuration is composed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from medimg.data.settings import CsvIndex, PlanSettings, ReadingSettings, SplitSettings
from medimg.evaluation.foreign.settings import ForeignSettings
from medimg.pacs.serve.settings import ServeSettings
from medimg.training.settings import FitSettings


@dataclass
class CocoSettings:
    """Where a COCO file and its pictures lie below ``data.root``."""

    annotations: str = "annotations.json"
    image_folder: str = "images"


@dataclass
class DataConfig:
    """Scans and labels. ``root`` is a cohort folder, or one that ``kind`` says how to index.

    ``unit`` is that of CT volumes whose files state none (NIfTI); None assumes HU and says so.
    """

    root: str = MISSING
    title: str = "untitled"
    licence: str = "unknown"
    modality: str = MISSING
    unit: str | None = None
    kind: str = "csv"
    csv: CsvIndex = field(default_factory=CsvIndex)
    coco: CocoSettings = field(default_factory=CocoSettings)
    channels: list[str] = field(default_factory=lambda: ["image"])
    split: SplitSettings = field(default_factory=SplitSettings)
    threads: int = 2


@dataclass
class LossConfig:
    """Weights of the parts of a loss; each task reads the ones it has."""

    dice: float = 1.0
    cross_entropy: float = 1.0
    label_smoothing: float = 0.0
    class_weights: list[float] | None = None


@dataclass
class TaskConfig:
    """What is to be found: see :class:`medimg.data.targets.Targets`. ``metric`` picks the best weights."""

    kind: str = MISSING
    mode: str = MISSING
    names: list[str] = MISSING
    classes: int = 2
    negative_grades: list[int] = field(default_factory=list)
    positive_grades: list[int] = field(default_factory=list)
    boxes_from_masks: bool = False
    min_component: int = 1
    metric: str | None = None
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass
class ModelConfig:
    """Network by name (None: the plan chooses). ``pretrained`` is a local file, ``installed`` (the wheel) or None."""

    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: str | None = None


@dataclass
class InferenceConfig:
    """How the package is run: ``tile`` None passes the whole image; ``flips`` are averaged at test time."""

    tile: list[int] | None = None
    halo: list[int] | None = None
    flips: list[list[int]] = field(default_factory=list)
    keep_largest: list[str] = field(default_factory=list)
    min_component: dict[str, int] = field(default_factory=dict)
    backend: str = "onnxruntime"


@dataclass
class ReleaseConfig:
    """What the package says of itself; ``key`` is a private Ed25519 key (PEM) that signs it."""

    intended_use: str = "Research on the imaging modality named here; not for diagnosis or treatment."
    version: str = "1"
    key: str | None = None


@dataclass
class ExperimentConfig:
    """Everything that a training run needs; ``experiment=NAME`` fills most of it."""

    name: str = "custom"
    data: DataConfig = field(default_factory=DataConfig)
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    plan: PlanSettings = field(default_factory=PlanSettings)
    transforms: dict[str, Any] = field(default_factory=dict)
    trainer: FitSettings = field(default_factory=FitSettings)
    evaluation: dict[str, Any] = field(default_factory=dict)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    store: str = "runs/store"
    runs: str = "runs"
    package: str | None = None
    output: str | None = None
    json: bool = False


@dataclass
class PredictConfig:
    """``input`` is a path, or a mapping from channel to path. ``reading`` is the package's unless stated.

    ``dicom`` names DICOM objects that are written besides, of a DICOM study: one of ``seg``, ``seg_fractional`` and
    ``seg_labelmap``; ``sr`` (a report), ``sc`` (key images), ``gsps`` (a presentation state), ``pm`` (probabilities).
    """

    package: str = MISSING
    input: Any = MISSING
    output: str = MISSING
    series: str | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    backend: str = "onnxruntime"
    threads: int | None = None
    probabilities: bool = False
    dicom: list[str] = field(default_factory=list)
    json: bool = False


@dataclass
class DescribedModel:
    """What is said of a model that has no package; ``name`` is the file's by default."""

    name: str | None = None
    version: str = ""
    intended_use: str = ""
    modality: str = ""


@dataclass
class ReportConfig(ForeignSettings):
    """A report of a ``run``, of another toolkit's ``predictions``, of ``counts``, or of the ``summaries`` of sites.

    ``run`` is a folder that ``train`` or ``evaluate`` wrote. ``settings`` is a YAML file with any of these keys, which
    the command line outdoes. ``evaluation``, ``thresholds`` and ``tuning`` (predictions of a split to fix thresholds
    on) belong to ``medimg report protocol``, ``predicted_at`` to the predictions, ``sender`` to ``medimg report
    summary``. ``language`` is that of the page; ``dossier`` adds documents for regulators, ``declared`` (YAML) holds
    what people say in them.
    """

    run: str | None = None
    predictions: str | None = None
    counts: str | None = None
    summaries: list[str] = field(default_factory=list)
    sender: str | None = None
    subjects: str | None = None
    lesions: str | None = None
    protocol: str | None = None
    tuning: str | None = None
    settings: str | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    thresholds_from: str | None = None
    predicted_at: str | None = None
    exploratory: bool = False
    model: DescribedModel = field(default_factory=DescribedModel)
    language: str = "en"
    pdf: bool = False
    dossier: bool = False
    declared: str | None = None
    output: str = MISSING
    json: bool = False


@dataclass
class ExportConfig:
    """``candidate`` writes the package even where the gate refuses, marked NOT VALIDATED."""

    run: str = MISSING
    output: str = MISSING
    key: str | None = None
    candidate: bool = False
    json: bool = False


@dataclass
class ServeConfig(ServeSettings):
    """The service. ``settings`` is a YAML file with any of these keys, which the command line outdoes."""

    settings: str | None = None


@dataclass
class SamplesConfig:
    """Where the generated samples go."""

    output: str = "data_samples"
    seed: int = 2026
    modalities: list[str] = field(default_factory=lambda: ["ct", "mri", "endoscopy", "fundus"])
    subjects: int | None = None


@dataclass
class DemoConfig:
    """Where the demonstration writes, and which modalities it goes through."""

    output: str = "demo_runs"
    modalities: list[str] = field(default_factory=lambda: ["ct", "mri", "endoscopy", "fundus"])
    samples: str | None = None


@dataclass
class DoctorConfig:
    """``json`` prints one JSON document instead of a page."""

    json: bool = False


SCHEMAS = {
    "experiment": ExperimentConfig,
    "predict": PredictConfig,
    "report": ReportConfig,
    "serve": ServeConfig,
    "export": ExportConfig,
    "samples": SamplesConfig,
    "demo": DemoConfig,
    "doctor": DoctorConfig,
}


def register() -> None:
    """Make the schemas known to Hydra under ``schema/``."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(group="schema", name=name, node=schema, package="_global_")
