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
        ``fraction``, ``mm`` (or ``px`` for pictures), ``ml`` (or ``px``), ``per image``, ``per case``, ``log odds``,
        or empty for a plain number.
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
    "partial_auc": Metric(
        _BINARY, "fraction", "higher", "both", "Area under the ROC curve up to a false positive rate", "level"
    ),
    "auprc": Metric(_BINARY, "fraction", "higher", "both", "Average precision (area under precision-recall)"),
    "underdiagnosis": Metric(_BINARY, "fraction", "lower", "positives", "Share of the diseased who are called healthy"),
    "ppv_at_prevalence": Metric(
        _BINARY, "fraction", "higher", "both", "Positive predictive value at the declared prevalence"
    ),
    "npv_at_prevalence": Metric(
        _BINARY, "fraction", "higher", "both", "Negative predictive value at the declared prevalence"
    ),
    "prevalence": Metric(_BINARY, "fraction", "none", "patients", "Share of positive cases in the test set"),
    "calibration_intercept": Metric(
        _BINARY, "log odds", "none", "both", "Calibration intercept: 0 is right, above 0 scores are too low"
    ),
    "calibration_slope": Metric(
        _BINARY, "", "none", "both", "Calibration slope: 1 is right, below 1 scores are too extreme"
    ),
    "brier": Metric(_BINARY, "fraction", "lower", "patients", "Brier score: mean squared distance of score and truth"),
    "brier_reliability": Metric(
        _BINARY, "fraction", "lower", "patients", "Brier score, reliability: what miscalibration costs"
    ),
    "brier_resolution": Metric(
        _BINARY, "fraction", "higher", "patients", "Brier score, resolution: what telling cases apart gains"
    ),
    "brier_uncertainty": Metric(
        _BINARY,
        "fraction",
        "none",
        "patients",
        "Brier score, uncertainty: of always saying the share of positives",
    ),
    "ece": Metric(_BINARY, "fraction", "lower", "patients", "Expected calibration error, corrected for chance"),
    "net_benefit": Metric(_BINARY, "per case", "higher", "both", "Net benefit at a threshold probability", "level"),
    "accuracy": Metric(_CLS, "fraction", "higher", "patients", "Share of cases with the right class or grade"),
    "quadratic_kappa": Metric(_CLS, "fraction", "higher", "patients", "Quadratic weighted kappa of grades"),
    "grade_recall": Metric(_CLS, "fraction", "higher", "positives", "Share of one grade that was recognised", "grade"),
    "grade_sensitivity": Metric(
        _CLS, "fraction", "higher", "positives", "Share of cases of a grade or above that are graded so", "grade"
    ),
    "grade_specificity": Metric(
        _CLS, "fraction", "higher", "negatives", "Share of cases below a grade that are graded so", "grade"
    ),
    "dice_mean": Metric(_SEG, "fraction", "higher", "patients", "Mean Dice over cases"),
    "dice_median": Metric(_SEG, "fraction", "higher", "patients", "Median Dice over cases"),
    "dice_below": Metric(_SEG, "fraction", "lower", "patients", "Share of cases with Dice below a level", "level"),
    "nsd_mean": Metric(_SEG, "fraction", "higher", "patients", "Mean normalised surface Dice at the tolerance"),
    "nsd_median": Metric(_SEG, "fraction", "higher", "patients", "Median normalised surface Dice at the tolerance"),
    "hd95_mean": Metric(_SEG, "mm", "lower", "patients", "Mean 95th percentile of surface distances"),
    "hd95_median": Metric(_SEG, "mm", "lower", "patients", "Median 95th percentile of surface distances"),
    "missed": Metric(_SEG, "fraction", "lower", "positives", "Share of structures present that were left empty"),
    "volume_bias": Metric(_SEG, "ml", "none", "patients", "Mean of predicted minus true volume"),
    "volume_limit_low": Metric(_SEG, "ml", "none", "patients", "Lower limit of agreement of the volume"),
    "volume_limit_high": Metric(_SEG, "ml", "none", "patients", "Upper limit of agreement of the volume"),
    "pixel_auc": Metric(_SEG, "fraction", "higher", "positives", "Area under the ROC curve, pixels pooled"),
    "pixel_aupr": Metric(_SEG, "fraction", "higher", "positives", "Average precision, pixels pooled"),
    "lesion_sensitivity": Metric(_DET, "fraction", "higher", "positives", "Share of lesions hit at the threshold"),
    "lesion_sensitivity_of_size": Metric(
        _DET, "fraction", "higher", "positives", "Share of lesions of a size hit at the threshold", "level"
    ),
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
