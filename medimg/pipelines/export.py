"""``medimg export``: a finished run becomes a sealed package, or exit 4 with the reasons."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from medimg.errors import InputError
from medimg.evaluation.document import read_report
from medimg.packaging.package import CANDIDATE_SUFFIX, ModelPackage
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import ExportConfig
from medimg.pipelines.release import refuse, release
from medimg.pipelines.steps import console


def main(overrides: Sequence[str]) -> int:
    """Seal the candidate of ``run`` into ``output``; with ``--candidate`` write it marked NOT VALIDATED instead."""
    words = ["candidate=true" if word == "--candidate" else word for word in overrides]
    config: ExportConfig = typed(compose("export", words))
    run, output = Path(config.run), Path(config.output)
    candidate = ModelPackage.open(find_candidate(run))
    report = read_report(run / "report" / "report.json")
    output.mkdir(parents=True, exist_ok=True)
    outcome = release(candidate, report, run, output, key=Path(config.key) if config.key else None)
    if not outcome["sealed"]:
        if not config.candidate:
            raise refuse(outcome)
        outcome["package"] = str(copy_candidate(candidate, output))
    if config.json:
        print(json.dumps(outcome))
    else:
        state = "sealed" if outcome["sealed"] else "candidate, NOT VALIDATED"
        console.print(f"{state}: {outcome['package']} ({outcome['status'].replace('_', ' ')})")
    return 0


def find_candidate(run: Path) -> Path:
    """Return the candidate package of a run.

    Raises
    ------
    InputError
        The run has none, or more than one.
    """
    found = sorted(run.glob(f"*{CANDIDATE_SUFFIX}"))
    if len(found) != 1:
        raise InputError(
            "this run holds no candidate package" if not found else "this run holds several candidates",
            where=run.resolve(),
            fix="finish it first: medimg train resume=<run>",
        )
    return found[0]


def copy_candidate(candidate: ModelPackage, output: Path) -> Path:
    """Copy a candidate beside its final name, check the copy, then rename it."""
    final = output / candidate.folder.name
    if final.exists():
        raise InputError("a package of this name is there already", where=final, fix="choose another output folder")
    part = final.with_name(final.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(candidate.folder, part)
    ModelPackage.open(part)
    part.rename(final)
    return final
