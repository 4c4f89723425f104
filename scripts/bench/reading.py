"""Reading, side by side with MONAI, SimpleITK and dcm2niix: times, ratios, and whether the values agree.

python scripts/bench/reading.py [--rounds 5] [--write docs/benchmarks.md]

It makes its own scans in a temporary folder, takes under six minutes, and needs `pip install "medimg[bench]"`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, ScaleIntensityRange, Spacing
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from rounds import Contest, Peer, machine, table, versions, write_section
from scans import GAP_MM, SPACING_MM, chest_hu, write_gz, write_series

from medimg.data.preparation import Intensity, Preparation
from medimg.data.prepare import normalise, prepare
from medimg.io.read import read

PACKAGES = (
    *("medimg", "numpy", "pydicom", "imagecodecs", "isal", "monai", "torch", "SimpleITK", "dcm2niix", "nibabel"),
)
LOW_HU, HIGH_HU = -1000.0, 1000.0
PREPARATION = Preparation(
    kind="volume",
    channels=("ct",),
    spacing_mm=(2.0, 1.5, 1.5),
    intensity=Intensity(rule="window", low=LOW_HU, high=HIGH_HU, mean=(LOW_HU,), std=(HIGH_HU - LOW_HU,)),
)
_MEMORY = """
import json, re, sys
import numpy as np
from medimg.io.read import read
def peak(): return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
read(sys.argv[2]); before = peak()
array = read(sys.argv[1], dtype=np.float32 if sys.argv[3] == "float32" else None).array
print(json.dumps((peak() - before) / array.nbytes))
"""


def ours(path: Path) -> NDArray[np.float32]:
    return read(path, dtype=np.float32).array


def monai(path: Path) -> NDArray[np.float32]:
    return np.asarray(LoadImage(image_only=True, dtype=np.float32)(path))


def sitk_series(folder: Path) -> NDArray[np.float32]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(reader.Execute())


def sitk_file(path: Path) -> NDArray[np.float32]:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32))


def converted(folder: Path) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as place:
        command = [dcm2niix.bin, "-b", "n", "-z", "n", "-f", "out", "-o", place, str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return np.asarray(nib.load(Path(place, "out.nii")).get_fdata(dtype=np.float32))


def ours_prepared(folder: Path) -> NDArray[np.float32]:
    prepared = prepare({"ct": read(folder)}, PREPARATION)
    return normalise(prepared.array, PREPARATION.intensity)[0]


def monai_prepared(folder: Path, transform: Callable[[Path], object]) -> NDArray[np.float32]:
    return np.asarray(transform(folder))[0].transpose(2, 1, 0)


def same_values(truth: NDArray[np.int16], result: object) -> None:
    """Demand these values in float32, in one of the axis orders that the programs have."""
    array = np.asarray(result)
    if array.dtype != np.float32:
        raise SystemExit(f"float32 was wanted, {array.dtype} came")
    for turned in (array, array.transpose(2, 1, 0)):
        for step in ((1, 1, 1), (1, -1, 1), (-1, 1, 1), (1, -1, -1), (1, 1, -1)):
            view = turned[:: step[0], :: step[1], :: step[2]]
            if view.shape == truth.shape and np.array_equal(view[::37], truth[::37]) and np.array_equal(view, truth):
                return
    raise SystemExit("a program returned other values")


def same_prepared(truth: NDArray[np.int16], filtered: bool, off: float, result: object) -> None:
    """Demand the values of a rule at 300 random voxels of a prepared array.

    The rule is plain linear interpolation, or (``filtered``) a triangle as wide as the samples are apart.
    """
    array = np.asarray(result)
    rng = np.random.default_rng(3)
    steps = np.divide(PREPARATION.spacing_mm or (1, 1, 1), (GAP_MM, SPACING_MM, SPACING_MM))
    for place in rng.integers(0, array.shape, (300, 3)):
        cube: NDArray[np.float64] = truth
        for index, step, size in zip(place, steps, truth.shape, strict=True):
            width = max(1.0, step) if filtered else 1.0
            taps = np.arange(np.ceil(index * step - width), index * step + width).astype(int)
            weights = np.clip(1 - np.abs(taps - index * step) / width, 0, None)
            cube = np.tensordot(weights / weights.sum(), cube[np.clip(taps, 0, size - 1)], 1)
        value = np.clip((float(cube) - LOW_HU) / (HIGH_HU - LOW_HU), 0, 1)
        if array.dtype != np.float32 or abs(float(array[tuple(place)]) - value) > off:
            raise SystemExit(f"a prepared array differs at {tuple(place)}: {array[tuple(place)]} for {value}")


def contests(folder: Path) -> list[Contest]:
    volume = chest_hu(300)
    plain = write_series(volume, folder / "plain")
    found = [
        Contest(
            "DICOM series, 300 × 512 × 512, to float32 HU",
            partial(ours, plain),
            [
                Peer("MONAI LoadImage", partial(monai, plain), 20, 40),
                Peer("SimpleITK", partial(sitk_series, plain), 3.5, 7),
                Peer("dcm2niix and nibabel", partial(converted, plain), 6, 12),
            ],
            partial(same_values, volume),
        )
    ]
    for name, syntax, goal in (
        ("JPEG 2000", JPEG2000Lossless, 1.8),
        ("JPEG-LS", JPEGLSLossless, 4),
        ("RLE", RLELossless, 10),
    ):
        few = write_series(volume[::7][:40], folder / name, syntax)
        peers = [Peer("MONAI LoadImage", partial(monai, few), goal)]
        title = f"DICOM series in {name}, 40 × 512 × 512, to float32 HU"
        found.append(Contest(title, partial(ours, few), peers, partial(same_values, volume[::7][:40])))
    packed = write_gz(volume, folder / "volume.nii.gz")
    peers = [Peer("MONAI LoadImage", partial(monai, packed), 9), Peer("SimpleITK", partial(sitk_file, packed), 2)]
    title = ".nii.gz, 512 × 512 × 300 int16, to float32"
    found.append(Contest(title, partial(ours, packed), peers, partial(same_values, volume)))
    transform = Compose(
        [
            LoadImage(image_only=True),
            EnsureChannelFirst(),
            Orientation("LPS"),
            Spacing(PREPARATION.spacing_mm[::-1], mode="bilinear"),
            ScaleIntensityRange(LOW_HU, HIGH_HU, 0.0, 1.0, clip=True),
        ]
    )
    title = "DICOM series, 300 × 512 × 512, to a prepared float32 array at 1.5 × 1.5 × 2 mm"
    # medimg stores whole HU, and filters where samples get sparser, which MONAI does not.
    check = partial(same_prepared, volume, True, 0.51 / (HIGH_HU - LOW_HU))
    run, plain_check = partial(monai_prepared, plain, transform), partial(same_prepared, volume, False, 1e-4)
    peer = Peer("MONAI Compose", run, 15, check=plain_check)
    found.append(Contest(title, partial(ours_prepared, plain), [peer], check))
    return found


def memory(folder: Path) -> str:
    """Return how much the peak of a fresh process rises while it reads, in sizes of the array that comes out."""
    few = write_series(chest_hu(2), folder / "few")
    parts = []
    for name, path in (("DICOM", folder / "plain"), (".nii.gz", folder / "volume.nii.gz")):
        for dtype in ("int16", "float32"):
            command = [sys.executable, "-c", _MEMORY, str(path), str(few), dtype]
            rise = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            parts.append(f"{name} to {dtype} {rise:.2f} ×")
    return "Rise of a process's peak memory, in sizes of the array returned (goal: at most 1.5): " + ", ".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of a name: time these lines alone")
    parser.add_argument("--write", type=Path, help="Markdown file whose section on reading is replaced")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    where = machine()
    with tempfile.TemporaryDirectory() as place:
        played = [contest for contest in contests(Path(place)) if options.only in contest.name]
        for contest in played:
            contest.play(options.rounds)
            print(contest.name, {name: round(ratio, 2) for name, ratio in contest.ratios().items()}, flush=True)
        rise = memory(Path(place))
    lines = [
        "## Reading",
        "",
        f"`python scripts/bench/reading.py`, {options.rounds} interleaved rounds. Ratios are medians over the rounds,",
        "with all sorting and checks of medimg on. Every program's values were checked against the scan that was",
        "written, prepared ones against their own rule (medimg filters where samples get sparser, MONAI does not).",
        "Files are in the page cache. The script makes the scans: a chest of ellipses that compresses like a real",
        "thin-slice CT (RLE 2.1, JPEG 2000 2.5).",
        "",
        *table(played),
        "",
        f"{rise}.",
        "",
        f"{where}.",
        f"{versions(PACKAGES)}.",
    ]
    print("\n".join(lines))
    if options.write:
        write_section(options.write, "reading", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
