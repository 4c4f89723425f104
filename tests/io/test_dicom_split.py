"""Series of several stacks: echoes, b-values, times, phases; and what must stay one stack."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medimg.errors import InputError
from medimg.io.image import Volume
from medimg.io.policy import ReadPolicy
from medimg.io.read import read, read_all, scan


def _codes(volume: Any) -> list[str]:
    return [finding.code for finding in volume.findings]


def _write(
    factory: ModuleType,
    folder: Path,
    variants: list[dict[str, Any]],
    *,
    n: int = 4,
    blocks: bool = True,
    edit: Any = None,
) -> np.ndarray:
    """Write stacks of one series that differ in ``variants``; instance numbers in blocks or slice by slice.

    Returns (variants, n, Y, X) stored values.
    """
    voxels = np.stack([factory.planes(n, seed=seed) for seed in range(len(variants))])
    for number, (planes, elements) in enumerate(zip(voxels, variants)):

        def set_number(z: int, ds: Any, number: int = number) -> None:
            instance = 1 + (number * n + z if blocks else z * len(variants) + number)
            ds.InstanceNumber, ds.SOPInstanceUID = instance, factory.uid(9, 1, instance)
            if edit is not None:
                edit(number, z, ds)

        factory.series(folder, planes, modality="MR", prefix=f"v{number}_", edit=set_number, **elements)
    return voxels


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize(
    ("key", "variants"),
    [
        ("echo_time_ms", [{"EchoTime": time, "EchoNumbers": n + 1} for n, time in enumerate((2.1, 4.2, 10.5))]),
        ("temporal_position", [{"TemporalPositionIdentifier": n} for n in (1, 2, 10)]),
        ("b_value", [{"DiffusionBValue": float(b)} for b in (0, 50, 800)]),
        ("inversion_time_ms", [{"InversionTime": time} for time in (700, 2500)]),
        ("flip_angle_deg", [{"FlipAngle": angle} for angle in (4, 18)]),
        ("acquisition_number", [{"AcquisitionNumber": n} for n in (1, 2, 3)]),
        ("time_s", [{"AcquisitionTime": time} for time in ("105959.25", "110010.5", "110021")]),
    ],
)
def test_stacks_come_in_order_with_their_values(
    tmp_path: Path, factory: ModuleType, key: str, variants: list[dict[str, Any]], blocks: bool
) -> None:
    voxels = _write(factory, tmp_path, variants, blocks=blocks)
    volumes = read_all(tmp_path)
    assert len(volumes) == len(variants)
    values = [volume.source.acquisition[key] for volume in volumes]
    assert values == sorted(values)
    assert key != "time_s" or values == [0.0, 11.25, 21.75]
    for volume, planes in zip(volumes, voxels, strict=True):
        np.testing.assert_array_equal(volume.array, planes)
        assert _codes(volume) == []
    stacked = read(tmp_path, stacked=True)
    assert isinstance(stacked, Volume)
    np.testing.assert_array_equal(stacked.array, voxels)
    assert [channel[key] for channel in stacked.source.channels] == values
    assert len(stacked.source.instance_uids) == voxels.shape[0] * voxels.shape[1]
    assert key not in stacked.source.acquisition
    with pytest.raises(InputError, match="which one") as caught:
        read(tmp_path)
    assert f"{key} = {values[0]}" in str(caught.value)


def test_echoes_and_times(tmp_path: Path, factory: ModuleType) -> None:
    pairs = list(itertools.product((1, 2, 3), (4.6, 9.2)))
    variants = [{"TemporalPositionIdentifier": time, "EchoTime": echo} for time, echo in pairs]
    voxels = _write(factory, tmp_path, variants)
    stacked = read(tmp_path, stacked=True)
    np.testing.assert_array_equal(stacked.array, voxels)
    found = [(channel["temporal_position"], channel["echo_time_ms"]) for channel in stacked.source.channels]
    assert found == pairs


def test_gradient_directions_of_one_b_value(tmp_path: Path, factory: ModuleType) -> None:
    directions = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    variants: list[dict[str, Any]] = [{"DiffusionBValue": 0.0}]
    variants += [{"DiffusionBValue": 800.0, "DiffusionGradientOrientation": list(vector)} for vector in directions]
    voxels = _write(factory, tmp_path, variants)
    channels = read(tmp_path, stacked=True).source.channels
    assert [channel["b_value"] for channel in channels] == [0.0, 800.0, 800.0, 800.0]
    assert {channel.get("gradient_direction") for channel in channels[1:]} == set(directions)
    assert len({volume.array.tobytes() for volume in read_all(tmp_path)}) == len(voxels)


@pytest.mark.parametrize(
    ("creator", "values"),
    [
        ((0x0019, 0x10, "SIEMENS MR HEADER", 0x100C), ("0", "50", "800")),
        ((0x0043, 0x10, "GEMS_PARM_01", 0x1039), ("0\\8\\0\\0", "1000000050\\8\\0\\0", "1000000800\\8\\0\\0")),
    ],
)
def test_private_b_values(tmp_path: Path, factory: ModuleType, creator: Any, values: tuple[str, ...]) -> None:
    group, block, name, element = creator

    def edit(number: int, _: int, ds: Any) -> None:
        ds.add_new((group, block), "LO", name)
        ds.add_new((group, element), "IS", values[number].split("\\"))

    _write(factory, tmp_path, [{}, {}, {}], edit=edit)
    channels = read(tmp_path, stacked=True).source.channels
    assert [channel["b_value"] for channel in channels] == [0.0, 50.0, 800.0]


def test_cine_with_trigger_times_of_each_slice(tmp_path: Path, factory: ModuleType) -> None:
    def edit(number: int, z: int, ds: Any) -> None:
        ds.TriggerTime = 40 * number + 3.5 * z
        ds.InstanceNumber = 1 + z * 5 + number

    voxels = _write(factory, tmp_path, [{}] * 5, edit=edit)
    volumes = read_all(tmp_path)
    np.testing.assert_array_equal(np.stack([volume.array for volume in volumes]), voxels)
    times = [volume.source.acquisition["trigger_time_ms"] for volume in volumes]
    assert times == pytest.approx([40 * n + 3.5 * 1.5 for n in range(5)])
    assert all(_codes(volume) == ["SPLIT_BY_ORDER"] for volume in volumes)
    assert volumes[0].findings[0].severity == "info"


@pytest.mark.parametrize("blocks", [True, False])
def test_only_instance_numbers_tell(tmp_path: Path, factory: ModuleType, blocks: bool) -> None:
    voxels = _write(factory, tmp_path, [{}, {}, {}], blocks=blocks)
    volumes = read_all(tmp_path)
    np.testing.assert_array_equal(np.stack([volume.array for volume in volumes]), voxels)
    assert volumes[0].findings[0].code == "SPLIT_BY_ORDER"
    assert volumes[0].findings[0].severity == "warning"
    with pytest.raises(InputError, match="which one"):
        read(tmp_path, policy=ReadPolicy(duplicates="keep_last"))


def test_instance_numbers_without_an_order_tell_nothing(tmp_path: Path, factory: ModuleType) -> None:
    shuffled = np.random.default_rng(0).permutation(12)

    def edit(number: int, z: int, ds: Any) -> None:
        ds.InstanceNumber = int(shuffled[number * 4 + z])

    _write(factory, tmp_path, [{}, {}, {}], edit=edit)
    with pytest.raises(InputError, match="same position"):
        read(tmp_path)


def test_one_position_many_echoes(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _write(factory, tmp_path, [{"EchoTime": 2.0 * n} for n in range(1, 9)], n=1)
    stacked = read(tmp_path, stacked=True)
    np.testing.assert_array_equal(stacked.array, voxels)
    assert [channel["echo_time_ms"] for channel in stacked.source.channels] == [2.0 * n for n in range(1, 9)]


def test_packages_of_one_scan_stay_together(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(9)

    def package(n: int, ds: Any) -> None:
        ds.AcquisitionNumber, ds.AcquisitionTime = 1 + n % 2, f"1015{10 + n % 2}"

    factory.series(tmp_path, voxels, modality="MR", edit=package)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, voxels)
    assert _codes(volume) == []


def test_echoes_between_each_others_slices_are_no_neighbours(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(10)

    def echo(n: int, ds: Any) -> None:
        ds.EchoTime = (20, 80)[n % 2]

    factory.series(tmp_path, voxels, modality="MR", edit=echo)
    volumes = read_all(tmp_path)
    assert [volume.source.acquisition["echo_time_ms"] for volume in volumes] == [20, 80]
    for n, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.array, voxels[n::2])
    with pytest.raises(InputError, match=r"do not share one grid(.|\n)*first voxel at"):
        read(tmp_path, stacked=True)


def test_what_varies_in_one_even_stack_is_told(tmp_path: Path, factory: ModuleType) -> None:
    def echo(n: int, ds: Any) -> None:
        ds.EchoTime = 20 if n < 4 else 20.4

    factory.series(tmp_path / "te", factory.planes(9), modality="MR", edit=echo)
    (finding,) = read(tmp_path / "te").findings
    assert (finding.code, finding.value) == ("MIXED_VALUES", "echo")

    def kind(n: int, ds: Any) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", *(["FILLED"] if n == 3 else [])]

    factory.series(tmp_path / "type", factory.planes(9), edit=kind)
    assert read(tmp_path / "type").findings == ()


def test_frames_of_reference_are_not_mixed(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(10)

    def place(n: int, ds: Any) -> None:
        ds.FrameOfReferenceUID = factory.uid(3, n % 2)

    factory.series(tmp_path / "two", voxels, edit=place)
    volumes = read_all(tmp_path / "two")
    assert sorted(volume.frame_of_reference_uid for volume in volumes) == [factory.uid(3, 0), factory.uid(3, 1)]

    def lose(n: int, ds: Any) -> None:
        ds.FrameOfReferenceUID = factory.uid(3, 7, n)

    factory.series(tmp_path / "each", voxels, edit=lose)
    (finding,) = read(tmp_path / "each").findings
    assert (finding.code, finding.value) == ("MIXED_VALUES", "frame of reference")


@pytest.mark.parametrize(
    ("keyword", "value"), [("PhotometricInterpretation", "MONOCHROME1"), ("Modality", "PT"), ("Rows", 5)]
)
def test_slices_of_another_kind_leave_a_hole(tmp_path: Path, factory: ModuleType, keyword: str, value: Any) -> None:
    factory.series(tmp_path, factory.planes(9), edit=lambda n, ds: setattr(ds, keyword, value) if n == 4 else None)
    with pytest.raises(InputError, match=r"which one(.|\n)*Slices are missing"):
        read(tmp_path)


def test_one_stack_with_a_hole_and_one_without(tmp_path: Path, factory: ModuleType) -> None:
    voxels = [factory.planes(8, seed=seed) for seed in (0, 1)]
    for n, lacking in enumerate((-1, 3)):
        factory.series(
            tmp_path,
            voxels[n],
            modality="MR",
            prefix=f"e{n}",
            EchoTime=10.0 * (n + 1),
            first_number=1 + 8 * n,
            edit=lambda z, _, lacking=lacking: z != lacking,
        )
    assert [entry.problem is None for entry in scan(tmp_path).entries] == [True, False]
    policy = ReadPolicy(missing="interpolate", duplicates="keep_last")
    first, second = read_all(tmp_path, policy=policy)
    np.testing.assert_array_equal(first.array, voxels[0])
    assert "MISSING_INTERPOLATED" in _codes(second)
    assert second.array.shape == first.array.shape
    assert read(tmp_path, stacked=True, policy=policy).array.shape == (2, 8, 6, 5)
    with pytest.raises(InputError, match="missing"):
        read(tmp_path, stacked=True)


def test_two_acquisitions_with_a_gap_between_them_are_not_guessed_apart(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(9), edit=lambda n, ds: _acquired(n, ds))
    with pytest.raises(InputError, match="2 missing"):
        read(tmp_path)
    assert [len(volume.array) for volume in read_all(tmp_path, policy=ReadPolicy(missing="split"))] == [4, 3]


def _acquired(n: int, ds: Any) -> bool:
    ds.AcquisitionNumber = 1 if n < 4 else 2
    return n not in (4, 5)


def test_shapes_that_differ_are_told_before_reading(tmp_path: Path, factory: ModuleType) -> None:
    for n, count in enumerate((4, 6)):
        factory.series(
            tmp_path,
            factory.planes(count),
            modality="MR",
            prefix=f"e{n}",
            EchoTime=10.0 * (n + 1),
            first_number=1 + 10 * n,
        )
    with pytest.raises(InputError, match=r"its shape is \(6, 6, 5\), that of the first \(4, 6, 5\)"):
        read(tmp_path, stacked=True)


def test_stacking_what_is_one(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(4)
    factory.series(tmp_path, voxels, modality="MR")
    assert read(tmp_path, stacked=True).array.shape == (1, 4, 6, 5)


def test_nearly_equal_orientations_are_one(tmp_path: Path, factory: ModuleType) -> None:
    rng = np.random.default_rng(0)

    def turn(_: int, ds: Any) -> None:
        turned = np.asarray([1, 0, 0, 0, 1, 0]) + rng.uniform(-2e-5, 2e-5, 6)
        ds.ImageOrientationPatient = [f"{value:.7f}" for value in turned]

    factory.series(tmp_path, factory.planes(9), edit=turn)
    volume = read(tmp_path)
    assert volume.array.shape == (9, 6, 5)
    assert set(_codes(volume)) <= {"COSINES_REPAIRED"}
