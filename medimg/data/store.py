"""The prepared store: one folder a case, memory-mapped, keyed by content, one copy for all workers.

Legend: C channels, S spatial axes ((Z, Y, X) or (Y, X)), D their number, N boxes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.data.cases import Case, read_images
from medimg.data.digest import digest_path, digest_value
from medimg.data.preparation import Preparation
from medimg.data.prepare import Prepared, prepare, prepare_boxes, prepare_mask
from medimg.data.targets import Targets
from medimg.data.truth import component_boxes, label_image, stated_boxes
from medimg.errors import InputError, MedimgError
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume

STORE_VERSION = 1
FOREGROUND_POINTS = 4096


@dataclass(eq=False)
class PreparedCase:
    """One case as training sees it; arrays are memory maps, opened read-only on first use by each process.

    Attributes
    ----------
    folder : Path
        Where the arrays lie.
    shape : tuple of int
        (C, *S).
    stats : dict
        Per-channel ``mean`` and ``std`` of the stored values (rule ``zscore``).
    classes : dict of str to float
        Class or grade by target name.
    """

    case_id: str
    folder: Path
    shape: tuple[int, ...]
    stats: dict[str, list[float]]
    classes: dict[str, float]
    label_names: tuple[str, ...]
    has_label: bool

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open maps behind: a worker process opens its own, so that no array is ever sent to it."""
        return {name: value for name, value in self.__dict__.items() if name not in _MAPPED}

    @cached_property
    def image(self) -> NDArray[Any]:
        """(C, *S) stored values; intensity is not yet applied."""
        return np.load(self.folder / "image.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def label(self) -> NDArray[Any] | None:
        """(*S) label index or bitmask."""
        if not self.has_label:
            return None
        return np.load(self.folder / "label.npy", mmap_mode="r", allow_pickle=False)

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 2 D) half-open boxes in prepared index coordinates."""
        return np.load(self.folder / "boxes.npy", allow_pickle=False)

    @cached_property
    def box_labels(self) -> NDArray[np.int64]:
        """(N,) index of each box's label."""
        return np.load(self.folder / "box_labels.npy", allow_pickle=False)

    @cached_property
    def foreground(self) -> dict[str, NDArray[np.int32]]:
        """Up to 4,096 voxels (n, D) of each label that occurs, by name, for placing patches."""
        rows = np.load(self.folder / "foreground.npy", allow_pickle=False)
        return {name: rows[rows[:, 0] == index, 1:] for index, name in enumerate(self.label_names) if
                (rows[:, 0] == index).any()}  # fmt: skip


_MAPPED = frozenset({"image", "label", "boxes", "box_labels", "foreground"})


def build_store(
    cases: Sequence[Case],
    targets: Targets,
    preparation: Preparation,
    root: Path,
    *,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[PreparedCase], list[Finding]]:
    """Prepare every case that is not in the store yet.

    Parameters
    ----------
    cases : sequence of Case
        What is to be prepared.
    targets : Targets
        Which truth goes beside the image.
    preparation : Preparation
        Geometry and storage.
    root : Path
        The store; several plans and cohorts share it, since the key is made from content.
    threads : int
        Cases prepared at once.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    list of PreparedCase
        In the order of ``cases``, without those that failed.
    list of Finding
        One for each case that could not be prepared.

    Raises
    ------
    InputError
        Not one case could be prepared.
    """
    done: list[PreparedCase] = []
    findings: list[Finding] = []
    with ThreadPoolExecutor(threads) as pool:
        for number, result in enumerate(pool.map(lambda case: _one(case, targets, preparation, root), cases), 1):
            if isinstance(result, Finding):
                findings.append(result)
            else:
                done.append(result)
            if progress:
                progress(number, len(cases))
    if not done:
        raise InputError(
            "not one case could be prepared",
            where=root,
            got="; ".join(finding.message for finding in findings[:3]),
            fix="run: medimg check with the same data configuration",
        )
    return done, findings


