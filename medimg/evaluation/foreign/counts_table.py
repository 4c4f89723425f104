"""A table of counts, read and checked: one row per axis, value and target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medimg.errors import ConfigError, InputError
from medimg.evaluation.evidence import OVERALL, Key
from medimg.evaluation.foreign.counts import CELLS, Counted, Counts
from medimg.evaluation.foreign.files import Table
from medimg.evaluation.foreign.people import provenance_of, stated_or_column
from medimg.evaluation.foreign.settings import ForeignSettings
from medimg.evaluation.groups import order_values
from medimg.evaluation.protocol import AXES, Protocol
from medimg.evaluation.tables import DECLINED, SEXES, UNKNOWN, ancestry_name

METRICS_OF_CALLS = (
    *("sensitivity", "specificity", "underdiagnosis", "ppv", "npv", "accuracy", "prevalence"),
    *("ppv_at_prevalence", "npv_at_prevalence"),
)


def read_counts(table: Table, settings: ForeignSettings, protocol: Protocol) -> Counts:
    """Check a table of counts: one row per axis, value and target, with the columns of :data:`CELLS`.

    Parameters
    ----------
    table : Table
        ``axis`` is ``overall`` or an axis of the protocol; ``n_patients`` may stand beside the counts.
    settings : ForeignSettings
    protocol : Protocol

    Raises
    ------
    ConfigError, InputError
        A column or a cell is wrong, ancestry lacks its provenance, an endpoint needs more than calls, or the groups
        of an axis do not add up to everyone.
    """
    _refuse_scores(protocol, table)
    frame = _frame(table, settings, protocol)
    notes: list[str] = []
    groups: dict[str, dict[Key, Counted]] = {}
    # Every target has the same groups, be it with nobody in them.
    values = {str(axis): set(rows["value"]) for axis, rows in frame.groupby("axis")}
    for target, rows in frame.groupby("target", sort=False):
        groups[str(target)] = _complete(str(target), rows, values, table, protocol, notes)
    first = next(iter(groups))
    if not frame["with_patients"].any():
        notes.append("The table has no n_patients: every count is taken for a patient of its own.")
    elif any(found.patients < found.n for found in groups[first].values()):
        notes.append(
            "Patients hold several cases, and counts do not say which: intervals take the cases of a patient to be "
            "alike, which is on the safe side."
        )
    if len(groups) > 1:
        notes.append(f"Cases and patients of a group are those of {first}; other targets have their own counts.")
    known = frame[(frame["axis"] == "ancestry") & (frame["source"] != "") & (frame["target"] == first)]
    return Counts(
        groups=groups,
        sources={str(k): int(v) for k, v in known.groupby("source")["patients"].sum().items()},
        schemes={str(k): int(v) for k, v in known.groupby("scheme")["patients"].sum().items()},
        notes=tuple(dict.fromkeys(notes)),
    )


def _refuse_scores(protocol: Protocol, table: Table) -> None:
    for rule in protocol.endpoints:
        if rule.metric not in METRICS_OF_CALLS:
            raise ConfigError(
                "A declared endpoint needs more than counts of calls.",
                where=f"evaluation.endpoints, {rule.id}, and {table.path}",
                got=rule.metric,
                expected=f"one of {', '.join(METRICS_OF_CALLS)}",
                fix="declare these, or report on predictions with scores",
            )


def _frame(table: Table, settings: ForeignSettings, protocol: Protocol) -> pd.DataFrame:
    """Return the rows of the table, checked one by one."""
    columns = settings.columns
    names = {role: _required(table, columns, role) for role in ("axis", "value", *CELLS)}
    axis = table.texts(names["axis"]).str.lower()
    table.refuse(
        ~axis.isin(["overall", *AXES]), names["axis"], f"overall, {', '.join(AXES)}", "rename the axis in these rows"
    )
    frame = pd.DataFrame({"axis": axis, "value": _values(table, names["value"], axis, settings)})
    for cell in CELLS:
        frame[cell] = _whole(table, names[cell])
    patients = table.column("columns.n_patients", columns.n_patients, "n_patients")
    total = frame[list(CELLS)].sum(axis=1)
    frame["patients"] = total if patients is None else _whole(table, patients)
    frame["with_patients"] = patients is not None
    if patients is not None:
        wrong = (frame["patients"] > total) | ((frame["patients"] == 0) & (total > 0))
        table.refuse(wrong, patients, "at least one, and no more patients than cases", "correct these cells")
    target = table.column("columns.target", columns.target, "target")
    declared = list(dict.fromkeys(rule.target for rule in protocol.endpoints))
    if target is None and settings.target is None and len(declared) > 1:
        raise ConfigError(
            "Nothing says which target the counts are about.",
            where=f"target, {table.path}",
            got=f"no column 'target'; the protocol declares {', '.join(declared)}",
            fix="set columns.target=NAME, or target=NAME",
        )
    texts = pd.Series(settings.target or declared[0], index=frame.index) if target is None else table.texts(target)
    frame["target"] = texts.map({text: settings.labels.get(text, text) for text in texts.unique()})
    double = frame.duplicated(["axis", "value", "target"], keep=False)
    table.refuse(double, names["value"], "one row per axis, value and target", "add these rows up, or drop one")
    known = (frame["axis"] == "ancestry") & ~frame["value"].isin([UNKNOWN, DECLINED]) & (total > 0)
    frame["source"] = provenance_of(table, names["value"], settings.ancestry, known)
    scheme = stated_or_column(table, "scheme", settings.ancestry.scheme, settings.ancestry.scheme_column)
    frame["scheme"] = scheme.replace("", UNKNOWN)
    return frame


def _required(table: Table, columns: object, role: str) -> str:
    name = table.column(f"columns.{role}", getattr(columns, role), role)
    if name is None:
        raise ConfigError(
            "The table of counts lacks a column.",
            where=f"columns.{role}, {table.path}",
            got=f"columns {', '.join(table.frame.columns[:30])}",
            expected=f"axis, value, {', '.join(CELLS)}",
            fix=f"set columns.{role}=NAME to the column that holds it",
        )
    return name


def _values(table: Table, name: str, axis: pd.Series, settings: ForeignSettings) -> pd.Series:
    texts = table.texts(name)
    found = texts.where(texts != "", UNKNOWN).where(axis != "overall", "all")
    listed = {str(cell): str(group) for cell, group in settings.ancestry.values.items()}
    mine = axis == "ancestry"
    found[mine] = [ancestry_name(listed.get(text, text)) for text in found[mine]]
    mine = axis == "sex"
    sexes = {str(cell): str(sex) for cell, sex in settings.people.sex_values.items()}
    found[mine] = [SEXES.get(sexes.get(text, text).lower(), UNKNOWN) for text in found[mine]]
    return found


def _whole(table: Table, name: str) -> pd.Series:
    fix = "give the counts themselves, 0 included; the report suppresses small ones"
    texts = table.texts(name)
    table.refuse(~texts.str.fullmatch(r"\d{1,15}(\.0*)?"), name, "a whole number that is not negative", fix)
    return texts.astype(float).astype(np.int64)


def _complete(
    target: str,
    rows: pd.DataFrame,
    values_of: Mapping[str, set[str]],
    table: Table,
    protocol: Protocol,
    notes: list[str],
) -> dict[Key, Counted]:
    """Return the groups in the order of printing; the groups of an axis add up to everyone."""
    given = {
        (str(axis), str(value)): Counted(np.array([tp, fp, fn, tn], np.int64), int(patients))
        for axis, value, tp, fp, fn, tn, patients in rows[["axis", "value", *CELLS, "patients"]].itertuples(index=False)
    }
    present = dict.fromkeys(axis for axis, _ in given if axis != "overall")
    everyone = given.get(OVERALL) or _sum([found for (axis, _), found in given.items() if axis == next(iter(present))])
    if not everyone.n:
        raise InputError(
            "Nobody is counted.", where=f"{table.path}, target {target}", got="counts of 0", fix="give counts"
        )
    groups = {OVERALL: everyone}
    for axis in protocol.axes:
        values = values_of.get(axis, set())
        if axis == "ancestry" and not values:
            given[("ancestry", UNKNOWN)], values = everyone, {UNKNOWN}
            notes.append("No counts by ancestry were given: everyone stands in the row 'unknown'.")
        elif not values:
            continue
        added = order_values(values, axis, protocol) if axis != "age_band" else _bands(values)
        absent = [value for value in added if (axis, value) not in given]
        if axis == "ancestry" and set(absent) & {UNKNOWN, DECLINED}:
            names = " and ".join(sorted(set(absent) & {UNKNOWN, DECLINED}, reverse=True))
            notes.append(f"The counts have no row of ancestry {names}: taken for nobody.")
        nobody = Counted(np.zeros(4, np.int64), 0)
        mine: dict[Key, Counted] = {(axis, value): given.get((axis, value), nobody) for value in added}
        _refuse_unequal(axis, target, _sum(list(mine.values())), everyone, table)
        groups |= mine
    return groups


def _bands(values: set[str]) -> list[str]:
    """Return age bands as they were given, by their first number, unknown last."""

    def lower(value: str) -> tuple[bool, float, str]:
        digits = "".join(c if c.isdigit() else " " for c in value).split()
        return value in (UNKNOWN, DECLINED), float(digits[0]) if digits else -1.0, value

    return sorted(values, key=lower)


def _sum(groups: list[Counted]) -> Counted:
    cells = np.sum([group.cells for group in groups], axis=0).astype(np.int64)
    return Counted(cells, sum(group.patients for group in groups))


def _refuse_unequal(axis: str, target: str, found: Counted, everyone: Counted, table: Table) -> None:
    if np.array_equal(found.cells, everyone.cells):
        return
    words = [", ".join(f"{name} {int(n)}" for name, n in zip(CELLS, counted.cells)) for counted in (found, everyone)]
    raise InputError(
        "The groups of an axis do not add up to everyone.",
        where=f"{table.path}, axis {axis}, target {target}",
        got=words[0],
        expected=words[1],
        fix="count every case in just one group of the axis; those without a group in the value 'unknown'",
    )
