"""``medimg report`` on predictions and counts of other toolkits, with the protocol first."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medimg.cli import main
from medimg.evaluation.document import read_report
from medimg.evaluation.foreign.predictions import people_of, read_foreign
from medimg.evaluation.protocol import FrozenProtocol
from medimg.packaging.gate import decide
from medimg.pipelines.report_config import report_config
from medimg.pipelines.report_protocol import read_protocol

DOCS = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
GROUPS = ["Asian", "Black", "White", ""]


def blocks(kind: str) -> list[str]:
    """Return the code blocks of the documentation of one kind, from the section on other toolkits on."""
    return re.findall(rf"```{kind}\n(.*?)```", DOCS[DOCS.index("## Reports on other toolkits'") :], re.DOTALL)


def run(words: str) -> int:
    return main(shlex.split(words)[1:])


def sleep_past(folder: Path) -> None:
    """Write the predictions a moment after the protocol, whatever the clock's grain."""
    time.sleep(0.01)
    for name in ("predictions.csv", "counts.csv"):
        if (folder / name).exists():
            os.utime(folder / name)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with predictions of a scikit-learn classifier, the people, and the settings of the documentation."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(8)
    n = 2400
    people = np.arange(n) // 2
    truth = rng.random(n) < 0.45
    features = rng.normal(size=(n, 3)) + 1.3 * truth[:, None] * np.array([1.0, 0.6, 0.2])
    model = LogisticRegression().fit(features[:600], truth[:600])
    table = pd.DataFrame(
        {
            "image": [f"{i:04d}" for i in range(n)],
            "patient": [f"p{i}" for i in people],
            "hospital": np.where(people % 3, "north", "south"),
            "camera": np.where(people % 2, "Cam-1", "Cam-2"),
            "label": np.where(truth, "referable", "healthy"),
            "p_referable": model.predict_proba(features)[:, 1],
        }
    )
    table[600:1200].to_csv("tuning.csv", index=False)
    table[1200:].to_csv("predictions.csv", index=False)
    ids = sorted(set(table["patient"]))
    pd.DataFrame(
        {
            "patient": ids,
            "gender": rng.integers(1, 3, len(ids)),
            "age": rng.integers(20, 90, len(ids)),
            "race": rng.choice(GROUPS, len(ids), p=[0.3, 0.3, 0.3, 0.1]),
        }
    ).to_csv("people.csv", index=False)
    (tmp_path / "retina.yaml").write_text(blocks("yaml")[0])
    return tmp_path


EXAMPLE, REPORT = blocks("bash")[0].strip(), blocks("bash")[1].strip()
FREEZE = f"{EXAMPLE} evaluation.replicates=200 evaluation.panel=declared evaluation.axes=[sex] evaluation.crossed=[]"


