"""Train on one synthetic population, test on the others, with a control for the number of pictures.

A small pixel classifier (twelve colour and scale features, two hidden layers of 48) learns to find lesions on
simulated fundus photographs of diseased eyes, all taken by one camera with fixed exposure. Four kinds of training:

* population A only, 36 pictures;
* population A only, 108 pictures: the volume control, as many pictures as the pooled training has;
* populations A, B and C together, 36 pictures each;
* populations A, B and C together, 12 pictures each: as many pictures as the first.

Each is tested on new eyes of each population by average precision over pixels. The populations are an assumption of
the simulator: this shows a mechanism and is no evidence about people.

    python scripts/studies/population_gap.py --output population_gap.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg.samples.fundus import render_fundus
from medimg.samples.fundus_optics import CAMERAS
from medimg.samples.people import POPULATIONS, draw_pigment

Floats = NDArray[np.float64]
Pictures = list[tuple[Floats, NDArray[np.bool_]]]

PER_SITE, TEST_PICTURES = 36, 30
LEAST_SEVERITY, MOST_SEVERITY = 0.0, 2.0
BACKGROUND_PER_LESION_PIXEL = 6
TEST_SEED = 99
CONDITIONS = {
    "A only, 36": {"A": PER_SITE},
    "A only, 108 (volume control)": {"A": 3 * PER_SITE},
    "A+B+C pooled, 3 x 36": dict.fromkeys(POPULATIONS, PER_SITE),
    "A+B+C pooled, 3 x 12": dict.fromkeys(POPULATIONS, PER_SITE // 3),
}


def features(rgb: NDArray[np.uint8]) -> Floats:
    """Return (H, W, 12): colours at three scales and their difference from the neighbourhood."""
    picture = rgb.astype(np.float64) / 255
    scales = [ndimage.gaussian_filter(picture, (sigma, sigma, 0)) for sigma in (0.7, 1.5, 5.0)]
    return np.concatenate([*scales, scales[0] - scales[2]], axis=-1)


def draw_pictures(population: str, count: int, seed: int) -> Pictures:
    """Return features (N, 12) and truth (N,) of the pixels inside each picture's field of view."""
    pictures = []
    for index in range(count):
        key = (POPULATIONS.index(population), index)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
        severity = float(rng.uniform(LEAST_SEVERITY, MOST_SEVERITY))
        image = render_fundus(draw_pigment(population, rng), severity, CAMERAS["site-1"], rng)
        lesion = np.logical_or.reduce(list(image.masks.values()))
        pictures.append((features(image.rgb)[image.field_of_view], lesion[image.field_of_view]))
    return pictures


def train(pictures: Pictures, seed: int) -> object:
    """Fit the classifier on all lesion pixels and a sample of the background."""
    rng = np.random.default_rng(seed)
    inputs, targets = [], []
    for pixels, lesion in pictures:
        background = np.flatnonzero(~lesion)
        wanted = min(background.size, BACKGROUND_PER_LESION_PIXEL * max(int(lesion.sum()), 40))
        chosen = np.concatenate([np.flatnonzero(lesion), rng.choice(background, wanted, replace=False)])
        inputs.append(pixels[chosen])
        targets.append(lesion[chosen])
    network = MLPClassifier((48, 48), batch_size=512, learning_rate_init=2e-3, max_iter=12, random_state=seed)
    model = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.concatenate(inputs), np.concatenate(targets))
    return model


def average_precision(model: object, pictures: Pictures) -> float:
    """Return the average precision over all pixels of the pictures."""
    scores = [model.predict_proba(pixels)[:, 1] for pixels, _ in pictures]  # type: ignore[attr-defined]
    return float(average_precision_score(np.concatenate([t for _, t in pictures]), np.concatenate(scores)))


def run(seeds: int) -> list[dict[str, object]]:
    """Train and test every condition with every seed; return one row a condition, seed and test population."""
    tests = {population: draw_pictures(population, TEST_PICTURES, TEST_SEED) for population in POPULATIONS}
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        pool = {"A": draw_pictures("A", 3 * PER_SITE, seed)}
        pool.update({name: draw_pictures(name, PER_SITE, seed) for name in ("B", "C")})
        for condition, counts in CONDITIONS.items():
            pictures = [picture for name, count in counts.items() for picture in pool[name][:count]]
            model = train(pictures, seed)
            for population, held_out in tests.items():
                value = average_precision(model, held_out)
                rows.append({"training": condition, "seed": seed, "tested_on": population, "average_precision": value})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Return the mean and standard deviation over seeds as a Markdown table."""
    lines = ["| training pictures | A | B | C |", "|---|---|---|---|"]
    for condition in CONDITIONS:
        cells = []
        for population in POPULATIONS:
            values = [
                float(str(row["average_precision"]))
                for row in rows
                if row["training"] == condition and row["tested_on"] == population
            ]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1 if len(values) > 1 else 0):.3f}")
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the study, print the table, write every value."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("population_gap.csv"), help="CSV with one row a result")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    start = time.perf_counter()
    rows = run(arguments.seeds)
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))
    print(f"\nAverage precision, mean ± SD over {arguments.seeds} seeds; {time.perf_counter() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
