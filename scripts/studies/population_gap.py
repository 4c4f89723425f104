"""Train on one synthetic population, test on the others, with controls for the number of pictures.

A small convolutional network learns to outline lesions (microaneurysms, haemorrhages and exudates together) on
simulated fundus photographs of diseased eyes, all taken by one camera with fixed exposure. Four trainings of equally
many steps:

* population A only, 36 pictures;
* population A only, 108 pictures: the volume control, as many pictures as the pooled training has;
* populations A, B and C pooled, 12 pictures each: as many pictures as the first;
* populations A, B and C pooled, 36 pictures each.

Each is tested on new eyes of each population: mean Dice at the threshold 0.5, and average precision over pixels. The
populations are an assumption of the simulator: this shows a mechanism and is no evidence about people. Lesions are
smaller than in data_samples/ (``--lesion-scale 1`` for that size), since large ones are found whatever the pigment.

    python scripts/studies/population_gap.py --output population_gap.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from medimg.samples.fundus import render_fundus
from medimg.samples.fundus_optics import CAMERAS
from medimg.samples.people import POPULATIONS, draw_pigment

PER_POPULATION, TEST_PICTURES = 36, 30
LEAST_SEVERITY, MOST_SEVERITY = 0.0, 2.0  # grades 2 to 4
STEPS, BATCH, LEARNING_RATE = 150, 4, 4e-3
TEST_SEED = 99
CONDITIONS = {
    "A only, 36": {"A": PER_POPULATION},
    "A only, 108 (volume control)": {"A": 3 * PER_POPULATION},
    "A+B+C pooled, 3 x 12": dict.fromkeys(POPULATIONS, PER_POPULATION // 3),
    "A+B+C pooled, 3 x 36": dict.fromkeys(POPULATIONS, PER_POPULATION),
}
Pictures = tuple[Tensor, Tensor]
Row = dict[str, object]


def draw_pictures(population: str, count: int, seed: int, lesion_scale: float) -> Pictures:
    """Return pictures (B, 3, H, W), scaled to about -2..2, and lesion masks (B, 1, H, W) of diseased eyes."""
    images, masks = [], []
    for index in range(count):
        key = (POPULATIONS.index(population), index)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
        severity = float(rng.uniform(LEAST_SEVERITY, MOST_SEVERITY))
        eye = render_fundus(draw_pigment(population, rng), severity, CAMERAS["site-1"], rng, lesion_scale=lesion_scale)
        images.append((eye.rgb.astype(np.float32) / 255 - 0.45) / 0.225)
        masks.append(np.logical_or.reduce(list(eye.masks.values())))
    return (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack(masks)).float()[:, None],
    )


def make_network() -> nn.Sequential:
    """Return five convolutions with dilation up to 4 and a sigmoid output's logit."""
    layers: list[nn.Module] = []
    for inputs, outputs, dilation in ((3, 16, 1), (16, 16, 1), (16, 24, 2), (24, 24, 4), (24, 24, 1)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(24, 1, 1))


def train(pictures: Pictures, seed: int) -> nn.Sequential:
    """Fit the network with cross-entropy plus Dice loss; flips are the only augmentation."""
    images, masks = pictures
    torch.manual_seed(seed)
    network, generator = make_network(), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        flips = [axis for axis in (2, 3) if torch.rand((), generator=generator) < 0.5]
        target = masks[chosen].flip(flips)
        logits = network(images[chosen].flip(flips))
        share = torch.sigmoid(logits)
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, target, pos_weight=torch.tensor(3.0))
        loss = cross_entropy + 1 - 2 * (share * target).sum() / (share.sum() + target.sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def score(network: nn.Sequential, pictures: Pictures) -> dict[str, float]:
    """Return the mean Dice at 0.5 and the average precision over all pixels."""
    images, masks = pictures
    logits, truth = network(images), masks > 0.5
    found = logits > 0
    dice = 2 * (found & truth).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + truth.sum((1, 2, 3)))
    precision = average_precision_score(truth.numpy().ravel(), logits.numpy().ravel())
    return {"dice": float(dice.mean()), "average_precision": float(precision)}


def run(seeds: int, lesion_scale: float) -> list[Row]:
    """Train and test every condition with every seed; return one row a condition, seed and test population."""
    tests = {
        population: draw_pictures(population, TEST_PICTURES, TEST_SEED, lesion_scale) for population in POPULATIONS
    }
    rows: list[Row] = []
    for seed in range(seeds):
        pool = {"A": draw_pictures("A", 3 * PER_POPULATION, seed, lesion_scale)}
        pool.update({name: draw_pictures(name, PER_POPULATION, seed, lesion_scale) for name in ("B", "C")})
        for condition, counts in CONDITIONS.items():
            parts = [(pool[name][0][:count], pool[name][1][:count]) for name, count in counts.items()]
            network = train((torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])), seed)
            for population, held_out in tests.items():
                row: Row = {"training": condition, "seed": seed, "tested_on": population}
                rows.append({**row, **score(network, held_out)})
    return rows


def table(rows: list[Row], measure: str) -> str:
    """Return the mean and standard deviation over seeds as a Markdown table."""
    lines = [f"| training ({measure}) | A | B | C |", "|---|---|---|---|"]
    for condition in CONDITIONS:
        cells = []
        for population in POPULATIONS:
            chosen = [row for row in rows if row["training"] == condition and row["tested_on"] == population]
            values = np.array([row[measure] for row in chosen], dtype=float)
            spread = values.std(ddof=1) if values.size > 1 else 0.0
            cells.append(f"{values.mean():.3f} ± {spread:.3f}")
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the study, print the tables, write every value."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("population_gap.csv"), help="CSV with one row a result")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lesion-scale", type=float, default=0.6, help="size of lesions; 1 as in data_samples/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    rows = run(arguments.seeds, arguments.lesion_scale)
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for measure in ("dice", "average_precision"):
        print(table(rows, measure), end="\n\n")
    print(f"Mean ± SD over {arguments.seeds} seeds; {time.process_time() - start:.0f} s of one core.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
