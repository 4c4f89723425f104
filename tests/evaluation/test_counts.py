"""Counts of true and false calls: the same numbers as from rows, and what counts cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medimg.errors import ConfigError, InputError, MedimgError
from medimg.evaluation.build import assemble, build_report
from medimg.evaluation.canonical import canonical_json
from medimg.evaluation.document import ModelInfo, Report, TaskInfo
from medimg.evaluation.foreign.counts import Counted, CountEvidence, _share_out
from medimg.evaluation.foreign.counts_table import read_counts
from medimg.evaluation.foreign.files import read_table
from medimg.evaluation.foreign.settings import AncestrySettings, ForeignSettings
from medimg.evaluation.protocol import FrozenProtocol, declare, freeze

from .conftest import WHEN

ENDPOINTS = [
    {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.7, "gap_margin": 0.15},
    {"metric": "specificity", "target": "dr", "primary": True, "floor": 0.7},
    {"metric": "accuracy", "target": "dr"},
]
STATED = ForeignSettings(ancestry=AncestrySettings(provenance="self_report", scheme="made-up"))
MODEL = ModelInfo(name="made-up", package_digest="", weights_sha256="", predictions_sha256="c" * 64)
TASK = TaskInfo(kind="classification", mode="binary", labels=["dr"])
COUNTS = """axis,value,tp,fp,fn,tn
overall,,160,40,40,260
ancestry,A,90,15,10,140
ancestry,B,70,25,30,120
sex,f,80,20,15,130
sex,M,80,20,25,130
"""


def frozen(**more: Any) -> FrozenProtocol:
    return freeze(declare({"endpoints": ENDPOINTS, "replicates": 200, **more}), {"dr": 0.5}, package_digest="", at=WHEN)


def report_on(path: Path, text: str, settings: ForeignSettings = STATED, **more: Any) -> Report:
    path.write_text(text)
    protocol = frozen(**more)
    counts = read_counts(read_table(path), settings, protocol.declared)
    evidence = CountEvidence(counts, protocol.declared)
    return assemble(evidence, protocol=protocol, model=MODEL, task=TASK, created=WHEN, source="counts")


def people_and_cases(rng: np.random.Generator, n: int = 800) -> tuple[pd.DataFrame, pd.DataFrame]:
    truth = rng.random(n) < 0.4
    called = np.where(truth, rng.random(n) < 0.85, rng.random(n) < 0.15)
    cases = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(n)],
            "subject_id": [f"s{i}" for i in range(n)],
            "site_id": rng.choice(["north", "south"], n),
            "target": "dr",
            "task": "classification",
            "truth": truth.astype(int),
            "predicted": called.astype(int),
        }
    )
    subjects = pd.DataFrame(
        {
            "subject_id": cases["subject_id"],
            "ancestry_group": rng.choice(["AFR", "EAS", "EUR", "UNK"], n),
            "ancestry_source": "self_report",
            "ancestry_scheme": "made-up",
            "sex_at_birth": rng.choice(["F", "M"], n),
        }
    )
    return cases, subjects


def test_counts_give_what_their_rows_give(tmp_path: Path) -> None:
    cases, subjects = people_and_cases(np.random.default_rng(4))
    protocol = frozen(axes=["ancestry", "sex", "site"], crossed=[])
    rows = build_report(cases, subjects, protocol=protocol, model=MODEL, task=TASK, created=WHEN, source="predictions")
    table = cases.merge(subjects).assign(overall="all")
    lines = ["axis,value,tp,fp,fn,tn"]
    for axis, column in {"ancestry": "ancestry_group", "sex": "sex_at_birth", "site": "site_id"}.items():
        for value, mine in table.groupby(column):
            cells = [
                ((mine["truth"] == t) & (mine["predicted"] == p)).sum() for t, p in ((1, 1), (0, 1), (1, 0), (0, 0))
            ]
            lines.append(f"{axis},{value},{','.join(map(str, cells))}")
    counted = report_on(tmp_path / "c.csv", "\n".join(lines), axes=["ancestry", "sex", "site"], crossed=[])
    assert [(row.axis, row.value) for row in counted.groups] == [(row.axis, row.value) for row in rows.groups]
    for one, other in zip(counted.groups, rows.groups):
        assert canonical_json(one.model_dump()) == canonical_json(other.model_dump()), (one.axis, one.value)
    assert counted.status == rows.status
    assert counted.spreads == rows.spreads
    assert counted.test_set.ancestry_sources == rows.test_set.ancestry_sources
    assert counted.test_set.fraction_unknown == rows.test_set.fraction_unknown
    assert counted.source == "counts"


def test_ancestry_rows_are_always_there_and_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(COUNTS)
    counts = read_counts(read_table(tmp_path / "c.csv"), STATED, frozen().declared)
    assert "The counts have no row of ancestry unknown and declined: taken for nobody." in counts.notes
    assert "every count is taken for a patient of its own" in " ".join(counts.notes)
    report = report_on(tmp_path / "c.csv", COUNTS)
    assert [row.value for row in report.groups if row.axis == "ancestry"] == ["A", "B", "unknown", "declined"]
    nobody = report.row("ancestry", "declined")
    assert nobody is not None
    assert nobody.n_cases == 0
    assert nobody.results[0].estimate is None
    assert nobody.results[0].reason
    assert report.ancestry_by_site.sites == []
    assert "Nobody was counted by ancestry and site together" in report.what_this_does_not_show[0]
    assert report.intersections == []


def test_without_ancestry_nothing_is_validated_for_any(tmp_path: Path) -> None:
    report = report_on(tmp_path / "c.csv", "axis,value,tp,fp,fn,tn\noverall,all,160,40,40,260\n", ForeignSettings())
    assert report.status == "ancestry_not_evaluated"
    assert report.test_set.fraction_unknown == 1


def test_groups_add_up_or_are_refused_with_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        report_on(tmp_path / "c.csv", COUNTS.replace("sex,f,80", "sex,f,79"))
    message = str(caught.value)
    assert "axis sex, target dr" in message
    assert "tp 159, fp 40, fn 40, tn 260" in message
    assert "tp 160, fp 40, fn 40, tn 260" in message


def test_patients_with_several_cases_widen_the_intervals(tmp_path: Path) -> None:
    lines = COUNTS.strip().splitlines()
    some = [f"{line},{n}" for line, n in zip(lines, ["n_patients", 250, 128, 122, 123, 127])]
    every = report_on(tmp_path / "c.csv", COUNTS).groups[0]
    fewer = report_on(tmp_path / "d.csv", "\n".join(some)).groups[0]
    assert (every.n_patients, fewer.n_patients, fewer.n_cases) == (500, 250, 500)
    for one, other in zip(every.results[:2], fewer.results[:2]):
        assert one.estimate == other.estimate
        # As wide as half as many cases give.
        assert (other.high - other.low) == pytest.approx(np.sqrt(2) * (one.high - one.low), rel=0.05)


@pytest.mark.parametrize(
    ("cells", "patients"), [([5, 1, 1, 93], 20), ([1, 1, 1, 1], 1), ([0, 3, 0, 9], 5), ([7, 0, 0, 0], 3)]
)
def test_patients_are_shared_out_over_the_cells(cells: list[int], patients: int) -> None:
    shares = _share_out(Counted(np.array(cells), patients))
    filled = int(np.count_nonzero(cells))
    assert shares.sum() == max(patients, filled)
    assert ((shares > 0) == (np.array(cells) > 0)).all()
    assert (shares <= cells).all()


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        (COUNTS, ForeignSettings(), r"ancestry\.provenance=self_report"),
        (COUNTS, ForeignSettings(ancestry=AncestrySettings(provenance="inferred")), "not admissible"),
        (COUNTS.replace("axis,value", "axis,group"), STATED, r"columns\.value=NAME"),
        (
            COUNTS.replace("ancestry,B,70", "ancestry,B,<11"),
            STATED,
            r"'<11' in 1 rows \(lines 4\)[\s\S]*suppresses small",
        ),
        (COUNTS.replace("sex,f", "gender,f"), STATED, "overall, ancestry"),
        (COUNTS.replace("sex,f", "sex,M"), STATED, "one row per axis"),
    ],
)
def test_what_cannot_be_counted_is_named(tmp_path: Path, text: str, settings: ForeignSettings, says: str) -> None:
    with pytest.raises(MedimgError, match=says) as caught:
        report_on(tmp_path / "c.csv", text, settings)
    assert caught.value.fix


def test_an_endpoint_of_scores_is_refused(tmp_path: Path) -> None:
    auc = [{"metric": "auc", "target": "dr", "primary": True, "floor": 0.8}]
    with pytest.raises(ConfigError, match="more than counts"):
        report_on(tmp_path / "c.csv", COUNTS, endpoints=auc)


def test_several_targets_have_their_own_counts(tmp_path: Path) -> None:
    lines = COUNTS.strip().splitlines()
    text = "\n".join([f"target,{lines[0]}", *(f"dr,{line}" for line in lines[1:]), "dme,overall,,50,10,10,130"])
    text += "\ndme,ancestry,A,20,5,5,70\ndme,ancestry,unknown,30,5,5,60\ndme,sex,,50,10,10,130"
    dme = {"metric": "sensitivity", "target": "dme"}
    report = report_on(tmp_path / "c.csv", text, endpoints=[*ENDPOINTS, dme])
    found = {r.endpoint: r for r in report.groups[0].results}
    assert found["sensitivity:dr"].estimate == pytest.approx(160 / 200)
    assert found["sensitivity:dme"].estimate == pytest.approx(50 / 60)
    assert [row.value for row in report.groups if row.axis == "sex"] == ["female", "male", "unknown"]
    row = report.row("ancestry", "B")
    assert row is not None
    assert next(r for r in row.results if r.endpoint == "sensitivity:dme").estimate is None
    with pytest.raises(InputError, match="axis sex, target dme"):
        report_on(tmp_path / "c.csv", text.replace("\ndme,sex,,50,10,10,130", ""), endpoints=[*ENDPOINTS, dme])