def test_the_example_of_the_documentation(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = blocks("csv")[0].splitlines()[0]
    assert (study / "predictions.csv").read_text().splitlines()[0] == header
    assert run(EXAMPLE) == 0
    digest = capsys.readouterr().out.strip()
    sleep_past(study)
    assert run(REPORT) == 0
    assert sorted(path.name for path in (study / "report").iterdir()) == ["records.csv", "report.html", "report.json"]
    report = read_report(study / "report" / "report.json")
    assert report.protocol.sha256 == digest == read_protocol("protocol.json").sha256
    assert report.protocol.thresholds_from == "tuning"
    assert report.source == "predictions"
    assert report.model.package_digest == ""
    assert len(report.model.predictions_sha256) == 64
    test = pd.read_csv("predictions.csv")
    auc = next(r for r in report.groups[0].results if r.endpoint == "auc:referable")
    assert auc.estimate == pytest.approx(roc_auc_score(test["label"] == "referable", test["p_referable"]), abs=1e-9)
    assert {row.value for row in report.groups if row.axis == "ancestry"} == {
        *("Asian", "Black", "White"),
        *("unknown", "declined"),
    }
    assert {row.value for row in report.groups if row.axis == "sex"} == {"female", "male"}
    assert report.test_set.n_patients == 600
    assert set(report.test_set.ancestry_schemes) == {"OMB-1997"}
    assert "modification time" in report.settings["predictions"]
    assert "seal nothing" in " ".join(report.limitations)
    refused = decide(report, package_digest="d" * 64, weights_sha256="w" * 64)
    assert not refused.passed
    assert "another package" in refused.reasons[0]


def test_the_counts_of_the_documentation(study: Path) -> None:
    (study / "counts.csv").write_text(blocks("csv")[2])
    first, second = blocks("bash")[2].strip().splitlines()
    assert run(first) == 0
    sleep_past(study)
    assert run(second) == 0
    report = read_report(study / "counts_report" / "report.json")
    assert report.source == "counts"
    assert report.groups[0].results[0].estimate == pytest.approx(170 / 200)
    assert not decide(report, package_digest="d" * 64, weights_sha256="w" * 64).passed


def test_the_sites_of_the_documentation(study: Path) -> None:
    assert run(FREEZE) == 0
    table = pd.read_csv("predictions.csv", dtype=str)
    for site, mine in table.groupby("hospital"):
        mine.to_csv(f"{site}.csv", index=False)
    for line in blocks("bash")[3].strip().splitlines():
        assert run(line) == 0
    joint = read_report(study / "joint_report" / "report.json")
    sleep_past(study)
    assert run(REPORT) == 0
    whole = read_report(study / "report" / "report.json")
    assert joint.source == "histograms"
    one, other = (next(r for r in found.groups[0].results if r.endpoint == "auc:referable") for found in (joint, whole))
    assert one.estimate == pytest.approx(other.estimate, abs=1e-5)
    assert joint.groups[0].n_patients == whole.groups[0].n_patients == 600
    assert "counts sent by north, south" in joint.settings["predictions"]


def test_a_site_counts_the_tables_of_an_evaluation(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FREEZE) == 0
    sleep_past(study)
    config = report_config(["settings=retina.yaml", "predictions=predictions.csv", "subjects=people.csv", "output=x"])
    frozen = read_protocol("protocol.json")
    foreign = read_foreign("predictions.csv", config, frozen.declared, frozen.thresholds)
    tables = {"cases": foreign.cases, "subjects": people_of(foreign, "people.csv", config), "lesions": pd.DataFrame()}
    (study / "run" / "tables").mkdir(parents=True)
    for name, table in tables.items():
        table.to_parquet(study / "run" / "tables" / f"{name}.parquet", index=False)
    (study / "run" / "tables" / "failures.csv").write_text("case_id,reason\nlost,no image\n")
    (study / "run" / "protocol.json").write_bytes((study / "protocol.json").read_bytes())
    assert run("medimg report summary run=run sender=here output=here.json") == 0
    assert run("medimg report summaries=[here.json] protocol=protocol.json output=report") == 0
    report = read_report(study / "report" / "report.json")
    assert report.groups[0].n_patients == 600
    assert report.test_set.n_failed == 1
    assert run("medimg report summary run=nowhere protocol=protocol.json sender=here output=here.json") == 3
    assert "no evaluation tables" in capsys.readouterr().err


def test_a_detector_with_its_marks(study: Path) -> None:
    rng = np.random.default_rng(6)
    cases = pd.DataFrame({"case_id": [f"c{i}" for i in range(80)], "n_lesions": rng.integers(0, 3, 80)})
    cases["subject_id"], cases["truth"] = cases["case_id"], (cases["n_lesions"] > 0).astype(int)
    cases["n_hit"], cases["n_false_positives"] = np.minimum(cases["n_lesions"], 1), rng.integers(0, 2, 80)
    marks = [
        {"case_id": case, "target": "nodule", "kind": "detection", "score": rng.random(), "matched": matched}
        for case, hits, false in cases[["case_id", "n_hit", "n_false_positives"]].itertuples(index=False)
        for matched in [*["True"] * hits, *["False"] * false]
    ]
    endpoints = (
        "[{metric: lesion_sensitivity, target: nodule, primary: true, floor: 0.3}, {metric: cpm, target: nodule}]"
    )
    options = "evaluation.replicates=200 evaluation.panel=declared evaluation.axes=[sex]"
    assert main(_words(f"report protocol output=p.json {options} evaluation.endpoints={endpoints}")) == 0
    cases.to_csv("cases.csv", index=False)
    pd.DataFrame(marks).to_csv("marks.csv", index=False)
    assert main(_words("report predictions=cases.csv lesions=marks.csv protocol=p.json output=report")) == 0
    report = read_report(study / "report" / "report.json")
    found = {r.endpoint: r.estimate for r in report.groups[0].results}
    assert found["lesion_sensitivity:nodule"] == pytest.approx(cases["n_hit"].sum() / cases["n_lesions"].sum())
    assert found["cpm:nodule"] is not None
    assert report.task.kind == "detection"


def test_documents_for_regulators_beside_a_report(study: Path) -> None:
    assert run(FREEZE) == 0
    sleep_past(study)
    assert run(f"{REPORT} dossier=true language=zh") == 0
    assert (study / "report" / "dossier" / "evidence.json").is_file()
    assert 'lang="zh' in (study / "report" / "report.html").read_text()


def test_the_same_report_twice_and_from_parquet(study: Path) -> None:
    assert run(FREEZE) == 0
    sleep_past(study)
    numbers = []
    for name in ("predictions.csv", "predictions.parquet"):
        if name.endswith("parquet"):
            pd.read_csv("predictions.csv", dtype={"image": str}).to_parquet(name)
        assert run(REPORT.replace("predictions.csv", name)) == 0
        found = json.loads((study / "report" / "report.json").read_text())
        numbers.append((found["groups"], found["spreads"], found["status"]))
    assert numbers[0] == numbers[1]


def test_a_protocol_is_written_once_and_never_changed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FREEZE) == 0
    assert run(FREEZE) == 3
    assert "written once" in capsys.readouterr().err
    sleep_past(study)
    path = study / "protocol.json"
    path.write_text(path.read_text().replace('"floor": 0.8', '"floor": 0.6'))
    assert run(REPORT) == 3
    assert "changed after it was frozen" in capsys.readouterr().err
    path.write_text("{}")
    assert run(REPORT) == 3
    assert "no frozen protocol" in capsys.readouterr().err


