"""``medimg report summary`` and ``summaries=…``: the report of several sites whose rows stay where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from medimg.errors import ConfigError, InputError
from medimg.evaluation.document import ModelInfo, Report, TaskInfo
from medimg.evaluation.protocol import FrozenProtocol
from medimg.evaluation.sites.histograms import build_from_summaries
from medimg.evaluation.sites.summary import SiteSummary, read_summary, summarise_site, write_summary
from medimg.pipelines.config import ReportConfig
from medimg.pipelines.report_config import report_config
from medimg.pipelines.report_foreign import checked_predictions, lesion_table
from medimg.pipelines.report_protocol import read_protocol


def main(overrides: Sequence[str]) -> int:
    """Count ``predictions``, or the tables of ``run``, and write the counts to ``output``: what a site sends."""
    config = report_config(overrides)
    if not config.sender:
        raise ConfigError("A summary says which site it comes from.", where="sender", fix="add sender=NAME_OF_THE_SITE")
    if bool(config.run) == bool(config.predictions):
        raise ConfigError(
            "A summary counts one thing.",
            where="run, predictions",
            fix="add run=FOLDER (of train or evaluate), or predictions=TABLE protocol=PROTOCOL.json",
        )
    summary = _of_run(config) if config.run else _of_predictions(config)
    path = write_summary(summary, Path(config.output))
    withheld = "groups below the limit are withheld" if summary.protected else "nothing is withheld"
    Console(stderr=True).print(f"{path}: counts of {config.sender}; {withheld}", soft_wrap=True)
    return 0


def _of_predictions(config: ReportConfig) -> SiteSummary:
    checked = checked_predictions(config)
    return summarise_site(
        checked.foreign.cases,
        checked.subjects,
        checked.frozen,
        sender=str(config.sender),
        lesions=lesion_table(config.lesions),
    )


def _of_run(config: ReportConfig) -> SiteSummary:
    run = Path(str(config.run))
    frozen = read_protocol(config.protocol or run / "protocol.json")
    tables = {}
    for name in ("cases", "subjects", "lesions"):
        try:
            tables[name] = pd.read_parquet(run / "tables" / f"{name}.parquet")
        except (OSError, ValueError) as error:
            raise InputError(
                "This folder holds no evaluation tables.",
                where=run / "tables",
                got=str(error).splitlines()[0],
                fix="give a folder that medimg train or medimg evaluate wrote",
            ) from error
    failures = pd.read_csv(run / "tables" / "failures.csv", dtype=str)
    unreadable = int((~failures["case_id"].isin(tables["cases"]["case_id"].astype(str))).sum())
    return summarise_site(
        tables["cases"],
        tables["subjects"],
        frozen,
        sender=str(config.sender),
        lesions=tables["lesions"] if len(tables["lesions"]) else None,
        n_unreadable=unreadable,
    )


def report_on_summaries(config: ReportConfig) -> Report:
    """Return the report on the counts of several sites (``summaries``) under their one ``protocol``.

    Raises
    ------
    ConfigError, InputError
        The protocol is missing or another than the sites', or a summary does not hold together.
    """
    if config.protocol is None:
        raise ConfigError(
            "Summaries need the protocol that the sites counted under.", where="protocol", fix="add protocol=FILE.json"
        )
    frozen = read_protocol(config.protocol)
    paths = [Path(path) for path in config.summaries]
    summaries = [read_summary(path) for path in paths]
    report = build_from_summaries(
        summaries, protocol=frozen, model=_model(config, frozen, paths), task=_task(summaries)
    )
    senders = ", ".join(sorted(sender for summary in summaries for sender in summary.senders))
    told = f"counts sent by {senders}; every site saw to it that its predictions are younger than the protocol"
    return report.model_copy(update={"settings": {**report.settings, "predictions": told}})


def _model(config: ReportConfig, frozen: FrozenProtocol, paths: Sequence[Path]) -> ModelInfo:
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return ModelInfo(
        name=config.model.name or "model of several sites",
        version=config.model.version,
        package_digest=frozen.package_digest,
        weights_sha256="",
        predictions_sha256=hashlib.sha256("".join(digests).encode()).hexdigest(),
        intended_use=config.model.intended_use,
        modality=config.model.modality,
    )


def _task(summaries: Sequence[SiteSummary]) -> TaskInfo:
    tasks = {target: task for summary in summaries for target, task in summary.tasks.items()}
    kind = next(iter(tasks.values()))
    mode = {"segmentation": "multilabel", "detection": "boxes"}.get(kind, "multilabel" if len(tasks) > 1 else "binary")
    return TaskInfo(kind=kind, mode=mode, labels=sorted(tasks))
