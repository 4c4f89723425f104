"""The command line as a user meets it: help, exit codes, errors that say how to go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medimg.cli import DETAILS, VERBS, main, usage


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medimg", *words], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_every_verb_has_a_pipeline_and_details() -> None:
    folder = Path(__file__).parents[1] / "medimg" / "pipelines"
    assert set(VERBS) == set(DETAILS)
    for verb in VERBS:
        assert (folder / f"{verb}.py").is_file(), verb
        assert f"medimg {verb}" in DETAILS[verb]


def test_help_lists_verbs_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert main(["--help"]) == 0
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert "4 the gate refused" in text
    assert "resume=RUN_FOLDER" in text
    assert "not a cleared medical device" in usage()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from medimg.cli import main; main(['--help']); main(['train', '--help']);"
        "heavy = {'torch', 'numpy', 'hydra', 'pandas', 'monai', 'pydicom'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_version() -> None:
    assert run("--version").stdout.startswith("medimg ")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["trian"], 2, "did you mean 'train'?"),
        (["train", "trainer.stepz=3"], 2, "did you mean 'steps'?"),
        (["train", "experiment=mri_hipocampus"], 2, "did you mean 'mri_hippocampus'?"),
        (["train", "experiment=mri_hippocampus"], 2, "data.root"),
        (["train", "experiment=mri_hippocampus", "data.root=nowhere"], 3, "the data folder is missing"),
        (["train", "experiment=mri_hippocampus", "data.root=x", "trainer.steps=many"], 2, "many"),
        (["train", "experiment=mri_hippocampus", "data.root=x", "trainer.steps=-5"], 2, "at least 1"),
        (["predict", "package=nowhere.medimg", "input=x", "output=y"], 3, "nowhere.medimg"),
        (["predict", "input=x", "output=y"], 2, "package"),
        (["train", "resume=nowhere"], 3, "no run"),
        (["export", "run=nowhere", "output=out"], 3, "no candidate"),
    ],
)
def test_mistakes_have_their_exit_code_and_name_the_fix(words: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 12