def test_a_protocol_younger_than_the_predictions_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FREEZE) == 0
    yesterday = time.time() - 86400
    os.utime(study / "predictions.csv", (yesterday, yesterday))
    assert run(REPORT) == 3
    said = capsys.readouterr().err
    assert "younger than the predictions" in said
    assert "modification time" in said
    assert "exploratory=true" in said
    # A later time than the file's own cannot be declared.
    assert run(f"{REPORT} predicted_at=2100-01-01T00:00:00Z") == 3
    assert "younger than they can be" in capsys.readouterr().err
    sleep_past(study)
    assert run(f"{REPORT} predicted_at=2020-01-01T00:00:00Z") == 3
    assert "declared in the configuration" in capsys.readouterr().err
    assert not (study / "report").exists()


def test_the_column_of_times_decides(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FREEZE) == 0
    frozen = read_protocol("protocol.json").frozen_at
    table = pd.read_csv("predictions.csv", dtype=str)
    table.assign(at=frozen.isoformat()).to_csv("predictions.csv", index=False)
    assert run(f"{REPORT} columns.at=x") == 2
    assert run(f"{REPORT} columns.predicted_at=at") == 0
    report = read_report(study / "report" / "report.json")
    assert "the earliest time in the table's column" in report.settings["predictions"]
    table.assign(at=["2020-01-01T00:00:00Z", *[frozen.isoformat()] * (len(table) - 1)]).to_csv(
        "predictions.csv", index=False
    )
    capsys.readouterr()
    assert run(f"{REPORT} columns.predicted_at=at") == 3
    assert "younger than the predictions" in capsys.readouterr().err


