"""MODEL_CARD.md: what a package says about itself to people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from medimg.evaluation.document import STATUSES, Endpoint, Report
from medimg.reports.numbers import plain, with_interval
from medimg.reports.tables import endpoint_table
from medimg.reports.wording import RESEARCH_USE, STATUS_MARKS, below, confidence_words, group_name, mark_of

_PIPELINE_TAGS = {
    "segmentation": "image-segmentation",
    "classification": "image-classification",
    "detection": "object-detection",
}
_BANNER = (
    "> **NOT VALIDATED.** The held-out evaluation does not suffice to release this model. "
    "Not for any decision about a person.\n"
)


def model_card(report: Report, manifest: Mapping[str, Any]) -> str:
    """Return the model card of a package as Markdown with the front matter that model hubs read.

    Parameters
    ----------
    report : Report
        The held-out evaluation.
    manifest : mapping
        package.json of the package.

    Returns
    -------
    str
        The same inputs give the same text. A banner says NOT VALIDATED where the status is below 'validated with
        limitations'.
    """
    mark = STATUS_MARKS[report.status]
    low = STATUSES.index(report.status) > STATUSES.index("validated_with_limitations")
    parts = [
        _front_matter(report, manifest),
        f"# {escape(report.model.name)}{' ' + escape(report.model.version) if report.model.version else ''}\n",
        _BANNER if low else "",
        f"**{mark.words}.** {mark.sentence}\n\n{RESEARCH_USE}\n",
        _intended_use(report, manifest),
        _training(manifest),
        _results(report),
        _list(
            "Not validated for",
            report.not_validated_for,
            "No tested group is listed. Groups that are not in the test set are not validated either.",
        ),
        _list("Limitations", report.limitations, "None stated."),
        _list("What the evaluation does not show", report.what_this_does_not_show, "Nothing stated."),
        _how_to_run(report, manifest),
        _provenance(report, manifest),
    ]
    return "\n".join(part for part in parts if part)


def escape(text: str) -> str:
    r"""Return text that Markdown and HTML take literally, in one line.

    >>> escape("a|b <i> [x](y)")
    'a\\|b &lt;i&gt; \\[x\\](y)'
    """
    one_line = " ".join(str(text).split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", safe)


def _front_matter(report: Report, manifest: Mapping[str, Any]) -> str:
    tags = ["medical-imaging", "medimg", "research-use-only", report.task.kind, report.status.replace("_", "-")]
    modality = manifest.get("modality") or report.model.modality
    values: dict[str, Any] = {
        "library_name": "medimg",
        "pipeline_tag": _PIPELINE_TAGS[report.task.kind],
        "tags": tags + ([str(modality).lower()] if modality else []),
        "model_name": report.model.name,
        "model-index": _model_index(report),
    }
    # JSON strings and lists are YAML, whatever they hold.
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + "---\n"


def _model_index(report: Report) -> list[dict[str, Any]]:
    """Return the results on everyone together, as model hubs list them; groups stand in the card itself."""
    metrics = [
        {"type": result.endpoint, "name": result.endpoint, "value": round(result.estimate, 4)}
        for result in report.groups[0].results
        if result.estimate is not None
    ]
    dataset = {"name": "held-out test set", "type": "private"}
    task = {"type": _PIPELINE_TAGS[report.task.kind]}
    return [{"name": report.model.name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]


def _intended_use(report: Report, manifest: Mapping[str, Any]) -> str:
    use = manifest.get("intended_use") or report.model.intended_use or "Not stated."
    labels = ", ".join(escape(label) for label in report.task.labels)
    return (
        f"## Intended use\n\n{escape(use)}\n\n"
        f"Task: {report.task.kind} ({escape(report.task.mode)}) of {labels}. Modality: "
        f"{escape(manifest.get('modality') or report.model.modality or 'not stated')}.\n\n"
        "Not for clinical use: not for diagnosis, treatment, triage or any other decision about a person.\n"
    )


def _training(manifest: Mapping[str, Any]) -> str:
    provenance = manifest.get("provenance") or {}
    groups: Mapping[str, int] = provenance.get("training_groups") or {}
    lines = [f"## Training data\n\nSubjects: {provenance.get('training_subjects', 'not stated')}.\n"]
    if groups:
        lines += ["| Ancestry | Subjects |", "|---|---:|"]
        lines += [f"| {escape(name)} | {count} |" for name, count in sorted(groups.items())]
        lines.append("")
    else:
        lines.append("Ancestry of the training subjects: not stated.\n")
    return "\n".join(lines)


def _results(report: Report) -> str:
    test = report.test_set
    lines = [
        "## Results on held-out scans\n",
        f"{test.n_cases} cases of {test.n_patients} patients at {test.n_sites} site(s); ancestry unknown or declined "
        f"for {test.unknown_words}; {test.n_failed} cases without a prediction. In brackets: "
        f"{confidence_words(report)}, sampling of patients alone. Protocol frozen "
        f"{report.protocol.frozen_at:%Y-%m-%d}, SHA-256 `{report.protocol.sha256}`.\n",
    ]
    for endpoint in report.endpoints:
        lines += [*_table(report, endpoint), ""]
    lines.append("Groups by sex, age, site and scanner, gaps, curves and rules: `report/report.html`.\n")
    return "\n".join(lines)


def _table(report: Report, endpoint: Endpoint) -> Sequence[str]:
    table = endpoint_table(report, endpoint, ("overall", "ancestry"))
    title = f"{escape(table.title)}{' (primary)' if endpoint.primary else ''}"
    unit = f", {escape(table.unit)}" if table.unit else ""
    lines = [
        f"### {title}\n\n{table.limits[0].upper()}{table.limits[1:]}.\n",
        f"| Group | Patients | Positives | Estimate{unit} | Floor | Gap | Gap verdict |",
        "|---|---:|---:|---|---|---|---|",
    ]
    for block in table.blocks:
        for row, result in block.rows:
            gap = result.gap
            cells = [
                escape(group_name(row.axis, row.value)),
                below(report) if result.n_patients is None else str(result.n_patients),
                below(report) if result.n_positives is None else str(result.n_positives),
                _value(result.estimate, result.low, result.high, result.reason),
                _verdict(result.floor_verdict),
                "–" if gap is None else _value(gap.estimate, gap.low, gap.high, gap.reason),
                "–" if gap is None else _verdict(gap.verdict),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return [line.replace("| <", "| &lt;") for line in lines]


def _value(estimate: float | None, low: float | None, high: float | None, reason: str | None) -> str:
    if estimate is None:
        return escape(reason or "no reason was recorded")
    if low is None or high is None:
        return f"{plain(estimate, 2)} (no interval: {escape(reason or 'no reason was recorded')})"
    return with_interval(estimate, low, high)


def _verdict(verdict: Any) -> str:
    mark = mark_of(verdict)
    return f"{mark.symbol} {mark.words}"


def _list(title: str, items: Sequence[str], otherwise: str) -> str:
    body = "\n".join(f"- {escape(item)}" for item in items) or otherwise
    return f"## {title}\n\n{body}\n"


def _how_to_run(report: Report, manifest: Mapping[str, Any]) -> str:
    name = str(manifest.get("name") or report.model.name)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return (
        "## How to run\n\n"
        f"```sh\nmedimg predict package={safe}.medimg input=study/ output=results/\n```\n\n"
        f'```python\nimport medimg\n\nprediction = medimg.load("{safe}.medimg").predict("study/")\n```\n\n'
        "numpy, onnxruntime and a reader suffice; no training library is needed.\n"
    )


def _provenance(report: Report, manifest: Mapping[str, Any]) -> str:
    provenance = manifest.get("provenance") or {}
    rows = [
        ("Package", report.model.package_digest),
        ("Weights, SHA-256", report.model.weights_sha256),
        ("Network, SHA-256", manifest.get("onnx_sha256")),
        ("Configuration, SHA-256", provenance.get("config_sha256")),
        ("Cohort, SHA-256", provenance.get("cohort_sha256")),
        ("Split, SHA-256", provenance.get("split_sha256")),
        ("Written by", f"medimg {report.medimg_version}, {report.created:%Y-%m-%d}"),
    ]
    lines = [f"| {name} | `{str(value).replace('`', '').replace('|', '/')}` |" for name, value in rows if value]
    return "\n".join(["## Provenance\n", "| | |", "|---|---|", *lines, ""])
