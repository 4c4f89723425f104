"""``medimg samples``: write the generated samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import SamplesConfig
from medimg.pipelines.steps import console
from medimg.samples.generate import generate


def main(overrides: Sequence[str]) -> int:
    """Generate ``modalities`` into ``output``; the same seed gives the same bytes."""
    config: SamplesConfig = typed(compose("samples", overrides))
    generate(Path(config.output), seed=config.seed, modalities=config.modalities, subjects=config.subjects)
    files = [path for path in Path(config.output).rglob("*") if path.is_file()]
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    console.print(f"{config.output}: {len(files)} files, {size_mb:.1f} MB, generated from seed {config.seed}")
    return 0
