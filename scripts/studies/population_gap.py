"""Train on one synthetic population, test on the others, with controls for the number of pictures.

A detector learns to find lesions (microaneurysms, haemorrhages and exudates together) on simulated fundus photographs
of diseased eyes. Four trainings of equally many steps:

* population A only, 36 pictures;
* population A only, 108 pictures: the volume control, as many pictures as the largest pooled training has;
* populations A, B and C pooled, 12 pictures each: as many pictures as the first;
* populations A, B and C pooled, 36 pictures each.

Each is tested on new eyes, the same ones in each population: vessels and lesions are equal. By default each
population is photographed at its own place, as in life: A, B and C differ in melanin and in the white balance,
exposure and sharpness of their hospital's camera. ``--cameras one`` photographs all at the first place, which
isolates the melanin. The measure is average precision over the pixels of all test pictures, for all lesions
together and for haemorrhages alone (the other lesions' pixels are then left out).

The setting: 96 pixels, lesions within the sizes at which a microaneurysm is no wider than a vein (microaneurysms
0.7-1.0 px, haemorrhages 1.2-2.3 px in radius; ``--lesion-scale 1`` for the larger ones of data_samples/), grades 2
and 3, fixed exposure, and a detector that judges each pixel from its colour at four scales. ``--detector network``
trains a small convolutional network, which sees shape too, on the same eyes instead. Trained on A at its place, the
detector fails on C at its place, and more pictures of A do not help; with one camera for all the loss is small.
What was measured stands in data_samples/README.md. The populations are an assumption of the simulator: this shows a
mechanism and is no evidence about people.

    python scripts/studies/population_gap.py --output population_gap.csv

Legend: B pictures, C channels, H rows, W columns, N pixels, F features.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from medimg.samples.fundus import LESIONS, render_fundus
from medimg.samples.fundus_optics import CAMERAS
from medimg.samples.people import POPULATIONS, draw_pigment

Floats = NDArray[np.float32]
Detector = Callable[[Floats], Floats]
Row = dict[str, str | int | float]

PER_POPULATION, TEST_PICTURES = 36, 30
LEAST_SEVERITY, MOST_SEVERITY = 0.0, 1.25  # grades 2 and 3
LESION_SCALE = 0.63
TEST_SEED = 99
SCALES_PX = (0.0, 1.0, 2.0, 6.0)
PIXEL_STEPS, LESION_BATCH, OTHER_BATCH, PIXEL_RATE = 1500, 256, 768, 3e-3
NETWORK_STEPS, NETWORK_BATCH, NETWORK_RATE = 150, 4, 4e-3
MEASURES = {"ap_all": "all lesions", "ap_haemorrhage": "haemorrhages alone"}
CONDITIONS = {
    "A only, 36": {"A": PER_POPULATION},
    "A only, 108 (volume control)": {"A": 3 * PER_POPULATION},
    "A+B+C pooled, 3 x 12": dict.fromkeys(POPULATIONS, PER_POPULATION // 3),
    "A+B+C pooled, 3 x 36": dict.fromkeys(POPULATIONS, PER_POPULATION),
}
POOLED = "A+B+C pooled, 3 x 36"
PLACES = {
    "one": dict.fromkeys(POPULATIONS, "site-1"),
    "own": dict(zip(POPULATIONS, ("site-1", "site-2", "site-3"))),
}


@dataclass(frozen=True)
class Pictures:
    """Photographs (B, H, W, 3) in 0..1, lesion kind (B, H, W), 0 = none else 1 + place in LESIONS, and field (H, W)."""

    images: Floats
    kinds: NDArray[np.uint8]
    field: NDArray[np.bool_]

    def first(self, count: int) -> Pictures:
        """Return the first ``count`` pictures."""
        return Pictures(self.images[:count], self.kinds[:count], self.field)


def draw_pictures(
    population: str, count: int, key: tuple[int, ...], lesion_scale: float, cameras: str = "own"
) -> Pictures:
    """Photograph ``count`` diseased eyes; the same ``key`` gives the same eyes, but for the melanin, to everyone."""
    images, kinds, field = [], [], None
    for index in range(count):
        rng = np.random.default_rng([*key, index, 0])
        pigment = draw_pigment(population, np.random.default_rng([*key, index, 1]))
        severity = float(rng.uniform(LEAST_SEVERITY, MOST_SEVERITY))
        eye = render_fundus(pigment, severity, CAMERAS[PLACES[cameras][population]], rng, lesion_scale=lesion_scale)
        images.append(eye.rgb.astype(np.float32) / 255)
        kind = np.zeros(eye.rgb.shape[:2], dtype=np.uint8)
        for number, name in enumerate(LESIONS, start=1):
            kind[eye.masks[name]] = number
        kinds.append(kind)
        field = eye.field_of_view
    if field is None:
        raise ValueError("count must be at least 1")
    return Pictures(np.stack(images), np.stack(kinds), field)


def pool(parts: list[Pictures]) -> Pictures:
    """Join pictures of several populations."""
    images, kinds = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "kinds"))
    return Pictures(images, kinds, parts[0].field)


def colour_features(images: Floats) -> Floats:
    """Return (B, H, W, 12): red, green and blue, as they are and after Gaussian smoothing of 1, 2 and 6 px."""
    smoothed = [ndimage.gaussian_filter(images, (0, scale, scale, 0)) for scale in SCALES_PX]
    return np.concatenate(smoothed, axis=-1)


def fit_pixels(pictures: Pictures, seed: int) -> Detector:
    """Fit a perceptron 12-48-48-1 to the pixels inside the field and return what scores pictures with it.

    A quarter of each batch are lesion pixels: a constant shift of the logit, to which average precision is blind.
    """
    rows = torch.from_numpy(colour_features(pictures.images)[:, pictures.field].reshape(-1, 3 * len(SCALES_PX)))
    is_lesion = torch.from_numpy(pictures.kinds[:, pictures.field].ravel() > 0)
    lesion, other = torch.nonzero(is_lesion)[:, 0], torch.nonzero(~is_lesion)[:, 0]
    target = torch.cat([torch.ones(LESION_BATCH), torch.zeros(OTHER_BATCH)])
    centre, spread = rows.mean(0), rows.std(0)
    rows = (rows - centre) / spread
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    layers = (nn.Linear(rows.shape[1], 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    perceptron = nn.Sequential(*layers)
    optimiser = torch.optim.Adam(perceptron.parameters(), PIXEL_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, PIXEL_STEPS)
    for _ in range(PIXEL_STEPS):
        of_lesion = lesion[torch.randint(len(lesion), (LESION_BATCH,), generator=generator)]
        of_other = other[torch.randint(len(other), (OTHER_BATCH,), generator=generator)]
        logits = perceptron(rows[torch.cat([of_lesion, of_other])])[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    @torch.no_grad()
    def detect(images: Floats) -> Floats:
        features = (torch.from_numpy(colour_features(images)) - centre) / spread
        return np.asarray(perceptron(features)[..., 0].numpy())

    return detect


def make_network() -> nn.Sequential:
    """Return five convolutions with dilation up to 4 and one output, a logit."""
    layers: list[nn.Module] = []
    for inputs, outputs, dilation in ((3, 16, 1), (16, 16, 1), (16, 24, 2), (24, 24, 4), (24, 24, 1)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(24, 1, 1))


def fit_network(pictures: Pictures, seed: int) -> Detector:
    """Fit the convolutional network with cross-entropy plus Dice loss; flips are the only augmentation."""

    def channels_first(images: Floats) -> Tensor:
        return torch.from_numpy((images - 0.45) / 0.225).permute(0, 3, 1, 2)

    images, masks = channels_first(pictures.images), torch.from_numpy(pictures.kinds > 0).float()[:, None]
    torch.manual_seed(seed)
    network, generator = make_network(), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), NETWORK_RATE)
    for _ in range(NETWORK_STEPS):
        chosen = torch.randint(len(images), (NETWORK_BATCH,), generator=generator)
        flips = [axis for axis in (2, 3) if torch.rand((), generator=generator) < 0.5]
        target = masks[chosen].flip(flips)
        logits = network(images[chosen].flip(flips))
        share = torch.sigmoid(logits)
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(3.0))
        loss = cross_entropy + 1 - 2 * (share * target).sum() / (share.sum() + target.sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()

    @torch.no_grad()
    def detect(images: Floats) -> Floats:
        return np.asarray(network(channels_first(images))[:, 0].numpy())

    return detect


DETECTORS = {"pixels": fit_pixels, "network": fit_network}


def score(detect: Detector, pictures: Pictures) -> dict[str, float]:
    """Return the average precision over the pixels inside the field, for each of ``MEASURES``."""
    kinds = pictures.kinds[:, pictures.field].ravel()
    scores = detect(pictures.images)[:, pictures.field].ravel()
    haemorrhage = 1 + LESIONS.index("HE")
    counted = (kinds == 0) | (kinds == haemorrhage)
    return {
        "ap_all": float(average_precision_score(kinds > 0, scores)),
        "ap_haemorrhage": float(average_precision_score(kinds[counted] == haemorrhage, scores[counted])),
    }


def run(seeds: int, lesion_scale: float, detector: str, cameras: str) -> list[Row]:
    """Train and test every condition with every seed; return one row a condition, seed and test population."""
    tests = {name: draw_pictures(name, TEST_PICTURES, (TEST_SEED,), lesion_scale, cameras) for name in POPULATIONS}
    rows: list[Row] = []
    for seed in range(seeds):
        drawn = {
            name: draw_pictures(name, (3 if name == "A" else 1) * PER_POPULATION, (seed, place), lesion_scale, cameras)
            for place, name in enumerate(POPULATIONS)
        }
        for condition, counts in CONDITIONS.items():
            pictures = pool([drawn[name].first(count) for name, count in counts.items()])
            detect = DETECTORS[detector](pictures, seed)
            for name, held_out in tests.items():
                row: Row = {"detector": detector, "training": condition, "seed": seed, "tested_on": name}
                rows.append({**row, **score(detect, held_out)})
    return rows


def values_of(rows: list[Row], measure: str, condition: str, population: str) -> NDArray[np.float64]:
    """Return a measure of every seed, in order of the seeds."""
    chosen = [row for row in rows if row["training"] == condition and row["tested_on"] == population]
    return np.array([row[measure] for row in chosen], dtype=float)


def mean_and_spread(values: NDArray[np.float64], digits: int, unit: str = "") -> str:
    """Return mean ± standard deviation (n - 1) over seeds."""
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return f"{values.mean():.{digits}f} ± {spread:.{digits}f}{unit}"


def table(rows: list[Row], measure: str) -> str:
    """Return mean ± SD over seeds, and what C loses against A and against the pooled training on C, as Markdown."""
    lines = [
        f"| training (average precision, {MEASURES[measure]}) | A | B | C | C against A | C against pooled |",
        "|---|---|---|---|---|---|",
    ]
    best = values_of(rows, measure, POOLED, "C")
    for condition in CONDITIONS:
        by_population = {name: values_of(rows, measure, condition, name) for name in POPULATIONS}
        cells = [mean_and_spread(values, 3) for values in by_population.values()]
        for reference in (by_population["A"], best):
            cells.append(mean_and_spread(100 * (by_population["C"] / reference - 1), 0, " %"))
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the study, print the tables, write every value."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("population_gap.csv"), help="CSV with one row a result")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--detector", choices=sorted(DETECTORS), default="pixels")
    parser.add_argument("--cameras", choices=sorted(PLACES), default="own", help="one place, or each its own")
    parser.add_argument("--lesion-scale", type=float, default=LESION_SCALE, help="size; 1 as in data_samples/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    rows = run(arguments.seeds, arguments.lesion_scale, arguments.detector, arguments.cameras)
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for measure in MEASURES:
        print(table(rows, measure), end="\n\n")
    print(f"Mean ± SD over {arguments.seeds} seeds; {time.process_time() - start:.0f} s of one core.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
