"""Equal groups through ``build_report``: the verdicts are those of the study of families, over all axes too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from coverage_families import Family, drawn_groups, judged_groups, protocol_of
from coverage_people import Table
from numpy.typing import NDArray

from medimg.evaluation.build import build_report
from medimg.evaluation.document import ModelInfo, Report, TaskInfo
from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.protocol import FrozenProtocol, freeze

SITES, SCANNERS = 4, 3
DIGEST = "0" * 64
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def study_reports(family: Family, runs: int, seed: int) -> dict[str, Any]:
    """Return in what share of reports anything DOES NOT MEET: on the axis ancestry, and on any of five axes.

    Raises
    ------
    ValueError
        Where a report's verdict is another one than the study of families gives.
    """
    rng = stream(seed, f"reports|{family.name}")
    declared = protocol_of(family).model_copy(update={"suppress": False, "panel": "declared"})
    protocol = freeze(declared, {"t": 0.5}, package_digest=DIGEST, at=WHEN)
    of_ancestry = of_any = 0
    for _ in range(runs):
        table, group = drawn_groups(rng, family)
        report = reported(table, group, protocol, rng)
        expected = {
            (cell.value, cell.rule.id): (cell.floor_verdict, cell.gap_verdict)
            for cell in judged_groups(table, group, declared)
        }
        found = verdicts(report)
        for (value, endpoint), pair in expected.items():
            if found["ancestry", value, endpoint] != pair:
                raise ValueError(
                    f"{value}, {endpoint}: the report says {found['ancestry', value, endpoint]}, not {pair}"
                )
        of_ancestry += any("DOES NOT MEET" in pair for key, pair in found.items() if key[0] == "ancestry")
        of_any += any("DOES NOT MEET" in pair for key, pair in found.items() if key[0] != "overall")
    return {"runs": runs, "ancestry": of_ancestry / runs, "any axis": of_any / runs}


def verdicts(report: Report) -> dict[tuple[str, str, str], tuple[str | None, str | None]]:
    """Return floor and gap verdict by axis, group and endpoint; two-way intersections only inform."""
    return {
        (row.axis, row.value, result.endpoint): (result.floor_verdict, result.gap.verdict if result.gap else None)
        for row in report.groups
        if not row.parts
        for result in row.results
    }


def reported(table: Table, group: NDArray[np.int64], protocol: FrozenProtocol, rng: np.random.Generator) -> Report:
    """Return the report of people whose sex, age, site and scanner say nothing."""
    patient, n = table["patient"], len(table["patient"])
    m = int(patient.max()) + 1
    ancestry = np.empty(m, object)
    ancestry[patient] = [f"g{i}" for i in group]
    subjects = pd.DataFrame({"subject_id": [f"s{i:06d}" for i in range(m)], "ancestry_group": ancestry})
    subjects = subjects.assign(ancestry_source="self_report", ancestry_scheme="made-up")
    subjects = subjects.assign(sex_at_birth=rng.choice(["F", "M"], m), age=rng.integers(20, 90, m))
    cases = pd.DataFrame({"case_id": [f"c{i:06d}" for i in range(n)], "subject_id": [f"s{i:06d}" for i in patient]})
    cases = cases.assign(site_id=rng.integers(0, SITES, m)[patient].astype(str), target="t", task="classification")
    cases = cases.assign(scanner=rng.integers(0, SCANNERS, n).astype(str), truth=table["truth"])
    cases = cases.assign(predicted=table["predicted"], score=table.get("score", table["predicted"]))
    return build_report(
        cases,
        subjects,
        protocol=protocol,
        model=ModelInfo(name="made-up", package_digest=DIGEST, weights_sha256=DIGEST),
        task=TaskInfo(kind="classification", mode="binary", labels=["t"]),
        created=WHEN,
    )
