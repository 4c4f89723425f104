"""Write what a model says about a DICOM study as DICOM objects beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import find_objects

from medimg.errors import InputError
from medimg.inference.postprocess import membership
from medimg.inference.prediction import Prediction
from medimg.io.atomic import replacing
from medimg.io.dicom.headers import PYDICOM_ERRORS, quietly
from medimg.io.image import Picture, Volume
from medimg.packaging.manifest import PackageManifest
from medimg.pacs.results.gsps import build_presentation
from medimg.pacs.results.key_images import build_key_images
from medimg.pacs.results.kinds import SEGS, check_kinds
from medimg.pacs.results.made import Making
from medimg.pacs.results.measure import lesions_of, picture_lesions
from medimg.pacs.results.measured import MOST_LESIONS, Measured
from medimg.pacs.results.parametric import build_maps
from medimg.pacs.results.planes import spots
from medimg.pacs.results.seg import MadeSeg, build_seg
from medimg.pacs.results.source import Sources, read_refused, read_sources
from medimg.pacs.results.sr import build_refusal, build_report


def write_results(
    prediction: Prediction,
    image: Volume | Picture,
    source_files: Sequence[Path],
    manifest: PackageManifest,
    folder: str | Path,
    kinds: Sequence[str] = ("seg", "sr", "sc"),
    *,
    partial: str | None = None,
) -> list[Path]:
    """Write a prediction as DICOM objects.

    Parameters
    ----------
    prediction : Prediction
    image : Volume or Picture
        What it was made on, as `medimg.read` returned it.
    source_files : sequence of Path
        The files that the image came from; empty: those that it names itself.
    manifest : PackageManifest
        Of the package that answered.
    folder : str or Path
        Made where it is missing; files of the same names are replaced.
    kinds : sequence of str
        ``seg`` (one bit a voxel and label), ``seg_fractional`` (probabilities, which the prediction must hold),
        ``seg_labelmap`` (RLE), ``sr``, ``sc``, ``gsps``, ``pm`` (probabilities as a parametric map). At most one
        kind of segmentation. Kinds that a task does not have (a segmentation of a score) are passed over.
    partial : str, optional
        What was missing of the input, in a sentence that names no patient. Every object then says so. A finding
        ``PARTIAL_INPUT`` of the prediction says it too, but leaves the series description to who files the results.

    Returns
    -------
    list of Path
        All objects are built before the first is written; each appears under its name when it is complete.

    Raises
    ------
    ConfigError
        No such kind, or several kinds of segmentation.
    InputError
        The source is no DICOM, lacks what an object needs, or the folder cannot be written to.

    Notes
    -----
    The same source, package and answer give the same bytes: UIDs are hashes, and dates are the source's.
    """
    check_kinds(kinds)
    noticed = next((one.value or one.message for one in prediction.findings if one.code == "PARTIAL_INPUT"), None)
    sources = read_sources(image, source_files)
    making = Making(sources, manifest, partial or noticed, marked=partial is not None)
    measured = _measure(prediction, image, sources)
    built: dict[str, Dataset] = {}
    seg: MadeSeg | None = None
    for kind in (kind for kind in kinds if kind in SEGS):
        seg = build_seg(making, prediction, measured.places, SEGS[kind])
        if seg is not None:
            built["seg.dcm"] = seg.dataset
    if "sr" in kinds:
        built["sr.dcm"] = build_report(making, prediction, measured, seg)
    if "sc" in kinds:
        for n, capture in enumerate(build_key_images(making, prediction, image, measured), start=1):
            built[f"sc-{n}.dcm"] = capture
    if "gsps" in kinds:
        state = build_presentation(making, prediction, measured)
        built.update({} if state is None else {"gsps.dcm": state})
    if "pm" in kinds:
        for n, parametric in enumerate(build_maps(making, prediction, measured.places), start=1):
            built[f"pm-{n}.dcm"] = parametric
    return _write(built, Path(folder))


def write_refusal(
    reason: str, source_files: Sequence[Path], manifest: PackageManifest, folder: str | Path
) -> list[Path]:
    """Write a report that says why a study was not analysed.

    Parameters
    ----------
    reason : str
        One sentence that names no patient.
    source_files : sequence of Path
        Files of the series; those that cannot be read are left out.
    manifest : PackageManifest
    folder : str or Path

    Raises
    ------
    InputError
        No file says to which study the report would belong, or the folder cannot be written to.
    """
    making = Making(read_refused(source_files), manifest)
    return _write({"refusal.dcm": build_refusal(making, reason)}, Path(folder))


def _measure(prediction: Prediction, image: Volume | Picture, sources: Sources) -> Measured:
    names = [label.name for label in prediction.task.labels] if prediction.labels is not None else []
    if isinstance(image, Picture):
        lesions = {name: picture_lesions(prediction.mask(name), image.spacing_mm, most=MOST_LESIONS) for name in names}
        return Measured(lesions, None, "arbitrary", image.spacing_mm)
    if prediction.labels is not None and prediction.labels.shape != image.shape_zyx:
        raise InputError(
            "The prediction lies on another grid than its image.", got=prediction.labels.shape, expected=image.shape_zyx
        )
    values = image.array if image.array.ndim == 3 else image.array[0]
    affine = np.asarray(image.affine)
    lesions, fullest = {}, {}
    for name, (where, mask) in _parts(prediction):
        corner = (where[0].start, where[1].start, where[2].start)
        lesions[name] = lesions_of(mask, values[where], affine, most=MOST_LESIONS, corner=corner)
        fullest[name] = corner[0] + int(np.count_nonzero(mask, axis=(1, 2)).argmax())
    shape = (int(sources.first.Rows), int(sources.first.Columns))
    return Measured(lesions, spots(sources.slices, affine), image.unit, image.spacing_mm, shape, fullest)


def _parts(prediction: Prediction) -> Iterator[tuple[str, tuple[tuple[slice, ...], NDArray[np.bool_]]]]:
    """Yield every label's name, a part of the volume that holds all of it, and the mask there."""
    if prediction.labels is None:
        return
    task = prediction.task
    if task.mode != "multiclass":
        whole = tuple(slice(0, size) for size in prediction.labels.shape)
        yield from ((label.name, (whole, prediction.mask(label.name))) for label in task.labels)
        return
    boxes = find_objects(prediction.labels, max_label=max(label.index for label in task.labels))
    for label in task.labels:
        where = boxes[label.index - 1] or (slice(0, 1),) * 3
        yield label.name, (where, membership(prediction.labels[where], task, label.index))


def _write(built: dict[str, Dataset], folder: Path) -> list[Path]:
    paths = []
    for name, dataset in built.items():
        path = folder / name
        try:
            with replacing(path) as part, quietly():
                dataset.save_as(part, enforce_file_format=True)
        except PYDICOM_ERRORS as error:
            raise InputError(
                "A result cannot be written.", where=path, got=type(error).__name__,
                fix="choose a folder that can be written to, with room enough",
            ) from error  # fmt: skip
        paths.append(path)
    return paths
