"""Settings of importing, splitting and planning, as a configuration holds them. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from medimg.errors import ConfigError, nearest
from medimg.io.policy import STRICT, ReadPolicy

SPLIT_METHODS = ("holdout", "folds", "column")


@dataclass
class MaskColumn:
    """One target drawn in mask files: ``value`` is its label there, None takes every non-zero voxel."""

    column: str = ""
    value: int | None = None
    code: str | None = None


@dataclass
class ClassColumn:
    """One number a case: ``map`` turns cell texts into numbers; a text it does not list leaves the case unlabelled."""

    column: str = ""
    map: dict[str, float] | None = None
    grade: bool = False
    code: str | None = None


@dataclass
class CsvIndex:
    """Which column of ``index`` holds what.

    ``images`` maps channel names to columns (none stated: channel ``image`` in column ``image``); those named in
    ``outlines`` hold a drawn outline that the network reads beside the scan. ``masks`` maps target
    names to :class:`MaskColumn` or a column's name, ``classes`` target names to :class:`ClassColumn` or a column's
    name. Where ``subject`` is None every row counts as a person of its own.
    An empty mask cell means 'looked, none present' if ``empty_mask_is_absent``, else 'not annotated'.
    """

    index: str = "index.csv"
    images: dict[str, str] = field(default_factory=dict)
    outlines: list[str] = field(default_factory=list)
    subject: str | None = None
    session: str | None = None
    site: str | None = None
    scanner: str | None = None
    split: str | None = None
    split_names: dict[str, str] = field(default_factory=dict)
    masks: dict[str, Any] = field(default_factory=dict)
    empty_mask_is_absent: bool = False
    classes: dict[str, Any] = field(default_factory=dict)
    subjects: str | None = None
    demographics: dict[str, str] = field(default_factory=dict)
    ancestry_scheme: str | None = None
    ancestry_source: str | None = None
    events: str | None = None

    def image_columns(self) -> dict[str, str]:
        """Return the column of each channel."""
        columns = dict(self.images) or {"image": "image"}
        for name in self.outlines:
            if name not in columns:
                raise ConfigError(
                    "an outline is one of the images",
                    where="data.csv.outlines",
                    got=name,
                    expected=nearest(name, columns),
                )
        return columns

    def mask_columns(self) -> dict[str, MaskColumn]:
        """Return ``masks`` with every entry checked."""
        return {name: _column(MaskColumn, value, f"data.csv.masks.{name}") for name, value in self.masks.items()}

    def class_columns(self) -> dict[str, ClassColumn]:
        """Return ``classes`` with every entry checked."""
        return {name: _column(ClassColumn, value, f"data.csv.classes.{name}") for name, value in self.classes.items()}


def _column(kind: type[Any], value: Any, where: str) -> Any:
    if isinstance(value, str):
        return kind(column=value)
    valid = [item.name for item in fields(kind)]
    if not isinstance(value, Mapping) or "column" not in value:
        raise ConfigError("a label needs the column that holds it", where=where, got=value, expected="{column: NAME}")
    for name in value:
        if name not in valid:
            raise ConfigError("there is no such key", where=f"{where}.{name}", expected=nearest(str(name), valid))
    texts = value.get("map")
    numbers = None if texts is None else {str(text): float(number) for text, number in texts.items()}
    return kind(**{**value, **({"map": numbers} if "map" in value else {})})


@dataclass
class ReadingSettings:
    """What to do where a series is not what a volume needs: see :class:`medimg.io.policy.ReadPolicy`.

    None is ``error``, or what the model package says where there is one. A case is one image, so that ``missing`` is
    ``error`` or ``interpolate`` here.
    """

    missing: str | None = None
    duplicates: str | None = None
    tilt: str | None = None
    irregular: str | None = None

    def __post_init__(self) -> None:
        if self.missing == "split":
            raise ConfigError(
                "a case is one image: its parts cannot be read as several",
                where="reading.missing",
                got=self.missing,
                expected="error or interpolate",
            )
        self.policy()

    def policy(self, base: ReadPolicy = STRICT) -> ReadPolicy:
        """Return the policy that these settings make of ``base``."""
        stated = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(base, **{name: value for name, value in stated.items() if value is not None})


@dataclass
class SplitSettings:
    """How cases are divided.

    ``holdout`` cuts ``held_out`` and ``tuning`` shares off; ``folds`` holds fold number ``fold`` out of ``folds``;
    ``column`` takes the cohort's own split column (tuning is cut off its train part where it has none).
    """

    method: str = "holdout"
    held_out: float = 0.2
    tuning: float = 0.1
    folds: int = 5
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in SPLIT_METHODS:
            raise ConfigError(
                "there is no such way to split",
                where="data.split.method",
                got=self.method,
                expected=nearest(self.method, SPLIT_METHODS),
            )
        if not 0 < self.held_out < 1 or not 0 < self.tuning < 1 or self.held_out + self.tuning >= 1:
            raise ConfigError(
                "split shares must leave something to train on",
                where="data.split",
                got=f"held_out={self.held_out}, tuning={self.tuning}",
                expected="two numbers between 0 and 1 with a sum below 1",
            )
        if not 0 <= self.fold < self.folds or self.folds < 2:
            raise ConfigError(
                "the fold does not exist",
                where="data.split.fold",
                got=self.fold,
                expected=f"0 to {self.folds - 1}",
            )


@dataclass
class PlanSettings:
    """What the user fixes; None leaves it to the fingerprint."""

    spacing_mm: list[float] | None = None
    size_zyx: list[int] | None = None
    size_yx: list[int] | None = None
    scale: float | None = None
    field_of_view: bool | None = None
    window: list[float] | None = None
    patch: list[int] | None = None
    batch_size: int | None = None
