"""The model package: a folder that is checked byte by byte before it is used. No torch, no pickle.

::

    NAME.medimg/             sealed; a candidate is NAME.candidate.medimg/
      package.json           what it is (manifest.py)
      model.onnx             the network
      weights.safetensors    the same weights, for training on
      config.yaml            the configuration that produced it
      MODEL_CARD.md          for people
      report/                the evaluation that it was sealed with (sealed packages)
      NOT_VALIDATED          a warning (candidates)
      SHA256SUMS             of all files above; `sha256sum -c SHA256SUMS` checks them too
      SIGNATURE              optional: Ed25519 over SHA256SUMS

``ModelPackage.digest`` names the manifest without its status together with the digests of network and weights. A
report that names it stays true of the package that is sealed with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from medimg.data.digest import digest_path
from medimg.errors import GateRefused, InputError
from medimg.packaging import signature
from medimg.packaging.integrity import REPORT, REPORT_SUFFIXES, SIGNATURE, SUMS, WARNING, changed, check_folder
from medimg.packaging.manifest import SEALABLE, PackageManifest, Parity, Postprocessing, Validation, read_manifest

__all__ = ["ModelPackage", "PackageManifest", "create", "revise", "seal"]

SUFFIX, CANDIDATE_SUFFIX = ".medimg", ".candidate.medimg"
_BANNER = (
    "> **CANDIDATE: NOT VALIDATED.** No evaluation on held-out scans belongs to these weights. "
    "Not for any decision about a person.\n\n"
)


@dataclass(frozen=True)
class ModelPackage:
    """A package whose bytes have been checked.

    Attributes
    ----------
    folder : Path
    manifest : PackageManifest
    signed : bool
        A signature was there and was made with the trusted key. False as well where no key was given to check.
    """

    folder: Path
    manifest: PackageManifest
    signed: bool = False

    @classmethod
    def open(cls, path: str | Path, *, public_key: Path | None = None) -> ModelPackage:
        """Check a package completely, then return it.

        Parameters
        ----------
        path : str or Path
            The package's folder.
        public_key : Path, optional
            PEM file of the key that must have signed it.

        Raises
        ------
        InputError
            Names the file and what is wrong: a changed byte, an extra or missing file, a link, a file type that
            can carry code, an unknown schema, a missing or wrong signature.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError("There is no model package.", where=folder, expected="a folder NAME.medimg")
        sums = check_folder(folder)
        manifest = read_manifest(folder / "package.json")
        _check_manifest(folder, manifest, sums)
        return cls(folder, manifest, _check_signature(folder, public_key))

    @property
    def digest(self) -> str:
        """SHA-256 that reports and predictions name."""
        return self.manifest.digest

    @property
    def onnx_path(self) -> Path:
        """The network."""
        return self.folder / "model.onnx"

    @property
    def weights_path(self) -> Path:
        """The weights under the training network's own names."""
        return self.folder / "weights.safetensors"

    def onnx_bytes(self) -> bytes:
        """Return the network's bytes, checked once more: what is loaded is what was verified."""
        content = self.onnx_path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != self.manifest.onnx_sha256:
            raise changed(self.onnx_path, self.manifest.onnx_sha256, found)
        return content


