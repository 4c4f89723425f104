"""The sentences of a report: its limitations, and what it does not show."""

from __future__ import annotations

from medimg.evaluation.document import CrossCount, TestSet
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN

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


def limitations(test_set: TestSet, protocol: Protocol) -> list[str]:
    """Return the limitations that follow from who was tested and how."""
    found = ["For research use: this is no medical device, and no regulator has reviewed this report."]
    if test_set.n_failed:
        found.append(
            f"{test_set.n_failed} of {test_set.n_cases} cases gave no prediction; they count as the worst outcome "
            "where the metric has one, and the notes say where they are left out."
        )
    if test_set.fraction_unknown > 0:
        found.append(
            f"The ancestry of {test_set.fraction_unknown:.0%} of the patients is unknown or was declined; "
            "they stand in rows of their own and were assigned to no group."
        )
    if "synthetic" in test_set.ancestry_sources:
        found.append("Some or all ancestry groups are synthetic: they stand for no people.")
    if len(test_set.ancestry_sources) > 1:
        found.append(f"Ancestry comes from different sources: {', '.join(sorted(test_set.ancestry_sources))}.")
    if len(test_set.ancestry_schemes) > 1:
        found.append(
            f"Ancestry groups come from different schemes ({', '.join(sorted(test_set.ancestry_schemes))}); groups "
            "of the same name may not mean the same."
        )
    if test_set.n_sites == 1:
        found.append("All cases come from one site.")
    found.append(
        f"Groups below {protocol.min_patients} patients, {protocol.min_positives} patients with a positive or "
        f"{protocol.min_negatives} with a negative (area under the curve: {protocol.min_positives_auc} positives) "
        "get no verdict."
    )
    return found


def does_not_show(cross: CrossCount) -> list[str]:
    """Return what a reader might take from the report although it is not in it."""
    known = [i for i, name in enumerate(cross.ancestries) if name not in (UNKNOWN, DECLINED)]
    shared = [site for j, site in enumerate(cross.sites) if sum(cross.counts[i][j] != 0 for i in known) >= 2]
    found = list(_ALWAYS)
    if len(known) >= 2 and not shared:
        found.insert(
            0, "Any difference between ancestries: no site has two of them, so ancestry and site cannot be told apart."
        )
    return found
