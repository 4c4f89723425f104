"""``medimg deidentify``: a folder of DICOM files becomes a folder of de-identified ones. No torch is imported."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from medimg.errors import InputError
from medimg.pacs.deidentify.keyed import read_key, write_key
from medimg.pacs.deidentify.report import FileRecord
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.tree import REPORT, deidentify_tree
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.steps import console

INPUT_ERROR = InputError.exit_code


@dataclass
class DeidentifyConfig(DeidentifySettings):
    """What is de-identified and where it goes; ``ancestry`` and ``index`` are tables outside the output, if wanted."""

    input: str = MISSING
    output: str = MISSING
    key: str = MISSING
    new_key: bool = False
    ancestry: str | None = None
    index: str | None = None
    json: bool = False


def main(overrides: Sequence[str]) -> int:
    """De-identify ``input`` into ``output``; exit code 3 where a file could not be made safe (unless skipped)."""
    ConfigStore.instance().store(group="schema", name="deidentify", node=DeidentifyConfig, package="_global_")
    config: DeidentifyConfig = typed(compose("deidentify", overrides))
    source, output, key = Path(config.input), Path(config.output), Path(config.key)
    if config.new_key:
        write_key(key, source, output)
    settings = _settings(config)
    records = deidentify_tree(
        source,
        output,
        read_key(key, source, output),
        settings,
        ancestry=Path(config.ancestry) if config.ancestry else None,
        index=Path(config.index) if config.index else None,
    )
    totals = Counter(record.status for record in records)
    if config.json:
        print(json.dumps({"totals": totals, "report": str(output / REPORT)}))
    else:
        _tell(records, totals, output)
    failed = totals["refused"] + totals["unreadable"]
    return INPUT_ERROR if failed and settings.on_error == "fail" else 0


def _settings(config: DeidentifyConfig) -> DeidentifySettings:
    names = [field.name for field in dataclasses.fields(DeidentifySettings)]
    return DeidentifySettings(**{name: getattr(config, name) for name in names})


def _tell(records: list[FileRecord], totals: Counter[str], output: Path) -> None:
    """Print the totals and the reasons; input paths may hold names, so files go by their number."""
    console.print(", ".join(f"{count} {status}" for status, count in sorted(totals.items())) or "no files")
    reasons: dict[tuple[str, str], list[int]] = {}
    for record in records:
        for reason in [record.reason, *record.flags]:
            if reason:
                reasons.setdefault((record.status, reason), []).append(record.number)
    for (status, reason), numbers in sorted(reasons.items()):
        shown = ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
        console.print(f"  {status}: {reason} (file {shown})")
    console.print(f"report: {output / REPORT}")
