"""The whole way through the command line: what a run leaves, what the gate does, what a user can do with a package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from medimg.evaluation.document import read_report
from medimg.inference.predictor import load
from medimg.io.mask import read_mask
from medimg.packaging.package import ModelPackage

from .conftest import Trained, medimg, words


def test_a_run_leaves_everything_that_made_the_package(trained: Trained) -> None:
    for name in (
        "config.yaml",
        "split.csv",
        "findings.json",
        "plan.yaml",
        "metrics.csv",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        "protocol.json",
        "tables/cases.parquet",
        "tables/pixels.parquet",
        "tables/subjects.parquet",
        "report/report.json",
        "report/report.html",
        "outcome.json",
    ):
        assert (trained.run / name).is_file(), name
    plan = yaml.safe_load((trained.run / "plan.yaml").read_text())
    assert plan["reasons"]["batch_size"]
    assert plan["forecast"]["seconds_per_step"] > 0
    assert not list(trained.run.rglob("*.part"))


def test_the_report_is_bound_to_the_package_and_covers_both_ancestries(trained: Trained) -> None:
    report = read_report(trained.run / "report" / "report.json")
    package = ModelPackage.open(trained.run / "discs.medimg")
    assert (
        report.model.package_digest
        == package.digest
        == ModelPackage.open(trained.run / "discs.candidate.medimg").digest
    )
    parity = package.manifest.parity
    assert parity is not None
    assert parity.answers == 4
    assert parity.labels_differing is not None
    assert report.status == "validated_with_limitations"
    rows = {row.value: row for row in report.groups if row.axis == "ancestry"}
    assert {"A", "B", "unknown", "declined"} <= set(rows)
    assert rows["A"].n_patients >= 30
    dice = next(result for result in rows["A"].results if result.endpoint == "dice_mean:disc")
    assert dice.floor_verdict == "MEETS"
    assert dice.low < dice.estimate < dice.high
    assert report.protocol.frozen_at < report.created


def test_tables_hold_each_held_out_person_once(trained: Trained) -> None:
    split = pd.read_csv(trained.run / "split.csv")
    cases = pd.read_parquet(trained.run / "tables" / "cases.parquet")
    assert sorted(cases["case_id"]) == sorted(split.loc[split["split"] == "held_out", "case_id"])
    assert (split.groupby("subject_id")["split"].nunique() == 1).all()


def test_prediction_lies_on_the_picture_and_needs_no_torch(trained: Trained, tmp_path: Path) -> None:
    package = trained.run / "discs.medimg"
    picture = trained.data / "images" / "p000.png"
    code = (
        "import sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'monai'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        f"import medimg\nanswer = medimg.load({str(package)!r}).predict({str(picture)!r})\n"
        "print(answer.labels.shape, int(answer.labels.sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(32, 32)")
    out = medimg("predict", f"package={package}", f"input={picture}", f"output={tmp_path / 'out'}", "json=true")
    assert out.returncode == 0, out.stderr
    answer = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert ModelPackage.open(package).digest in json.dumps(answer)
    truth = read_mask(trained.data / "masks" / "p000.png").array > 0
    found = load(package).predict(picture).labels > 0
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.8


def test_a_changed_byte_is_named(trained: Trained, tmp_path: Path) -> None:
    broken = tmp_path / "discs.medimg"
    shutil.copytree(trained.run / "discs.medimg", broken)
    content = bytearray((broken / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (broken / "model.onnx").write_bytes(bytes(content))
    picture = trained.data / "images" / "p000.png"
    done = medimg("predict", f"package={broken}", f"input={picture}", f"output={tmp_path / 'out'}")
    assert done.returncode == 3
    assert "model.onnx" in done.stderr
    assert not (tmp_path / "out").exists()


def test_export_seals_again_elsewhere(trained: Trained, tmp_path: Path) -> None:
    done = medimg("export", f"run={trained.run}", f"output={tmp_path}", "json=true")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sealed"]
    assert ModelPackage.open(tmp_path / "discs.medimg").manifest.status == "sealed"


def test_the_gate_refuses_and_the_candidate_is_marked(trained: Trained, tmp_path: Path) -> None:
    """All ancestry unknown: the very same model may not be sealed."""
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    people = pd.read_csv(data / "subjects.csv").drop(columns=["ancestry_group", "ancestry_scheme", "ancestry_source"])
    people.to_csv(data / "subjects.csv", index=False)
    done = medimg("train", *words(data, tmp_path / "runs", "trainer.steps=20", "json=true"))
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert not outcome["sealed"]
    run = outcome["run"]
    refused = medimg("export", f"run={run}", f"output={tmp_path / 'out'}")
    assert refused.returncode == 4
    assert "ancestry" in refused.stderr
    assert not list((tmp_path / "out").glob("*"))
    allowed = medimg("export", f"run={run}", f"output={tmp_path / 'out'}", "--candidate")
    assert allowed.returncode == 0, allowed.stderr
    candidate = tmp_path / "out" / "discs.candidate.medimg"
    assert "NOT VALIDATED" in (candidate / "MODEL_CARD.md").read_text()
    answer = load(candidate).predict(data / "images" / "p000.png")
    assert any("VALIDATED" in finding.code or "validated" in finding.message.lower() for finding in answer.findings)


def test_evaluate_on_other_scans_and_render_again(trained: Trained, tmp_path: Path) -> None:
    more = (f"package={trained.run / 'discs.medimg'}", f"output={tmp_path / 'evaluated'}", "json=true")
    done = medimg("evaluate", *words(trained.data, tmp_path / "runs"), *more)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["cases"] == 160
    again = medimg("report", f"run={tmp_path / 'evaluated'}", f"output={tmp_path / 'page'}")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "page" / "report.html").is_file()


def test_one_corrupt_scan_is_listed_and_the_rest_goes_on(trained: Trained, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    (data / "images" / "p007.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    index = medimg("index", *words(data, tmp_path / "runs"), f"output={tmp_path / 'cohort'}", "json=true")
    assert index.returncode == 0, index.stderr
    answer = json.loads(index.stdout)
    assert answer["images"] == 159
    assert [f["file"] for f in answer["findings"] if f["code"] == "UNREADABLE_IMAGE"] == ["images/p007.png"]
    check = medimg("check", *words(data, tmp_path / "runs"))
    assert check.returncode == 3
    assert "UNREADABLE_IMAGE" in check.stderr


def test_a_mask_of_another_shape_is_an_error_with_its_fix(trained: Trained, tmp_path: Path) -> None:
    from medimg.io.write import write_picture

    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    write_picture(np.zeros((16, 16), np.uint8), data / "masks" / "p003.png")
    check = medimg("check", *words(data, tmp_path / "runs"), f"output={tmp_path / 'check.json'}")
    assert check.returncode == 3
    found = json.loads((tmp_path / "check.json").read_text())["findings"]
    (finding,) = [f for f in found if f["code"] == "UNUSABLE_CASE"]
    assert "16 × 16" in finding["message"]
    assert "scale the mask" in finding["message"]
