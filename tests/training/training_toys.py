"""Small cases, networks and settings for the tests of training."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from medimg.data.preparation import Intensity
from medimg.training.settings import FitSettings

WINDOW = Intensity(rule="window", low=-100, high=300, mean=(50.0,), std=(80.0,))


@dataclass
class ToyCase:
    case_id: str
    image: Any
    label: Any = None
    boxes: Any = None
    box_labels: Any = None
    classes: dict[str, float] = field(default_factory=dict)
    foreground: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)


def blob_cases(count: int, shape: tuple[int, ...] = (32, 32), seed: int = 0) -> list[ToyCase]:
    """Return noisy int16 images with one bright box each (absent in every fourth), class 1 where it is large."""
    generator = np.random.default_rng(seed)
    cases = []
    for number in range(count):
        image = generator.normal(0, 30, (1, *shape)).astype(np.int16)
        label = np.zeros(shape, np.uint8)
        side = int(generator.integers(4, 12))
        if number % 4 != 3:
            corner = [int(generator.integers(0, n - side + 1)) for n in shape]
            inside = tuple(slice(c, c + side) for c in corner)
            image[(0, *inside)] += 150
            label[inside] = 1
        points = np.argwhere(label).astype(np.int32)
        present = float(len(points) > 0)
        cases.append(
            ToyCase(
                f"case{number:02d}",
                image,
                label,
                classes={"lesion": present, "grade": float(number % 3)},
                foreground={"blob": points} if len(points) else {},
                stats={"mean": [float(image.mean())], "std": [float(image.std())]},
            )
        )
    return cases


class ToyNet(nn.Module):
    """Three convolutions; with dropout, so that the tests of resuming see its random numbers."""

    def __init__(self, dims: int = 2, out: int = 2, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        bn = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
        self.encoder = nn.Sequential(
            conv(1, 8, 3, padding=1), bn(8) if norm else nn.Identity(), nn.ReLU(), conv(8, 8, 3, padding=1), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = conv(8, out, 3, padding=1)
        self.divisor = (2,) * dims

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.encoder(x)))


class ToyClassifier(nn.Module):
    def __init__(self, out: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU())
        self.head = nn.Linear(16, out)
        self.divisor = (1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = self.features(x)
        return self.head(torch.cat([f.amax((2, 3)), f.mean((2, 3))], dim=1))


def toy_net(**options: Any) -> ToyNet:
    torch.manual_seed(7)
    return ToyNet(**options)


def toy_settings(**changes: Any) -> FitSettings:
    defaults: dict[str, Any] = {
        "steps": 12,
        "batch_size": 4,
        "patch": (16, 16),
        "learning_rate": 3e-3,
        "validate_every_steps": 6,
        "checkpoint_every_steps": 4,
        "log_every_steps": 2,
        "workers": 0,
        "loggers": (),
        "progress": False,
        "accelerator": "cpu",
    }
    return FitSettings(**{**defaults, **changes})


def digest(path: Path) -> str:
    """Return the SHA-256 of all tensors of a safetensors file."""
    from safetensors.torch import load_file

    total = hashlib.sha256()
    for name, value in sorted(load_file(str(path)).items()):
        total.update(name.encode() + value.contiguous().numpy().tobytes())
    return total.hexdigest()


def wait_for_end(number: int, seconds: float = 60) -> None:
    """Wait until a process is gone."""
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(number):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {number} goes on")
        time.sleep(0.02)