def test_a_look_at_old_predictions_validates_nothing(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = REPORT.replace(" protocol=protocol.json", "")
    assert run(without) == 2
    assert "frozen before the test set was predicted" in capsys.readouterr().err
    assert run(f"{without} tuning=tuning.csv exploratory=true") == 0
    report = read_report(study / "report" / "report.json")
    assert report.status == "not_validated"
    assert "exploratory" in report.status_reasons[0]
    assert "Exploratory" in " ".join(report.limitations)


def test_thresholds_of_the_test_split_are_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("medimg report protocol settings=retina.yaml thresholds_from=test output=a.json") == 2
    assert "Thresholds may not be chosen" in capsys.readouterr().err
    # Fitted by giving the test table for the tuning table.
    assert run(FREEZE.replace("tuning.csv", "predictions.csv")) == 0
    sleep_past(study)
    assert run(REPORT) == 3
    assert "fitted on this very table" in capsys.readouterr().err
    # Fitted elsewhere, and declared.
    thresholds = read_protocol("protocol.json").thresholds
    assert (
        run(f"medimg report protocol settings=retina.yaml thresholds.referable={thresholds['referable']} output=b.json")
        == 0
    )
    sleep_past(study)
    assert run(REPORT.replace("protocol.json", "b.json")) == 3
    assert "fitted on the test set" in capsys.readouterr().err


def test_without_a_frozen_threshold_there_is_no_sensitivity(study: Path) -> None:
    assert run(FREEZE.replace("tuning=tuning.csv", "")) == 0
    sleep_past(study)
    assert run(REPORT) == 0
    report = read_report(study / "report" / "report.json")
    found = next(r for r in report.groups[0].results if r.endpoint == "sensitivity:referable")
    assert (found.estimate, found.reason) == (None, "no threshold was frozen for this target")
    assert report.status == "not_validated"


def test_what_is_declared_beside_a_frozen_protocol_must_be_the_same(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FREEZE) == 0
    sleep_past(study)
    assert run(f"{REPORT} evaluation.min_patients=5") == 2
    assert "not what was frozen" in capsys.readouterr().err
    assert run(f"{REPORT} thresholds.referable=0.3") == 2
    assert "thresholds, protocol.json" in capsys.readouterr().err


def test_a_protocol_of_a_package_is_not_one_of_a_file(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from medimg.evaluation.protocol import freeze

    assert run(FREEZE) == 0
    other: FrozenProtocol = freeze(
        read_protocol("protocol.json").declared, {"referable": 0.5}, package_digest="d" * 64, thresholds_from="declared"
    )
    (study / "protocol.json").write_text(other.model_dump_json())
    sleep_past(study)
    assert run(REPORT) == 3
    assert "another model package" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("output=x", 2, "medimg report --help"),
        ("summary sender=x output=y.json", 2, "run=FOLDER"),
        ("summary predictions=predictions.csv output=y.json", 2, "sender=NAME"),
        ("summaries=[a.json] output=x", 2, "protocol=FILE.json"),
        ("predictions=p.csv counts=c.csv output=x", 2, "2 of them"),
        ("predictions=nowhere.csv protocol=protocol.json output=x", 3, "nowhere.csv"),
        ("predictions=predictions.csv protocol=nowhere.json output=x", 3, "medimg report protocol"),
        ("settings=nowhere.yaml output=x", 3, "nowhere.yaml"),
        ("settings=bad.yaml output=x", 2, "did you mean 'columns'"),
        ("protocol output=y.json", 2, "evaluation.endpoints"),
        (
            "protocol output=y.json evaluation.endpoints=[{metric: aux, target: a, primary: true, floor: 0.8}]",
            2,
            "'auc'",
        ),
        ("predictions=predictions.csv protocol=protocol.json output=x columns.scroe=x", 2, "did you mean 'score'"),
        (
            "predictions=predictions.csv protocol=protocol.json output=x ancestry.provenance=inferred",
            3,
            "not admissible",
        ),
    ],
)
def test_mistakes_have_their_exit_code_and_name_the_fix(
    study: Path, capsys: pytest.CaptureFixture[str], words: str, code: int, says: str
) -> None:
    (study / "bad.yaml").write_text("colums: {}\n")
    if "protocol=protocol.json" in words:
        assert run(FREEZE) == 0
        sleep_past(study)
        words += " settings=retina.yaml subjects=people.csv"
        if "provenance" not in words:
            words += " json=true"
    capsys.readouterr()
    assert main(["report", *_words(words)]) == code
    said = capsys.readouterr().err
    assert says in said
    assert not (study / "x").exists()


def _words(text: str) -> list[str]:
    """Return the words of a command; blanks inside brackets do not part them."""
    return re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\S)+", text)


