"""records.csv: one row a group and endpoint, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from typing import Any

from medimg.evaluation.document import Endpoint, GroupRow, Report, Result

_GAP = ("reference", "estimate", "low", "high", "method", "verdict", "p_value", "p_holm", "p_bh", "reason")
# How spreadsheets recognise a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def records_csv(report: Report) -> str:
    """Return the results of a report as CSV; numbers are exact, and nothing is without its counts and method."""
    stream = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    endpoints = {endpoint.id: endpoint for endpoint in report.endpoints}
    for row in report.groups:
        for result in row.results:
            record = _record(row, result, endpoints[result.endpoint])
            if writer is None:
                writer = csv.DictWriter(stream, fieldnames=list(record), lineterminator="\n")
                writer.writeheader()
            writer.writerow({name: guarded(value) for name, value in record.items()})
    return stream.getvalue()


def guarded(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula; numbers stay as they are.

    >>> guarded("=1+1"), guarded(-0.5), guarded("EUR")
    ("'=1+1", -0.5, 'EUR')
    """
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _record(row: GroupRow, result: Result, endpoint: Endpoint) -> dict[str, Any]:
    own = result.model_dump(exclude={"gap", "endpoint"})
    gap = {f"gap_{name}": None if result.gap is None else getattr(result.gap, name) for name in _GAP}
    return {
        "axis": row.axis,
        "group": row.value,
        "endpoint": endpoint.id,
        "metric": endpoint.metric,
        "target": endpoint.target,
        "primary": endpoint.primary,
        "unit": endpoint.unit,
        "better": endpoint.better,
        "floor": endpoint.floor,
        "gap_margin": endpoint.gap_margin,
        **own,
        **gap,
    }