def store_key(case: Case, targets: Targets, preparation: Preparation) -> str:
    """Return the content key of a prepared case: source bytes, truth and preparation, nothing else."""
    digests = case.digests or {name: digest_path(path) for name, path in case.images.items()}
    drawn = {ref.path for ref in case.masks if ref.path is not None and ref.name in targets.mask_names}
    return digest_value(
        {
            "version": STORE_VERSION,
            "case": case.case_id,
            "images": digests,
            "units": case.units,
            "masks": {str(path.name): digest_path(path) for path in sorted(drawn)},
            "mask_values": [(ref.name, ref.value, ref.path is None) for ref in case.masks],
            "boxes": [(ref.name, ref.box) for ref in case.boxes],
            "classes": case.classes,
            "targets": targets.model_dump(mode="json"),
            "preparation": preparation.model_dump(mode="json"),
        }
    )


def _one(case: Case, targets: Targets, preparation: Preparation, root: Path) -> PreparedCase | Finding:
    try:
        key = store_key(case, targets, preparation)
        folder = root / key[:2] / key
        if not (folder / "case.json").is_file():
            _write(case, targets, preparation, folder)
        return open_case(folder)
    except (MedimgError, OSError) as error:
        what = error.describe() if isinstance(error, MedimgError) else str(error)
        return Finding("CASE_NOT_PREPARED", "error", what, file=case.case_id)


def open_case(folder: Path) -> PreparedCase:
    """Open a prepared case by its folder."""
    facts = json.loads((folder / "case.json").read_text())
    return PreparedCase(
        case_id=facts["case_id"],
        folder=folder,
        shape=tuple(facts["shape"]),
        stats=facts["stats"],
        classes=facts["classes"],
        label_names=tuple(facts["label_names"]),
        has_label=facts["has_label"],
    )


def _write(case: Case, targets: Targets, preparation: Preparation, folder: Path) -> None:
    images = read_images(case, preparation.reading)
    prepared = prepare(images, preparation)
    label = _label(case, targets, images, prepared, preparation)
    boxes, box_labels = _boxes(case, targets, label, prepared)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "image.npy", prepared.array, allow_pickle=False)
    if label is not None:
        np.save(part / "label.npy", label, allow_pickle=False)
    np.save(part / "boxes.npy", boxes, allow_pickle=False)
    np.save(part / "box_labels.npy", box_labels, allow_pickle=False)
    np.save(part / "foreground.npy", _foreground(label, targets), allow_pickle=False)
    facts = {
        "case_id": case.case_id,
        "shape": list(prepared.array.shape),
        "stats": prepared.stats,
        "classes": case.classes,
        "label_names": list(targets.mask_names),
        "has_label": label is not None,
    }
    (part / "case.json").write_text(json.dumps(facts, indent=1))
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def _label(
    case: Case,
    targets: Targets,
    images: dict[str, Volume | Picture],
    prepared: Prepared,
    preparation: Preparation,
) -> NDArray[Any] | None:
    if not targets.mask_names:
        return None
    mask = label_image(case, targets, next(iter(images.values())))
    return prepare_mask(mask, prepared.grid, preparation)


def _boxes(
    case: Case, targets: Targets, label: NDArray[Any] | None, prepared: Prepared
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if targets.kind != "detection":
        return np.zeros((0, 2 * (prepared.array.ndim - 1)), np.float32), np.zeros(0, np.int64)
    if label is not None:
        return component_boxes(label, len(targets.names), targets.min_component)
    boxes, labels = stated_boxes(case, targets)
    return prepare_boxes(boxes, prepared.grid), labels


def _foreground(label: NDArray[Any] | None, targets: Targets) -> NDArray[np.int32]:
    """Return rows (label index, *voxel index)."""
    if label is None:
        return np.zeros((0, 4), np.int32)
    rows = [np.zeros((0, 1 + label.ndim), np.int32)]
    for index in range(len(targets.mask_names)):
        where = np.argwhere(label == index + 1 if targets.exclusive else (label >> index) & 1)
        if len(where):
            # Evenly spaced in scan order: the same points whatever machine prepared the case.
            chosen = where[np.linspace(0, len(where) - 1, min(FOREGROUND_POINTS, len(where))).astype(int)]
            rows.append(np.column_stack([np.full(len(chosen), index), chosen]).astype(np.int32))
    return np.concatenate(rows)
