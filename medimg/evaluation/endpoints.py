"""The metrics that a protocol may declare as endpoints, with their unit, direction and what they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "none"]
Needs = Literal["patients", "positives", "negatives", "both"]
Parameter = Literal["rate", "grade", "level"]


@dataclass(frozen=True)
class Metric:
    """What is fixed about a metric, whoever declares it.

    Attributes
    ----------
    tasks : tuple of str
        Tasks whose case table holds the columns that the metric reads.
    unit : str
        ``fraction``, ``mm`` (or ``px`` for pictures), ``ml`` (or ``px``), ``per image``.
    better : {'higher', 'lower', 'none'}
        ``none`` marks a description that gets no verdict.
    needs : {'patients', 'positives', 'negatives', 'both'}
        Of what a group must hold enough before a verdict is given.
    text : str
        One line for the report's reader.
    parameter : {'rate', 'grade', 'level'}, optional
        The field of the endpoint that must be declared too.
    """

    tasks: tuple[str, ...]
    unit: str
    better: Better
    needs: Needs
    text: str
    parameter: Parameter | None = None


_BINARY = ("classification", "detection")
_CLS = ("classification",)
_SEG = ("segmentation",)
_DET = ("detection",)

METRICS: dict[str, Metric] = {
    "auc": Metric(_BINARY, "fraction", "higher", "both", "Area under the ROC curve (Mann-Whitney, midranks)"),
    "sensitivity": Metric(_BINARY, "fraction", "higher", "positives", "Sensitivity at the frozen threshold"),
    "specificity": Metric(_BINARY, "fraction", "higher", "negatives", "Specificity at the frozen threshold"),
    "ppv": Metric(_BINARY, "fraction", "higher", "patients", "Share of positive calls that are right"),
    "npv": Metric(_BINARY, "fraction", "higher", "patients", "Share of negative calls that are right"),
    "accuracy": Metric(_CLS, "fraction", "higher", "patients", "Share of cases with the right class or grade"),
    "quadratic_kappa": Metric(_CLS, "fraction", "higher", "patients", "Quadratic weighted kappa of grades"),
    "grade_recall": Metric(_CLS, "fraction", "higher", "positives", "Share of one grade that was recognised", "grade"),
    "dice_mean": Metric(_SEG, "fraction", "higher", "patients", "Mean Dice over cases"),
    "dice_median": Metric(_SEG, "fraction", "higher", "patients", "Median Dice over cases"),
    "dice_below": Metric(_SEG, "fraction", "lower", "patients", "Share of cases with Dice below a level", "level"),
    "nsd_mean": Metric(_SEG, "fraction", "higher", "patients", "Mean normalised surface Dice at the tolerance"),
    "nsd_median": Metric(_SEG, "fraction", "higher", "patients", "Median normalised surface Dice at the tolerance"),
    "hd95_mean": Metric(_SEG, "mm", "lower", "patients", "Mean 95th percentile of surface distances"),
    "hd95_median": Metric(_SEG, "mm", "lower", "patients", "Median 95th percentile of surface distances"),
    "missed": Metric(_SEG, "fraction", "lower", "positives", "Share of structures present that were left empty"),
    "volume_bias": Metric(_SEG, "ml", "none", "patients", "Mean of predicted minus true volume"),
    "pixel_auc": Metric(_SEG, "fraction", "higher", "positives", "Area under the ROC curve, pixels pooled"),
    "pixel_aupr": Metric(_SEG, "fraction", "higher", "positives", "Average precision, pixels pooled"),
    "lesion_sensitivity": Metric(_DET, "fraction", "higher", "positives", "Share of lesions hit at the threshold"),
    "false_positives_per_image": Metric(
        _DET, "per image", "lower", "patients", "False marks per image at the threshold"
    ),
    "froc_sensitivity": Metric(
        _DET, "fraction", "higher", "positives", "Lesion sensitivity at a false-mark rate", "rate"
    ),
    "cpm": Metric(_DET, "fraction", "higher", "positives", "Mean lesion sensitivity over the FROC rates"),
    "average_precision": Metric(
        _DET, "fraction", "higher", "positives", "Average precision of marks at the matching rule"
    ),
}

LOWEST = {"quadratic_kappa": -1.0}
"""Lowest value of fractions that can fall below 0."""