def test_a_handful_of_people_is_reported_without_a_number(study: Path) -> None:
    assert run(FREEZE) == 0
    table = pd.read_csv("predictions.csv", dtype=str)
    table[table["patient"].isin(table["patient"].unique()[:5])].to_csv("predictions.csv", index=False)
    assert run(REPORT) == 0
    report = read_report(study / "report" / "report.json")
    assert report.status == "not_validated"
    assert all(result.estimate is None for row in report.groups for result in row.results)


def test_yes_and_no_need_quotes_in_yaml(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "bad.yaml").write_text("truth_values: {no: 0, yes: 1}\n")
    assert main(["report", "settings=bad.yaml", "output=x"]) == 2
    assert "write it in quotes" in capsys.readouterr().err


DICE = "[{metric: dice_mean, target: liver, primary: true, floor: 0.8}, {metric: missed, target: tumour}]"


def test_the_summary_of_nnunet_as_it_is(study: Path) -> None:
    rng = np.random.default_rng(2)
    cases = []
    for number in range(60):
        dice = rng.uniform(0.85, 0.95)
        tumour = (
            {"Dice": float("nan"), "n_ref": 0, "n_pred": 0} if number % 3 else {"Dice": 0.0, "n_ref": 9, "n_pred": 0}
        )
        metrics = {"1": {"Dice": dice, "n_ref": 50, "n_pred": 55}, "2": tumour}
        cases.append({"reference_file": f"ref/case_{number}.nii.gz", "prediction_file": "x", "metrics": metrics})
    words = f"report protocol output=p.json evaluation.replicates=200 evaluation.endpoints={DICE}"
    assert main(_words(words)) == 0
    (study / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
    words = "report predictions=summary.json labels={1: liver, 2: tumour} protocol=p.json output=report"
    assert main(_words(words)) == 0
    report = read_report(study / "report" / "report.json")
    found = {r.endpoint: r for r in report.groups[0].results}
    assert found["dice_mean:liver"].estimate == pytest.approx(
        np.mean([case["metrics"]["1"]["Dice"] for case in cases]), abs=1e-9
    )
    assert (found["missed:tumour"].estimate, found["missed:tumour"].n_cases) == (1, 20)
    assert report.task.kind == "segmentation"
    assert report.status == "ancestry_not_evaluated"


def test_columns_for_every_target_behind_the_verb(study: Path) -> None:
    endpoints = "[{metric: auc, target: a, primary: true, floor: 0.6}, {metric: sensitivity, target: b}]"
    options = "evaluation.replicates=200 evaluation.panel=declared evaluation.axes=[sex] thresholds={b: 0.3}"
    assert main(_words(f"report protocol output=p.json {options} evaluation.endpoints={endpoints}")) == 0
    table = pd.read_csv("predictions.csv", dtype=str)
    truth, score = (table["label"] == "referable").astype(int), table["p_referable"].astype(float)
    wide = pd.DataFrame({"case_id": table["image"], "y_a": truth, "y_b": 1 - truth, "p_a": score, "p_b": 1 - score})
    wide.to_csv("wide.csv", index=False)
    words = ["columns.score={a:p_a,b:p_b}", "columns.truth.a=y_a", "columns.truth.b=y_b"]
    assert main(["report", "predictions=wide.csv", "protocol=p.json", "output=report", *words]) == 0
    report = read_report(study / "report" / "report.json")
    found = {r.endpoint: r.estimate for r in report.groups[0].results}
    assert found["sensitivity:b"] == pytest.approx(np.mean(1 - score[truth == 0] >= 0.3))
    assert report.task.mode == "multilabel"


def test_no_output_holds_a_formula(study: Path) -> None:
    people = pd.read_csv("people.csv", dtype=str, keep_default_na=False)
    people["race"] = people["race"].replace({"Asian": '=HYPERLINK("http://x")', "Black": "@SUM(A1)"})
    people.to_csv("people.csv", index=False)
    assert run(FREEZE) == 0
    sleep_past(study)
    assert run(REPORT) == 0
    cells = pd.read_csv(study / "report" / "records.csv", dtype=str, keep_default_na=False)
    assert {'\'=HYPERLINK("http://x")', "'@SUM(A1)"} <= set(cells["group"])
    assert not any(str(cell).startswith(("=", "@", "\t")) for cell in cells.to_numpy().ravel())