def create(
    output: Path,
    manifest: PackageManifest,
    *,
    onnx: Path,
    weights: Path,
    config: str,
    model_card: str = "",
    overwrite: bool = False,
) -> ModelPackage:
    """Write a candidate package, ``output/NAME.candidate.medimg``.

    Parameters
    ----------
    output : Path
        Folder that holds packages.
    manifest : PackageManifest
        With ``status`` candidate.
    onnx, weights : Path
        Files to copy in; their digests must be those of the manifest.
    config : str
        Text of config.yaml.
    model_card : str
        Markdown; a banner that says NOT VALIDATED is put before it.
    overwrite : bool
        Replace a candidate of the same name.

    Raises
    ------
    InputError
        The manifest is sealed, the files are not those it names, or the package is there already.
    """
    if manifest.status != "candidate" or manifest.validation != "not_validated":
        raise InputError(
            "A package starts as a candidate that is not validated.", got=manifest.status, expected="candidate"
        )
    final = output / f"{manifest.name}{CANDIDATE_SUFFIX}"
    part = _start(final, overwrite)
    try:
        shutil.copyfile(onnx, part / "model.onnx")
        shutil.copyfile(weights, part / "weights.safetensors")
        (part / "config.yaml").write_text(config, encoding="utf-8")
        (part / "MODEL_CARD.md").write_text(
            _BANNER + (model_card or f"# {manifest.name}\n\n{manifest.intended_use}\n"), encoding="utf-8"
        )
        (part / WARNING).write_text(
            "This candidate was not validated on held-out scans. It is not a release.\n", encoding="utf-8"
        )
        return _finish(part, final, manifest, None)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def revise(
    candidate: ModelPackage, *, postprocessing: Postprocessing | None = None, parity: Parity | None = None
) -> ModelPackage:
    """Rewrite a candidate with thresholds (its digest changes) or a parity record (it does not)."""
    if candidate.manifest.status != "candidate":
        raise GateRefused(
            "A sealed package never changes.", where=candidate.folder, fix="train or export a new candidate"
        )
    changes = {"postprocessing": postprocessing, "parity": parity}
    update = {key: value.model_dump() for key, value in changes.items() if value is not None}
    record = candidate.manifest.model_dump(by_alias=True) | update
    manifest = PackageManifest.model_validate(record)
    part = _start(candidate.folder, overwrite=True)
    try:
        shutil.copytree(candidate.folder, part, dirs_exist_ok=True)
        return _finish(part, candidate.folder, manifest, None)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def seal(
    candidate: ModelPackage,
    report: Path,
    *,
    validation: Validation,
    not_validated_for: tuple[str, ...],
    output: Path,
    model_card: str,
    key: Path | None = None,
    overwrite: bool = False,
) -> ModelPackage:
    """Write the sealed package ``output/NAME.medimg`` from a candidate and the report on it.

    Parameters
    ----------
    candidate : ModelPackage
    report : Path
        Folder with report.json, which must name the candidate's digest and the same status, and its renderings.
    validation, not_validated_for
        The gate's verdict.
    output : Path
        Folder that holds packages.
    model_card : str
        Markdown.
    key : Path, optional
        PEM file of the Ed25519 key that signs.

    Raises
    ------
    GateRefused
        The verdict does not suffice, or the report is about other weights, thresholds or labels.
    InputError
        No report, a file in it that does not belong there, or the package is there already.
    """
    if candidate.manifest.status != "candidate":
        raise GateRefused("The package is sealed already.", where=candidate.folder)
    if validation not in SEALABLE:
        raise GateRefused(
            "The evaluation does not suffice to seal the package.",
            where=report,
            got=validation,
            expected=" or ".join(SEALABLE),
            fix="see the report's status reasons; export a marked candidate if it is for research only",
        )
    _check_report(report / "report.json", candidate, validation)
    record = candidate.manifest.model_dump(by_alias=True) | {
        "status": "sealed",
        "validation": validation,
        "not_validated_for": not_validated_for,
        "report_sha256": digest_path(report / "report.json"),
    }
    final = output / f"{candidate.manifest.name}{SUFFIX}"
    part = _start(final, overwrite)
    try:
        for name in ("model.onnx", "weights.safetensors", "config.yaml"):
            shutil.copyfile(candidate.folder / name, part / name)
        (part / "MODEL_CARD.md").write_text(model_card, encoding="utf-8")
        _copy_report(report, part / REPORT)
        return _finish(part, final, PackageManifest.model_validate(record), key)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _start(final: Path, overwrite: bool) -> Path:
    if final.exists() and not overwrite:
        raise InputError("A package of this name is there already.", where=final, fix="choose another name or folder")
    part = final.with_name(final.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    return part


def _finish(part: Path, final: Path, manifest: PackageManifest, key: Path | None) -> ModelPackage:
    """Write manifest, sums and signature, check the whole, and give it its name."""
    (part / "package.json").write_text(manifest.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    (part / SIGNATURE).unlink(missing_ok=True)
    names = sorted(p.relative_to(part).as_posix() for p in part.rglob("*") if p.is_file() and p.name != SUMS)
    text = "".join(f"{digest_path(part / name)}  {name}\n" for name in names)
    (part / SUMS).write_text(text, encoding="utf-8")
    if key is not None:
        (part / SIGNATURE).write_text(signature.sign(text.encode(), key), encoding="utf-8")
    ModelPackage.open(part)
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(part, final)
    shutil.rmtree(old, ignore_errors=True)
    return ModelPackage(final, manifest)


def _check_manifest(folder: Path, manifest: PackageManifest, sums: dict[str, str]) -> None:
    stated = {"model.onnx": manifest.onnx_sha256, "weights.safetensors": manifest.weights_sha256}
    if manifest.report_sha256 is not None:
        stated[f"{REPORT}/report.json"] = manifest.report_sha256
    for name, expected in stated.items():
        if sums.get(name) != expected:
            raise changed(folder / name, expected, sums.get(name, "none: the file is missing"))
    if (manifest.status == "candidate") != (WARNING in sums):
        raise InputError(
            f"A candidate, and only a candidate, carries the file {WARNING}.", where=folder, got=manifest.status
        )


def _check_signature(folder: Path, public_key: Path | None) -> bool:
    if public_key is None:
        return False
    path = folder / SIGNATURE
    if not path.is_file():
        raise InputError(
            "The model package is not signed, and a signature is asked for.",
            where=path,
            fix="ask its authors for a signed package",
        )
    signature.verify((folder / SUMS).read_bytes(), path.read_text(errors="replace"), public_key, where=path)
    return True


def _check_report(path: Path, candidate: ModelPackage, validation: str) -> None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        about, status = document["model"]["package_digest"], document["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("There is no usable report.json.", where=path, fix="run the evaluation first") from error
    if about != candidate.digest:
        raise GateRefused(
            "The report is about another package.",
            where=path,
            got=about,
            expected=candidate.digest,
            fix="evaluate this candidate; any change of weights, labels or thresholds needs a new report",
        )
    if status != validation:
        raise GateRefused("The report states another status.", where=path, got=status, expected=validation)


def _copy_report(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_symlink():
            raise InputError("A report holds plain files only.", where=path, got="a link")
        if path.is_file():
            if path.suffix.lower() not in REPORT_SUFFIXES:
                raise InputError(
                    "This file does not belong into a report.",
                    where=path,
                    expected=f"one of {', '.join(REPORT_SUFFIXES)}",
                )
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
