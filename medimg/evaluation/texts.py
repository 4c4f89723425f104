"""The sentences of a report: its limitations, and what it does not show."""

from __future__ import annotations

from medimg.evaluation.document import TestSet
from medimg.evaluation.document_parts import Separability
from medimg.evaluation.protocol import Protocol

_ALWAYS = (
    "Whether a difference between groups comes from ancestry, or from the site, scanner, severity or age that go "
    "with it in this test set.",
    "That groups are equal: an interval that includes zero is compatible with differences up to its ends.",
    "How well the reference standard itself holds in each group: labels that are worse for one group hide in the "
    "metrics.",
    "How the model performs at other sites, on other scanners, at another prevalence, or after a change of practice.",
    "The variation between repeated trainings: all intervals show the sampling of the test set alone.",
    "Any benefit to patients: no clinical decision was observed.",
)


def limitations(test_set: TestSet, sites: Separability, protocol: Protocol) -> list[str]:
    """Return the limitations that follow from who was tested and how."""
    found = ["For research use: this is no medical device, and no regulator has reviewed this report."]
    if test_set.n_failed:
        found.append(
            f"{test_set.n_failed} of {test_set.n_cases} cases gave no prediction; they count as the worst outcome "
            "where the metric has one, and the notes say where they are left out."
        )
    if test_set.fraction_unknown is None:
        found.append(
            "The ancestry of some patients is unknown or was declined: so few, or so few in some other group, that the "
            "number is held back. They stand in rows of their own and were assigned to no group."
        )
    elif test_set.fraction_unknown > 0:
        found.append(
            f"The ancestry of {test_set.fraction_unknown:.0%} of the patients is unknown or was declined; "
            "they stand in rows of their own and were assigned to no group."
        )
    if "synthetic" in test_set.ancestry_sources:
        found.append("Some or all ancestry groups are synthetic: they stand for no people.")
    if len(test_set.ancestry_sources) > 1:
        found.append(f"Ancestry comes from different sources: {', '.join(sorted(test_set.ancestry_sources))}.")
    if len({tuple(sources) for sources in test_set.provenance.values()}) > 1:
        groups = "; ".join(f"{name}: {', '.join(sources)}" for name, sources in test_set.provenance.items())
        found.append(
            f"Ancestries are not known in the same way ({groups}); a gap between two of them may be one between ways "
            "of knowing."
        )
    if len(test_set.ancestry_schemes) > 1:
        found.append(
            f"Ancestry groups come from different schemes ({', '.join(sorted(test_set.ancestry_schemes))}); groups "
            "of the same name may not mean the same."
        )
    if test_set.n_sites == 1:
        found.append("All cases come from one site.")
    if not sites.separable:
        found.append(sites.text)
    found.append(
        f"Groups below {protocol.min_patients} patients, {protocol.min_positives} patients with a positive or "
        f"{protocol.min_negatives} with a negative (area under the curve: {protocol.min_positives_auc} positives) "
        "get no verdict."
    )
    return found


def does_not_show(sites: Separability) -> list[str]:
    """Return what a reader might take from the report although it is not in it."""
    found = list(_ALWAYS)
    if not sites.separable:
        found.insert(0, f"Any difference between ancestries that is one of ancestry alone. {sites.text}")
    return found
