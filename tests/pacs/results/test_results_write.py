"""What results say: the same twice, nothing found, refused, partial, carried over."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from scenes import LESION, LIVER, MANIFEST, Scene, attributes, dciodvfy_errors, manifest_of, predicted, scene

from medimg.errors import ConfigError, InputError
from medimg.inference.prediction import Box
from medimg.io.findings import Finding
from medimg.io.image import Volume
from medimg.io.mask import read_segmentation
from medimg.pacs.results.write import write_refusal, write_results


@pytest.fixture(scope="module")
def axial(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene(tmp_path_factory.mktemp("axial"))


def texts(report: pydicom.Dataset) -> list[str]:
    found = []
    for element in report.iterall():
        if element.keyword == "TextValue":
            value = element.value
            found.append(value if isinstance(value, str) else "".join(value))
    return found


def meanings(report: pydicom.Dataset) -> list[str]:
    return [str(element.value) for element in report.iterall() if element.keyword == "CodeMeaning"]


def numbers(report: pydicom.Dataset) -> dict[str, tuple[float, str]]:
    """Every measurement by its name: value and unit."""
    found = {}
    for item in _items(report):
        if item.get("ValueType") == "NUM":
            value = item.MeasuredValueSequence[0]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            found[item.ConceptNameCodeSequence[0].CodeMeaning] = (float(value.NumericValue), unit)
    return found


def _items(dataset: pydicom.Dataset):
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def test_the_same_twice_is_the_same_bytes(axial: Scene, tmp_path: Path) -> None:
    kinds = ("seg", "sr", "sc", "gsps")
    first = write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path / "a", kinds)
    again = write_results(axial.prediction, axial.image, axial.files[::-1], MANIFEST, tmp_path / "b", kinds)
    assert [path.name for path in first] == ["seg.dcm", "sr.dcm", "sc-1.dcm", "gsps.dcm"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_another_input_or_package_has_other_uids(axial: Scene, tmp_path: Path) -> None:
    def uids(one: Scene, manifest, folder: str) -> set[str]:
        files = write_results(one.prediction, one.image, one.files, manifest, tmp_path / folder)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
        return {str(ds.SOPInstanceUID) for ds in headers} | {str(ds.SeriesInstanceUID) for ds in headers}

    other = scene(tmp_path / "source", series=2)
    newer = MANIFEST.model_copy(update={"version": "1.3"})
    sets = [uids(axial, MANIFEST, "a"), uids(other, MANIFEST, "b"), uids(axial, newer, "c")]
    assert [len(one) for one in sets] == [6, 6, 6]
    assert len(set().union(*sets)) == 18


def test_patient_and_study_are_carried_over(tmp_path: Path) -> None:
    knee = {"BodyPartExamined": "KNEE", "Laterality": "L"}
    source = scene(tmp_path / "source", PatientName="Müller^Ä", SpecificCharacterSet="ISO_IR 100", **knee)
    kinds = ("seg", "sr", "sc", "gsps")
    for path in write_results(source.prediction, source.image, source.files, MANIFEST, tmp_path / "out", kinds):
        ds = pydicom.dcmread(path)
        wanted = attributes(PatientName="Müller^Ä")
        names = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "EthnicGroup"]
        names += ["StudyDate", "StudyTime", "AccessionNumber", "StudyDescription"]
        assert {name: str(ds[name].value) for name in names} == {name: str(wanted[name]) for name in names}
        assert ds.StudyInstanceUID == pydicom.dcmread(source.files[0]).StudyInstanceUID
        assert (ds.Manufacturer, ds.DeviceSerialNumber) == ("medimg", MANIFEST.digest)
        assert "research use only" in ds.SeriesDescription
        if path.name != "sr.dcm":
            assert ds.BodyPartExamined == "KNEE"
            # A SEG says it of its frames, if at all.
            assert ds.get("Laterality") == (None if path.name == "seg.dcm" else "L")
        assert dciodvfy_errors(path) == []


def test_a_lesion_is_measured_and_named(axial: Scene, tmp_path: Path) -> None:
    write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path)
    report = hd.sr.srread(tmp_path / "sr.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert group.finding_type.meaning == "Nodule"
    assert group.tracking_identifier == "nodule 1"
    assert group.reference_type.meaning == "Referenced Segment"
    found = numbers(report)
    assert found["Long Axis"] == (pytest.approx(14.0, abs=0.8), "mm")
    assert found["Short Axis"] == (pytest.approx(11.0, abs=0.8), "mm")
    assert found["Volume"] == (pytest.approx(4 / 3 * np.pi * 8.0 * 7.0 * 5.5 / 1000, rel=0.05), "mL")
    assert found["Attenuation Coefficient"] == (1000.0, "[hnsf'U]")
    point = next(item for item in _items(report) if item.get("ValueType") == "SCOORD3D")
    assert np.abs(np.asarray(point.GraphicData) - axial.centre_mm).max() < 0.35
    assert any(MANIFEST.digest in text for text in texts(report))


def test_without_a_segmentation_the_axes_are_drawn_in_the_report(axial: Scene, tmp_path: Path) -> None:
    (path,) = write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path, ["sr"])
    report = hd.sr.srread(path)
    lines = [item for item in _items(report) if item.get("GraphicType") == "POLYLINE"]
    assert len(lines) == 2
    a, b = np.asarray(lines[0].GraphicData).reshape(2, 2)
    spacing = np.asarray([0.7, 0.8])
    assert np.linalg.norm((a - b) * spacing) == pytest.approx(numbers(report)["Long Axis"][0], rel=1e-3)
    assert dciodvfy_errors(path) == []


def test_nothing_found_gives_a_report_and_no_segmentation(axial: Scene, tmp_path: Path) -> None:
    nothing = predicted(axial.image, np.zeros_like(axial.prediction.labels))
    (path,) = write_results(nothing, axial.image, axial.files, MANIFEST, tmp_path)
    report = hd.sr.srread(path)
    assert [text for text in texts(report) if text.startswith("No finding")] == [
        "No finding: no nodule was found.",
        "No finding: no liver was found.",
    ]
    assert meanings(report).count("Absent") == 2
    assert dciodvfy_errors(path) == []


def test_a_refusal_says_why(axial: Scene, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM at all")
    reason = "The series is incomplete: 3 slices are missing."
    (path,) = write_refusal(reason, [*axial.files, broken], MANIFEST, tmp_path / "out")
    report = hd.sr.srread(path)
    assert f"Not analysed: {reason}" in texts(report)
    assert "Not Attempted" in meanings(report)
    assert (report.PatientID, report.EthnicGroup) == ("SECRET-ID", "KALINAGO")
    assert dciodvfy_errors(path) == []
    (again,) = write_refusal(reason, axial.files, MANIFEST, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="to which study"):
        write_refusal(reason, [broken], MANIFEST, tmp_path / "none")


def test_images_of_a_class_that_nobody_knows_are_refused_too(axial: Scene, tmp_path: Path) -> None:
    ds = pydicom.dcmread(axial.files[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6"
    ds.save_as(tmp_path / "old.dcm")
    (path,) = write_refusal("It is of another modality.", [tmp_path / "old.dcm"], MANIFEST, tmp_path / "out")
    classes = [str(e.value) for e in pydicom.dcmread(path).iterall() if e.keyword == "ReferencedSOPClassUID"]
    assert set(classes) == {"1.2.840.10008.5.1.4.1.1.6"}
    assert dciodvfy_errors(path) == []


def test_partial_input_is_said_everywhere(axial: Scene, tmp_path: Path) -> None:
    said = "3 slices are missing"
    whole = write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path / "whole")
    files = write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path, partial=said)
    for path, full in zip(files, whole, strict=True):
        ds = pydicom.dcmread(path)
        assert ds.SeriesDescription.startswith("PARTIAL INPUT")
        assert ds.SOPInstanceUID != pydicom.dcmread(full).SOPInstanceUID
    report = pydicom.dcmread(files[1])
    assert report.CompletionFlag == "PARTIAL"
    assert f"PARTIAL INPUT: {said}" in texts(report)
    assert pydicom.dcmread(files[2]).Rows > pydicom.dcmread(whole[2]).Rows
    noticed = predicted(
        axial.image, axial.prediction.labels, findings=(Finding("PARTIAL_INPUT", "warning", "Incomplete.", value=said),)
    )
    marked = [pydicom.dcmread(p) for p in write_results(noticed, axial.image, axial.files, MANIFEST, tmp_path / "w")]
    assert marked[1].CompletionFlag == "PARTIAL"
    assert not any(ds.SeriesDescription.startswith("PARTIAL") for ds in marked)


def test_kinds_of_segmentation_agree(axial: Scene, tmp_path: Path) -> None:
    labels = axial.prediction.labels
    probabilities = np.stack([labels == 1, labels == 2]).astype(np.float32) * 0.8
    both = predicted(axial.image, labels, probabilities=probabilities)
    for kind, name in (("seg_fractional", "FRACTIONAL"), ("seg_labelmap", "LABELMAP")):
        (path,) = write_results(both, axial.image, axial.files, MANIFEST, tmp_path / kind, [kind])
        assert pydicom.dcmread(path).SegmentationType == name
        read = read_segmentation(path, axial.image)
        assert np.array_equal(read.mask("nodule"), labels == 1)
        if name == "FRACTIONAL":
            assert read.fraction("nodule").max() == pytest.approx(0.8, abs=0.003)
        assert dciodvfy_errors(path) == []
    with pytest.raises(InputError, match="no probabilities"):
        write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path, ["seg_fractional"])
    with pytest.raises(ConfigError, match="One kind"):
        write_results(both, axial.image, axial.files, MANIFEST, tmp_path, ["seg", "seg_labelmap"])
    with pytest.raises(ConfigError, match="did you mean 'seg'"):
        write_results(both, axial.image, axial.files, MANIFEST, tmp_path, ["segs"])


def test_overlapping_labels_keep_their_own_segments(axial: Scene, tmp_path: Path) -> None:
    manifest = manifest_of(
        LESION.model_copy(update={"index": 0}), LIVER.model_copy(update={"index": 1}), mode="multilabel"
    )
    nodule = axial.prediction.labels == 1
    liver = nodule.copy()
    liver[:, :20] = True
    bits = nodule.astype(np.uint8) | (liver.astype(np.uint8) << 1)
    both = predicted(axial.image, bits, manifest)
    (path,) = write_results(both, axial.image, axial.files, manifest, tmp_path, ["seg"])
    read = read_segmentation(path, axial.image)
    assert np.array_equal(read.mask("nodule"), nodule)
    assert np.array_equal(read.mask("liver"), liver)
    with pytest.raises(InputError, match="overlap"):
        write_results(both, axial.image, axial.files, manifest, tmp_path, ["seg_labelmap"])


def test_boxes_become_regions_with_a_probability(axial: Scene, tmp_path: Path) -> None:
    manifest = manifest_of(LESION.model_copy(update={"index": 0}), kind="detection", mode="boxes")
    boxes = (
        Box("nodule", 0.9, (4, 10, 8, 11, 32, 22), None, True),
        Box("nodule", 0.1, (0, 0, 0, 3, 3, 3), None, False),
    )
    found = predicted(axial.image, None, manifest, boxes=boxes, scores={"nodule": 0.9})
    files = write_results(found, axial.image, axial.files, manifest, tmp_path)
    assert [path.name for path in files] == ["sr.dcm", "sc-1.dcm"]
    report = hd.sr.srread(files[0])
    (group,) = report.content.get_planar_roi_measurement_groups()
    region = group.roi
    assert np.array_equal(region.value[:4], [[8, 10], [22, 10], [22, 32], [8, 32]])
    found_numbers = numbers(report)
    assert found_numbers["nodule probability"] == (0.9, "1")
    assert found_numbers["box length"] == (pytest.approx(17.6), "mm")
    assert dciodvfy_errors(files[0]) == []


def test_a_score_and_a_grade_become_measurement_and_evaluation(axial: Scene, tmp_path: Path) -> None:
    labels = [
        LESION.model_copy(update={"name": name, "index": n, "code": None}) for n, name in enumerate(("low", "high"))
    ]
    manifest = manifest_of(*labels, kind="classification", mode="ordinal", positive_from=1, target="malignant")
    found = predicted(
        axial.image,
        None,
        manifest,
        scores={"low": 0.2, "high": 0.8, "malignant": 0.8},
        grade=1,
        decisions={"malignant": True},
    )
    (path,) = write_results(found, axial.image, axial.files, manifest, tmp_path)
    report = hd.sr.srread(path)
    assert numbers(report)["malignant"] == (0.8, "1")
    assert "Grade: high" in texts(report)
    assert {"malignant", "Present", "grade", "high"} <= set(meanings(report))
    assert dciodvfy_errors(path) == []


def test_sources_that_make_no_results(axial: Scene, tmp_path: Path) -> None:
    plain = Volume(axial.image.array, axial.image.affine)
    with pytest.raises(InputError, match="need a DICOM source"):
        write_results(axial.prediction, plain, [], MANIFEST, tmp_path)
    with pytest.raises(InputError, match="Files of the source are missing"):
        write_results(axial.prediction, axial.image, axial.files[1:], MANIFEST, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_bare_source_is_enough(tmp_path: Path) -> None:
    bare = dict.fromkeys(("PatientName", "PatientID", "StudyDate", "KVP", "FrameOfReferenceUID", "PatientBirthDate"))
    source = scene(tmp_path / "source", **{**bare, "PatientSex": "X", "PatientAge": None})
    files = write_results(source.prediction, source.image, source.files, MANIFEST, tmp_path / "out")
    assert len(files) == 3
    assert pydicom.dcmread(files[0]).PatientName == ""


def test_no_message_names_the_patient(axial: Scene, tmp_path: Path, capfd, caplog) -> None:
    odd = scene(tmp_path / "source", PatientName="SECRET ^= NAME=\\", PatientBirthDate="SECRET", StudyTime="SECRET")
    capfd.readouterr()
    caplog.clear()
    files = write_results(odd.prediction, odd.image, odd.files, MANIFEST, tmp_path / "out")
    said = capfd.readouterr()
    assert "SECRET" not in said.out + said.err + caplog.text
    assert len(files) == 3


def test_a_presentation_state_outlines_the_lesion(axial: Scene, tmp_path: Path) -> None:
    (path,) = write_results(axial.prediction, axial.image, axial.files, MANIFEST, tmp_path, ["gsps"])
    state = pydicom.dcmread(path)
    planes = {
        str(uid): plane for uid, plane in zip(axial.image.source.instance_uids, axial.prediction.labels, strict=True)
    }
    assert len(state.GraphicAnnotationSequence) == sum(bool(plane.any()) for plane in planes.values())
    for item in state.GraphicAnnotationSequence:
        (named,) = item.ReferencedImageSequence
        at = np.argwhere(planes[named.ReferencedSOPInstanceUID])
        line = np.asarray(item.GraphicObjectSequence[0].GraphicData).reshape(-1, 2)
        assert np.abs(line.min(axis=0) - at.min(axis=0)[::-1]).max() <= 0.5
        assert np.abs(line.max(axis=0) - (at.max(axis=0)[::-1] + 1)).max() <= 0.5
        assert "Research use only" in item.TextObjectSequence[0].UnformattedTextValue
    assert dciodvfy_errors(path) == []


def test_a_probability_map_holds_the_probabilities(axial: Scene, tmp_path: Path) -> None:
    probabilities = np.random.default_rng(0).random((2, *axial.image.shape_zyx)).astype(np.float32)
    both = predicted(axial.image, axial.prediction.labels, probabilities=probabilities)
    files = write_results(both, axial.image, axial.files, MANIFEST, tmp_path, ["pm"])
    assert [path.name for path in files] == ["pm-1.dcm", "pm-2.dcm"]
    found = pydicom.dcmread(files[1])
    heights = [
        float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in found.PerFrameFunctionalGroupsSequence
    ]
    pixels = found.pixel_array[np.argsort(heights)]
    assert np.array_equal(pixels, probabilities[1])
    assert dciodvfy_errors(files[1]) == []
    again = write_results(both, axial.image, axial.files, MANIFEST, tmp_path / "again", ["pm"])
    assert again[0].read_bytes() == files[0].read_bytes()
