"""Tables that other toolkits wrote: what is taken, what is refused, and how that is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medimg.errors import ConfigError, InputError, MedimgError
from medimg.evaluation.foreign.calls import check_thresholds, rows_digest
from medimg.evaluation.foreign.files import read_table
from medimg.evaluation.foreign.predictions import Foreign, people_of, read_foreign
from medimg.evaluation.foreign.settings import AncestrySettings, Columns, ForeignSettings, PeopleSettings
from medimg.evaluation.foreign.times import parse_time, time_of
from medimg.evaluation.protocol import Protocol, declare, freeze

DR = {"metric": "auc", "target": "dr", "primary": True, "floor": 0.8}
ROWS = "case_id,subject_id,truth,score\n001,p1,1,0.9\n002,p1,0,0.2\n003,p2,1,\n"


def protocol(*endpoints: dict[str, Any]) -> Protocol:
    return declare({"endpoints": list(endpoints) or [DR], "replicates": 200})


def read(path: Path, text: str | None = None, thresholds: dict[str, float] | None = None, **settings: Any) -> Foreign:
    if text is not None:
        path.write_text(text)
    return read_foreign(
        path, ForeignSettings(**settings), settings.pop("protocol", None) or protocol(), thresholds or {}
    )


def test_identifiers_keep_their_zeros_and_gaps_stay_gaps(tmp_path: Path) -> None:
    found = read(tmp_path / "p.csv", ROWS, {"dr": 0.5})
    assert list(found.cases["case_id"]) == ["001", "002", "003"]
    assert list(found.cases["target"].unique()) == ["dr"]
    assert (found.kind, found.mode) == ("classification", "binary")
    np.testing.assert_array_equal(found.cases["predicted"], [1, 0, np.nan])
    assert list(found.cases["status"]) == ["ok", "ok", "failed"]
    assert "fewer than 11 rows without a prediction" in " ".join(found.notes)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "semicolon.csv", "parquet"])
def test_every_kind_of_file_gives_the_same_cases(tmp_path: Path, suffix: str) -> None:
    expected = read(tmp_path / "first.csv", ROWS).cases
    path = tmp_path / f"p.{suffix}"
    if suffix == "parquet":
        frame = pd.DataFrame(
            {
                "case_id": ["001", "002", "003"],
                "subject_id": ["p1", "p1", "p2"],
                "truth": [1, 0, 1],
                "score": [0.9, 0.2, None],
            }
        )
        frame.to_parquet(path)
    else:
        path.write_text("\ufeff" + ROWS.replace(",", "\t" if suffix == "tsv" else ";"), encoding="utf-8")
    pd.testing.assert_frame_equal(read(path).cases, expected)


def test_whole_numbers_join_whatever_their_type_was(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pd.DataFrame({"case_id": [1.0, 2.0], "subject_id": [7, 8], "truth": [0, 1], "score": [0.1, 0.2]}).to_parquet(path)
    found = read(path)
    assert list(found.cases["case_id"]) == ["1", "2"]
    (tmp_path / "s.csv").write_text("subject_id,sex\n7,F\n8,M\n")
    assert list(people_of(found, tmp_path / "s.csv", ForeignSettings())["sex_at_birth"]) == ["f", "m"]


def test_wide_tables_have_columns_for_every_target(tmp_path: Path) -> None:
    text = "case_id,subject_id,p_a,p_b,y_a,y_b\n1,p,0.9,0.1,1,\n2,q,0.3,0.8,0,1\n"
    columns = Columns(score={"a": "p_a", "b": "p_b"}, truth={"a": "y_a", "b": "y_b"})
    found = read(tmp_path / "p.csv", text, {"a": 0.5}, columns=columns)
    assert found.targets == ("a", "b")
    assert found.mode == "multilabel"
    assert list(zip(found.cases["target"], found.cases["case_id"])) == [("a", "1"), ("a", "2"), ("b", "2")]
    np.testing.assert_array_equal(found.cases["predicted"], [1, 0, np.nan])
    assert "rows without a truth are left out" in " ".join(found.notes)


def test_one_column_of_class_names_is_the_truth_of_all_scores(tmp_path: Path) -> None:
    text = "case_id,label,p_a,p_b\n1,a,0.9,0.1\n2,b,0.3,0.7\n"
    columns = Columns(score={"a": "p_a", "b": "p_b"}, truth="label")
    found = read(tmp_path / "p.csv", text, columns=columns)
    assert found.mode == "multiclass"
    assert list(found.cases["truth"]) == [1, 0, 0, 1]
    with pytest.raises(InputError, match=r"column label[\s\S]*'c' in 1 rows \(lines 3\)"):
        read(tmp_path / "p.csv", text.replace("2,b", "2,c"), columns=columns)


def test_texts_become_numbers_by_a_list(tmp_path: Path) -> None:
    text = ROWS.replace(",1,", ",ill,").replace(",0,", ",well,")
    found = read(tmp_path / "p.csv", text, truth_values={"ill": 1, "well": 0})
    assert list(found.cases["truth"]) == [1, 0, 1]
    with pytest.raises(InputError, match="one of ill"):
        read(tmp_path / "p.csv", text, truth_values={"ill": 1})


def test_dice_of_another_toolkit(tmp_path: Path) -> None:
    found = read(
        tmp_path / "p.csv",
        "filename,class1,class2\nx.nii,0.9,0.8\ny.nii,0.7,\n",
        columns=Columns(case="filename", dice={"liver": "class1", "spleen": "class2"}),
    )
    assert (found.kind, found.targets) == ("segmentation", ("liver", "spleen"))
    assert "every case counts as one that shows it" in " ".join(found.notes)
    assert list(found.cases.loc[found.cases["status"] == "failed", "target"]) == ["spleen"]


@pytest.mark.parametrize("version", [1, 2])
def test_summary_of_nnunet(tmp_path: Path, version: int) -> None:
    nan = float("nan")
    if version == 2:
        of = lambda dice, n_ref, n_pred: {"Dice": dice, "n_ref": n_ref, "n_pred": n_pred}  # noqa: E731
        cases = [
            {
                "reference_file": f"/ref/{name}.nii.gz",
                "prediction_file": f"/out/{name}.nii.gz",
                "metrics": {"1": metrics},
            }
            for name, metrics in (("a", of(0.9, 10, 11)), ("b", of(nan, 0, 0)), ("c", of(0.0, 5, 0)))
        ]
        document = {"metric_per_case": cases, "mean": {}}
    else:
        of = lambda dice, n_ref, n_pred: {  # noqa: E731
            "Dice": dice,
            "Total Positives Reference": n_ref,
            "Total Positives Test": n_pred,
        }
        document = {
            "results": {
                "all": [
                    {"reference": f"/ref/{name}.nii.gz", "test": f"/out/{name}.nii.gz", "1": metrics}
                    for name, metrics in (("a", of(0.9, 10, 11)), ("b", of(nan, 0, 0)), ("c", of(0.0, 5, 0)))
                ]
            }
        }
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(document))
    found = read(path, labels={"1": "liver"}, columns=Columns()).cases
    assert list(found["target"].unique()) == ["liver"]
    assert list(zip(found["case_id"], found["dice"], found["truth_empty"], found["pred_empty"])) == [
        ("a", 0.9, 0, 0),
        ("b", 1.0, 1, 1),
        ("c", 0.0, 0, 1),
    ]


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        (ROWS.replace("0.9", "0,9"), {}, "as many cells|not as many cells"),
        (ROWS.replace("0.9", '"0,9"'), {}, "decimal points"),
        (ROWS.replace("0.9", "high"), {}, r"p.csv, column score[\s\S]*'high' in 1 rows \(lines 2\)"),
        (ROWS.replace("0.9", "3.2"), {}, "sigmoid"),
        (ROWS.replace(",1,0.9", ",2,0.9"), {}, "0 or 1"),
        (ROWS.replace("002", "001"), {}, "one row per case and target"),
        (ROWS.replace("score", "truth"), {}, "same name"),
        (ROWS.replace("score", "x"), {}, "columns.score=NAME"),
        (ROWS.replace("truth", "x"), {}, "columns.truth=NAME"),
        (ROWS, {"columns": Columns(score="scores")}, "did you mean 'score'"),
        ("case_id,truth,score\n", {}, "no row"),
        (ROWS, {"columns": Columns(status="truth")}, "ok, failed"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_way_out(tmp_path: Path, text: str, settings: Any, says: str) -> None:
    with pytest.raises(MedimgError, match=says) as caught:
        read(tmp_path / "p.csv", text, **settings)
    assert "p.csv" in str(caught.value)
    assert caught.value.fix


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.xlsx").write_bytes(b"PK")
    (tmp_path / "p.csv").write_bytes(b"case_id\n\xff\xfe\n")
    (tmp_path / "p.json").write_text("{}")
    (tmp_path / "p.parquet").write_bytes(b"no")
    for name, says in (
        ("xlsx", "export the table as CSV"),
        ("csv", "UTF-8"),
        ("json", "summary"),
        ("parquet", "no table"),
    ):
        with pytest.raises(InputError, match=says):
            read_table(tmp_path / f"p.{name}")
    with pytest.raises(InputError, match="check the path"):
        read_table(tmp_path / "nowhere.csv")


def test_calls_are_those_of_the_frozen_threshold_or_none(tmp_path: Path) -> None:
    text = "case_id,truth,score,predicted\n1,1,0.9,1\n2,0,0.6,0\n"
    with pytest.raises(InputError, match="1 of 2 calls differ"):
        read(tmp_path / "p.csv", text, {"dr": 0.5})
    assert list(read(tmp_path / "p.csv", text, {"dr": 0.7}).cases["predicted"]) == [1, 0]
    unfrozen = read(tmp_path / "p.csv", text)
    assert unfrozen.cases["predicted"].isna().all()
    assert "no threshold was frozen" in " ".join(unfrozen.notes)
    called = read(tmp_path / "p.csv", text.replace("score", "other"))
    assert list(called.cases["predicted"]) == [1, 0]
    assert "how their threshold was chosen is not known" in " ".join(called.notes)


def people(tmp_path: Path, text: str, **settings: Any) -> pd.DataFrame:
    found = read(tmp_path / "p.csv", ROWS)
    (tmp_path / "s.csv").write_text(text)
    return people_of(found, tmp_path / "s.csv", ForeignSettings(**settings))


def test_ancestry_needs_its_provenance(tmp_path: Path) -> None:
    text = "subject_id,race\np1,Black\np2,\n"
    column = {"column": "race", "scheme": "OMB-1997"}
    with pytest.raises(InputError, match=r"ancestry.provenance=self_report[\s\S]*ancestry.provenance_column=NAME"):
        people(tmp_path, text, ancestry=AncestrySettings(**column))
    found = people(tmp_path, text, ancestry=AncestrySettings(**column, provenance="self-report"))
    assert list(found["ancestry_source"]) == ["self_report", ""]
    assert list(found["ancestry_scheme"]) == ["OMB-1997", ""]
    for provenance in ("inferred", "Inferred"):
        with pytest.raises(InputError, match="not admissible"):
            people(tmp_path, text, ancestry=AncestrySettings(**column, provenance=provenance))
    with pytest.raises(InputError, match="no such provenance"):
        people(tmp_path, text, ancestry=AncestrySettings(**column, provenance="guess"))
    with pytest.raises(ConfigError, match="not both"):
        people(tmp_path, text, ancestry=AncestrySettings(**column, provenance="genetic", provenance_column="race"))
    by_row = "subject_id,race,how\np1,Black,inferred\np2,White,self_report\n"
    with pytest.raises(InputError, match="column how"):
        people(tmp_path, by_row, ancestry=AncestrySettings(column="race", provenance_column="how"))


def test_codes_are_listed_or_refused(tmp_path: Path) -> None:
    text = "subject_id,race,sex\np1,2,1\np2,9,2\n"
    declared = {"column": "race", "provenance": "administrative"}
    with pytest.raises(InputError, match=r"ancestry\.values"):
        people(tmp_path, text, ancestry=AncestrySettings(**declared, values={"2": "A"}))
    with pytest.raises(InputError, match=r"people\.sex_values"):
        people(tmp_path, text, ancestry=AncestrySettings(**declared))
    found = people(
        tmp_path,
        text,
        ancestry=AncestrySettings(**declared, values={"2": "A", "9": "unknown"}),
        people=PeopleSettings(sex_values={"1": "M", "2": "F"}),
    )
    assert list(found["ancestry_group"]) == ["A", "unknown"]
    assert list(found["ancestry_source"]) == ["administrative", ""]


def test_persons_must_be_there_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 2 persons without a row"):
        people(tmp_path, "subject_id\np1\n")
    with pytest.raises(InputError, match=r"one row per person"):
        people(tmp_path, "subject_id\np1\np1\np2\n")
    with pytest.raises(ConfigError, match=r"people\.subject=NAME"):
        people(tmp_path, "who\np1\np2\n")


def test_demographics_beside_the_predictions_must_agree(tmp_path: Path) -> None:
    text = "case_id,subject_id,truth,score,sex\n1,p,1,0.9,F\n2,p,0,0.1,F\n"
    found = read(tmp_path / "p.csv", text)
    assert len(people_of(found, None, ForeignSettings())) == 1
    differing = read(tmp_path / "p.csv", text.replace("0.1,F", "0.1,M"))
    with pytest.raises(InputError, match="sex_at_birth"):
        people_of(differing, None, ForeignSettings())


def test_times_have_zones_and_are_not_younger_than_the_file(tmp_path: Path) -> None:
    found = read(tmp_path / "p.csv", ROWS)
    assert time_of(found.table, None, None) == (found.table.modified, time_of(found.table, None, None)[1])
    assert "modification time" in time_of(found.table, None, None)[1]
    when, known = time_of(found.table, None, "2026-01-02T03:04:05+01:00")
    assert (when, known) == (datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC), "declared in the configuration")
    with pytest.raises(ConfigError, match="needs its zone"):
        parse_time("2026-01-02T03:04:05", "predicted_at")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with pytest.raises(InputError, match="younger than they can be"):
        time_of(found.table, None, later)
    stamped = ROWS.replace("score\n", "score,predicted_at\n").replace("0.9\n", "0.9,2026-02-01T00:00:00Z\n")
    stamped = stamped.replace("0.2\n", "0.2,2026-01-01T00:00:00Z\n").replace("p2,1,\n", "p2,1,,2026-03-01T00:00:00Z\n")
    assert read(tmp_path / "q.csv", stamped).predicted_at == datetime(2026, 1, 1, tzinfo=UTC)


def scores(tmp_path: Path, seed: int, digits: int = 17) -> Foreign:
    rng = np.random.default_rng(seed)
    truth = rng.random(500) < 0.4
    score = np.round(1 / (1 + np.exp(-(rng.normal(size=500) + 2.0 * truth - 1))), digits)
    table = pd.DataFrame({"case_id": np.arange(500), "truth": truth.astype(int), "score": score})
    table.to_csv(tmp_path / f"{seed}.csv", index=False)
    return read(tmp_path / f"{seed}.csv")


@pytest.mark.parametrize("rule", ["youden", "sensitivity", "scikit-learn"])
def test_a_threshold_that_was_fitted_on_the_test_set_is_refused(tmp_path: Path, rule: str) -> None:
    from sklearn.metrics import roc_curve

    from medimg.evaluation.metrics.classification import choose_threshold

    test, other = scores(tmp_path, 1), scores(tmp_path, 2)

    def fitted(foreign: Foreign) -> float:
        truth, score = foreign.cases["truth"].to_numpy() == 1, foreign.cases["score"].to_numpy()
        if rule == "scikit-learn":
            false, true, levels = roc_curve(truth, score)
            return float(levels[np.argmax(true - false)])
        return choose_threshold(truth, score, "youden" if rule == "youden" else "sensitivity")

    with pytest.raises(InputError, match="fitted on the test set"):
        check_thresholds(test.cases, freeze(protocol(), {"dr": fitted(test)}, package_digest=""), test.table)
    assert not check_thresholds(test.cases, freeze(protocol(), {"dr": fitted(other)}, package_digest=""), test.table)
    assert not check_thresholds(test.cases, freeze(protocol(), {"dr": 0.5}, package_digest=""), test.table)


def test_a_short_threshold_that_happens_to_be_the_best_is_told(tmp_path: Path) -> None:
    from medimg.evaluation.metrics.classification import choose_threshold

    test = scores(tmp_path, 1, digits=2)
    best = choose_threshold(test.cases["truth"].to_numpy() == 1, test.cases["score"].to_numpy(), "youden")
    (told,) = check_thresholds(test.cases, freeze(protocol(), {"dr": best}, package_digest=""), test.table)
    assert "exactly the best one" in told


def test_the_tuning_table_is_no_test_table(tmp_path: Path) -> None:
    tuning, test = scores(tmp_path, 1), scores(tmp_path, 2)
    frozen = freeze(protocol(), {"dr": 0.5}, package_digest="", tuning_sha256=rows_digest(tuning.cases))
    shuffled = tuning.cases.sample(frac=1, random_state=0)
    with pytest.raises(InputError, match="very table"):
        check_thresholds(shuffled, frozen, tuning.table)
    assert not check_thresholds(test.cases, frozen, test.table)
