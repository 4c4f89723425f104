from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys

import pytest

from medimg.errors import GateRefused, InputError
from medimg.packaging.manifest import PackageManifest, Parity, Postprocessing
from medimg.packaging.package import ModelPackage, create, revise, seal
from medimg.packaging.signature import generate_keys


def write_report(folder, package, status="validated", digest=None):
    (folder / "overlays").mkdir(parents=True)
    document = {"model": {"package_digest": digest or package.digest}, "status": status}
    (folder / "report.json").write_text(json.dumps(document))
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "overlays" / "worst.png").write_bytes(b"\x89PNG")
    return folder


def sealed(candidate, tmp_path, **changes):
    report = write_report(tmp_path / "report", candidate)
    settings = {"validation": "validated", "not_validated_for": (), "output": tmp_path, "model_card": "# Card\n"}
    return seal(candidate, report, **(settings | changes))


def resum(folder):
    """Make SHA256SUMS fit whatever lies in the folder: what an attacker without the key would do."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ("SHA256SUMS", "SIGNATURE"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_candidate_says_so_everywhere(candidate):
    assert candidate.folder.name == "polyp.candidate.medimg"
    assert "NOT VALIDATED" in (candidate.folder / "MODEL_CARD.md").read_text()
    assert (candidate.folder / "NOT_VALIDATED").is_file()
    assert json.loads((candidate.folder / "package.json").read_text())["status"] == "candidate"
    again = ModelPackage.open(candidate.folder)
    assert again.manifest.model_dump(mode="json") == candidate.manifest.model_dump(mode="json")
    assert again.digest == candidate.digest
    assert hashlib.sha256(again.onnx_bytes()).hexdigest() == again.manifest.onnx_sha256
    assert [p.name for p in candidate.folder.parent.iterdir()] == ["polyp.candidate.medimg"]


def test_sha256sum_checks_it_too(candidate):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=candidate.folder, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["package.json", "model.onnx", "weights.safetensors", "config.yaml", "MODEL_CARD.md"])
def test_one_changed_byte_is_found(candidate, name):
    path = candidate.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        ModelPackage.open(candidate.folder)
    message = str(caught.value)
    assert name in message
    assert hashlib.sha256(content).hexdigest() in message
    assert "source again" in message


def test_missing_extra_and_dangerous_files_are_refused(candidate, tmp_path):
    folder = candidate.folder
    (folder / "extra.txt").write_text("x")
    with pytest.raises(InputError, match="does not list"):
        ModelPackage.open(folder)
    resum(folder)
    with pytest.raises(InputError, match="does not belong"):
        ModelPackage.open(folder)
    (folder / "extra.txt").unlink()
    (folder / "report").mkdir()
    (folder / "report" / "data.json").write_bytes(pickle.dumps({"a": 1}, protocol=4))
    resum(folder)
    with pytest.raises(InputError, match="not what its name says"):
        ModelPackage.open(folder)
    (folder / "report" / "data.json").unlink()
    (folder / "report" / "link.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="plain files only"):
        ModelPackage.open(folder)
    (folder / "report" / "link.json").unlink()
    (folder / "config.yaml").unlink()
    with pytest.raises(InputError, match="lacks a file"):
        ModelPackage.open(folder)
    with pytest.raises(InputError, match="no model package"):
        ModelPackage.open(tmp_path / "nowhere.medimg")


@pytest.mark.parametrize("line", ["abc  model.onnx", "0" * 64 + "  ../outside", "0" * 64 + "  /etc/passwd", "0" * 64])
def test_damaged_sums_are_refused(candidate, line):
    with (candidate.folder / "SHA256SUMS").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match="SHA256SUMS is damaged"):
        ModelPackage.open(candidate.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "medimg.package/9"}, "schema"),
        ({"surprise": 1}, "surprise"),
        ({"status": "sealed"}, "sealed package"),
        ({"onnx_sha256": "0" * 64}, "was changed"),
        ({"research_use_only": False}, "research_use_only"),
    ],
)
def test_a_forged_manifest_is_refused(candidate, change, message):
    path = candidate.folder / "package.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    resum(candidate.folder)
    with pytest.raises(InputError, match=message):
        ModelPackage.open(candidate.folder)


def test_a_candidate_stripped_of_its_warning_is_refused(candidate):
    (candidate.folder / "NOT_VALIDATED").unlink()
    resum(candidate.folder)
    with pytest.raises(InputError, match="only a candidate"):
        ModelPackage.open(candidate.folder)


def test_sealing_keeps_the_digest_that_the_report_names(candidate, tmp_path):
    package = sealed(candidate, tmp_path, not_validated_for=("ancestry: X",))
    assert package.folder == tmp_path / "polyp.medimg"
    again = ModelPackage.open(package.folder)
    assert again.digest == candidate.digest
    assert again.manifest.validation == "validated"
    assert again.manifest.not_validated_for == ("ancestry: X",)
    assert (package.folder / "report" / "overlays" / "worst.png").is_file()
    assert not (package.folder / "NOT_VALIDATED").exists()
    assert (package.folder / "MODEL_CARD.md").read_text() == "# Card\n"
    (package.folder / "report" / "report.json").write_text("{}")
    resum(package.folder)
    with pytest.raises(InputError, match=r"report\.json"):
        ModelPackage.open(package.folder)


def test_sealing_is_refused(candidate, tmp_path):
    with pytest.raises(GateRefused, match="does not suffice"):
        sealed(candidate, tmp_path, validation="ancestry_not_evaluated")
    other = write_report(tmp_path / "other", candidate, digest="0" * 64)
    rest = {"not_validated_for": (), "output": tmp_path, "model_card": "# Card\n"}
    with pytest.raises(GateRefused, match="about another package"):
        seal(candidate, other, validation="validated", **rest)
    worse = write_report(tmp_path / "worse", candidate, status="not_validated")
    with pytest.raises(GateRefused, match="another status"):
        seal(candidate, worse, validation="validated", **rest)
    with pytest.raises(InputError, match="no usable report"):
        seal(candidate, tmp_path / "none", validation="validated", **rest)
    (worse / "report.json").write_text((tmp_path / "report" / "report.json").read_text())
    (worse / "model.pkl").write_bytes(b"x")
    with pytest.raises(InputError, match="does not belong into a report"):
        seal(candidate, worse, validation="validated", **rest)
    package = sealed_again(candidate, tmp_path, rest)
    with pytest.raises(GateRefused, match="sealed already"):
        seal(package, tmp_path / "report", validation="validated", **rest)
    with pytest.raises(GateRefused, match="never changes"):
        revise(package, postprocessing=Postprocessing())
    assert not list(tmp_path.glob("*.part"))


def sealed_again(candidate, tmp_path, rest):
    return seal(candidate, tmp_path / "report", validation="validated", **rest)


def test_a_report_does_not_outlive_new_thresholds(candidate, tmp_path):
    report = write_report(tmp_path / "report", candidate)
    same = revise(candidate, parity=Parity(max_abs_difference=1e-6, cases=3))
    assert same.digest == candidate.digest
    changed = revise(same, postprocessing=Postprocessing(thresholds={"polyp": 0.3}))
    assert changed.digest != candidate.digest
    assert ModelPackage.open(changed.folder).manifest.parity.cases == 3
    with pytest.raises(GateRefused, match="another package"):
        seal(changed, report, validation="validated", not_validated_for=(), output=tmp_path, model_card="")


def test_signatures(candidate, tmp_path):
    generate_keys(tmp_path / "a.pem", tmp_path / "a.pub")
    generate_keys(tmp_path / "b.pem", tmp_path / "b.pub")
    package = sealed(candidate, tmp_path, key=tmp_path / "a.pem")
    assert ModelPackage.open(package.folder, public_key=tmp_path / "a.pub").signed
    assert not ModelPackage.open(package.folder).signed
    with pytest.raises(InputError, match="another key"):
        ModelPackage.open(package.folder, public_key=tmp_path / "b.pub")
    with pytest.raises(InputError, match="not signed"):
        ModelPackage.open(candidate.folder, public_key=tmp_path / "a.pub")
    (package.folder / "MODEL_CARD.md").write_text("# Better than it is\n")
    resum(package.folder)
    with pytest.raises(InputError, match="changed after signing"):
        ModelPackage.open(package.folder, public_key=tmp_path / "a.pub")


def test_nothing_is_overwritten_unasked(candidate, files, manifest):
    settings = {"onnx": files / "model.onnx", "weights": files / "weights.safetensors", "config": ""}
    with pytest.raises(InputError, match="there already"):
        create(candidate.folder.parent, manifest, **settings)
    assert create(candidate.folder.parent, manifest, overwrite=True, **settings).digest == candidate.digest
    wrong = PackageManifest.model_validate(manifest.model_dump(by_alias=True) | {"onnx_sha256": "0" * 64})
    with pytest.raises(InputError, match="was changed"):
        create(candidate.folder.parent, wrong, overwrite=True, **settings)
    assert ModelPackage.open(candidate.folder).digest == candidate.digest
    assert not list(candidate.folder.parent.glob("*.part"))


def test_no_torch_is_imported():
    code = "import sys, medimg.packaging.package; print({'torch', 'monai', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
