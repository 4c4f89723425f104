from __future__ import annotations

import pandas as pd

from medimg.evaluation.protocol import declare
from medimg.evaluation.summary import worst_cases


def test_every_ancestry_gives_its_worst_in_turn():
    """Nine bad cases of a large group leave room for the two of a small one."""
    dice = [0.1 * i for i in range(9)] + [0.85, 0.9] + [1.0]
    groups = ["EUR"] * 9 + ["AFR"] * 2 + ["EAS"]
    table = pd.DataFrame(
        {
            "case_id": [f"c{i:02d}" for i in range(12)],
            "target": "lesion",
            "task": "segmentation",
            "status": "ok",
            "dice": dice,
            "axis_ancestry": groups,
        }
    )
    endpoints = [{"metric": "dice_mean", "target": "lesion", "primary": True, "floor": 0.7}]
    found = worst_cases(table, declare({"endpoints": endpoints, "worst_cases": 4}), {})
    assert [(case.group, case.case_id) for case in found] == [
        ("EUR", "c00"),
        ("EUR", "c01"),
        ("AFR", "c09"),
        ("AFR", "c10"),
    ]
    assert [case.value for case in found] == sorted(case.value for case in found)
