"""``medimg report protocol``: what will be asked of the test set, written down and hashed before it is opened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from rich.console import Console

from medimg.errors import ConfigError, InputError
from medimg.evaluation.foreign.calls import rows_digest
from medimg.evaluation.foreign.predictions import read_foreign
from medimg.evaluation.metrics.classification import choose_threshold
from medimg.evaluation.protocol import FrozenProtocol, Protocol, check_frozen, declare, freeze
from medimg.io.atomic import replacing
from medimg.pipelines.config import ReportConfig
from medimg.pipelines.report_config import report_config

_ENDPOINTS = "evaluation.endpoints=[{metric: auc, target: TARGET, primary: true, floor: 0.8, gap_margin: 0.1}]"


def main(overrides: Sequence[str]) -> int:
    """Freeze the protocol of ``evaluation`` with its thresholds, and write it to ``output``."""
    config = report_config(overrides)
    path = Path(config.output)
    if path.exists():
        raise InputError(
            "A protocol is written once.",
            where=path.absolute(),
            got="a file of this name",
            fix="freeze another protocol under another name; keep this one",
        )
    frozen = frozen_protocol(config)
    with replacing(path) as part:
        part.write_text(json.dumps(frozen.model_dump(mode="json"), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if config.json:
        stated = {"protocol": str(path), "sha256": frozen.sha256, "frozen_at": frozen.frozen_at.isoformat()}
        print(json.dumps({**stated, "thresholds": frozen.thresholds}))
        return 0
    print(frozen.sha256)
    thresholds = ", ".join(f"{name} {value:g}" for name, value in frozen.thresholds.items()) or "none"
    Console(stderr=True).print(
        f"{path}: frozen {frozen.frozen_at:%Y-%m-%d %H:%M:%S} UTC with {len(frozen.declared.endpoints)} endpoints; "
        f"thresholds: {thresholds}. Now predict the test set, then: medimg report predictions=… protocol={path}",
        soft_wrap=True,
    )
    return 0


def frozen_protocol(config: ReportConfig) -> FrozenProtocol:
    """Return the protocol that ``evaluation`` declares, with thresholds as declared or fixed on ``tuning``.

    Raises
    ------
    ConfigError
        No endpoint is declared, a key is wrong, or thresholds come from the test split.
    InputError
        The table of tuning predictions cannot be used.
    """
    if not config.evaluation.get("endpoints"):
        raise ConfigError(
            "A protocol declares at least one endpoint, with what it has to reach.",
            where="evaluation.endpoints",
            fix=f"add '{_ENDPOINTS}', or settings=FILE.yaml with the key evaluation",
        )
    declared = declare(config.evaluation)
    if config.tuning is None:
        source = config.thresholds_from or "declared"
        return freeze(declared, config.thresholds, package_digest="", thresholds_from=source)
    if config.thresholds_from not in (None, "tuning"):
        raise ConfigError(
            "Thresholds are fixed on the tuning split or declared, not both.",
            where="thresholds_from, tuning",
            got=config.thresholds_from,
            fix="leave thresholds_from out",
        )
    thresholds, digest = _fitted(config, declared)
    # A threshold that is declared outdoes one that could be fitted.
    return freeze(declared, {**thresholds, **config.thresholds}, package_digest="", tuning_sha256=digest)


def _fitted(config: ReportConfig, declared: Protocol) -> tuple[dict[str, float], str]:
    foreign = read_foreign(str(config.tuning), config, declared, {})
    rule: Literal["sensitivity", "youden"] = "sensitivity" if declared.threshold_rule == "sensitivity" else "youden"
    rows = foreign.cases
    if not {"truth", "score"} <= set(rows):
        raise InputError(
            "Thresholds are fixed on truth and score, and this table lacks one of them.",
            where=foreign.table.path,
            got=f"columns {', '.join(foreign.table.frame.columns[:30])}",
            fix="name both: columns.truth=NAME columns.score=NAME",
        )
    rows = rows[rows["truth"].notna() & rows["score"].notna()]
    found = {}
    for target, mine in rows.groupby("target", sort=True):
        truth = mine["truth"].to_numpy() == 1
        found[str(target)] = choose_threshold(truth, mine["score"].to_numpy(float), rule, declared.threshold_target)
    return found, rows_digest(foreign.cases)


def read_protocol(path: str | Path) -> FrozenProtocol:
    """Read a frozen protocol, and refuse one that was changed.

    Raises
    ------
    InputError
        The file is missing, no protocol, or its digest does not match.
    """
    path = Path(path)
    try:
        frozen = FrozenProtocol.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "The protocol cannot be read.",
            where=path.absolute(),
            got=error.strerror,
            fix="freeze one before the test set is predicted: medimg report protocol output=protocol.json …",
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            "This file is no frozen protocol.",
            where=path,
            got=str(error).splitlines()[0],
            fix="give the file that medimg report protocol wrote",
        ) from error
    check_frozen(frozen)
    return frozen
