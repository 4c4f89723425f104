"""Who belongs to which group on which axis. Every case is in exactly one group of every axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.evaluation.protocol import Axis, Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN, WITHHELD

LAST = (UNKNOWN, DECLINED, WITHHELD)
"""Rows that stand at the end of an axis, whatever their name, and that name no group."""


def assign_groups(cases: pd.DataFrame, subjects: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the checked case table with the groups of every axis and integer codes.

    New columns: ``axis_<name>``, ``patient``, ``case``, and the flag ``failed``.

    Parameters
    ----------
    cases : DataFrame
        From :func:`medimg.evaluation.tables.check_cases`.
    subjects : DataFrame
        From :func:`medimg.evaluation.tables.check_subjects`.
    protocol : Protocol
        Gives axes, covariates and age bands.

    Notes
    -----
    The age at the examination (column ``age`` of the cases) goes before the age in the table of subjects.
    """
    table = cases.copy(deep=False)
    table["patient"] = subjects.index.get_indexer(pd.Index(table["subject_id"]))
    person = subjects.iloc[table["patient"].to_numpy()]
    rising = table["case_id"].is_monotonic_increasing and table["case_id"].is_unique
    table["case"] = np.arange(len(table)) if rising else pd.factorize(table["case_id"], sort=True)[0]
    table["failed"] = table["status"] == "failed"
    age = table["age"].to_numpy()
    age = np.where(np.isnan(age), person["age"].to_numpy(), age)
    columns: dict[Axis, Any] = {
        "ancestry": person["ancestry"].array,
        "sex": person["sex"].array,
        "age_band": _band_all(age, protocol.age_bands),
        "site": table["site_id"],
        "scanner": table["scanner"],
    }
    for axis in dict.fromkeys((*protocol.axes, *protocol.standardise_by)):
        table[f"axis_{axis}"] = columns[axis]
    return table


def age_band(age: float, bands: Sequence[int]) -> str:
    """Return the name of the band that holds an age in years.

    >>> age_band(64.9, (0, 18, 65)), age_band(70, (0, 18, 65)), age_band(float("nan"), (0, 18))
    ('18-64', '65+', 'unknown')
    """
    if np.isnan(age) or age < bands[0]:
        return UNKNOWN
    index = int(np.searchsorted(bands, age, side="right")) - 1
    if index == len(bands) - 1:
        return f"{bands[index]}+"
    return f"{bands[index]}-{bands[index + 1] - 1}"


def _band_all(age: NDArray[np.float64], bands: Sequence[int]) -> Any:
    names = pd.Series([UNKNOWN, *(age_band(lower, bands) for lower in bands)], dtype="str").array
    place = np.searchsorted(bands, age, side="right")
    return names.take(np.where(np.isnan(age), 0, place))


def group_values(cases: pd.DataFrame, axis: Axis, protocol: Protocol) -> list[str]:
    """Return the values of an axis in the order of printing: by name, never by performance, unknown last.

    Ancestry always has ``unknown`` and ``declined``, and every group that the protocol expects.
    """
    return order_values(set(cases[f"axis_{axis}"].unique()), axis, protocol)


def order_values(values: set[str], axis: str, protocol: Protocol) -> list[str]:
    """Return the values of an axis in the order of :func:`group_values`, with those that are always printed."""
    if axis == "ancestry":
        values = values | {UNKNOWN, DECLINED, *protocol.expected_ancestries}
    if axis == "age_band":
        order = [age_band(lower, protocol.age_bands) for lower in protocol.age_bands]
        named = [value for value in order if value in values]
    else:
        named = sorted(values - set(LAST))
    return named + [value for value in LAST if value in values]


def reference_of(axis: str, protocol: Protocol, present: Sequence[str]) -> str:
    """Return what the groups of an axis are compared with: ``rest``, or the name of the declared group.

    Parameters
    ----------
    axis : str
    protocol : Protocol
    present : sequence of str
        The groups of the axis that hold a case.

    Raises
    ------
    InputError
        Where the declared reference group has no case: a gap to nobody is no gap.
    """
    reference_axis, _, reference_value = protocol.reference.partition("=")
    if reference_axis != axis:
        return "rest"
    if reference_value not in present:
        raise InputError(
            "The declared reference group has no case in the test set.",
            where="evaluation.reference",
            got=protocol.reference,
            expected=f"one of {', '.join(sorted(present))}",
            fix="declare a reference that was tested, or 'rest'",
        )
    return reference_value
