"""Who the people behind foreign predictions are: subjects with ancestry, its scheme and its provenance.

Ancestry is what people or sites stated. Without its provenance it is not taken, and 'inferred' never is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medimg.errors import ConfigError, InputError
from medimg.evaluation.foreign.files import MISSING, Table
from medimg.evaluation.foreign.settings import AncestrySettings, ForeignSettings
from medimg.evaluation.tables import ANCESTRY_SOURCES, DECLINED, SEXES, UNKNOWN, ancestry_name

COLUMNS = ("ancestry_group", "ancestry_scheme", "ancestry_source", "sex_at_birth", "country")


def read_people(table: Table, own: bool, keys: Sequence[str], settings: ForeignSettings) -> pd.DataFrame:
    """Return one row per person, as :func:`medimg.evaluation.tables.check_subjects` wants them.

    Parameters
    ----------
    table : Table
        Of subjects, or of predictions where ``own`` is False.
    own : bool
        The table has one row a person; otherwise the rows of a person must agree.
    keys : sequence of str
        Person of each row of the predictions.
    settings : ForeignSettings

    Raises
    ------
    InputError, ConfigError
        A person is missing or double, ancestry lacks its provenance or was inferred, or a cell cannot be read.
    """
    if own:
        column = table.column("people.subject", settings.people.subject, "subject_id")
        if column is None:
            column = table.column("people.subject", settings.columns.subject, "subject_id")
        if column is None:
            raise ConfigError(
                "No column of the table of subjects names the person.",
                where=f"people.subject, {table.path}",
                got=f"columns {', '.join(table.frame.columns[:30])}",
                fix="set people.subject=NAME to the column that the predictions join on",
            )
        persons = table.texts(column)
        table.refuse(persons == "", column, "a person in every row", "fill these cells")
        table.refuse(persons.duplicated(keep=False), column, "one row per person", "keep one row of each")
    else:
        persons = pd.Series(list(keys))
    people = pd.DataFrame({"subject_id": persons, **_ancestry(table, settings.ancestry)})
    people["sex_at_birth"] = _sex(table, settings)
    country = table.column("people.country", settings.people.country, "country")
    people["country"] = "" if country is None else table.texts(country)
    age = table.column("people.age", settings.people.age, "age")
    if own:
        people["age"] = np.nan if age is None else table.numbers(age)
        _refuse_strangers(people, keys, table)
        return people
    people = people.drop_duplicates()
    double = people["subject_id"].duplicated(keep=False)
    if double.any():
        differing = [name for name in COLUMNS if people[double].groupby("subject_id")[name].nunique().gt(1).any()]
        raise InputError(
            "The rows of one person disagree about that person.",
            where=f"{table.path}, {', '.join(differing)}",
            got=f"{people.loc[double, 'subject_id'].nunique()} persons",
            expected="the same in all rows of a person",
            fix="correct these rows, or give people a table of their own with subjects=FILE",
        )
    return people.reset_index(drop=True)


def _refuse_strangers(people: pd.DataFrame, keys: Sequence[str], table: Table) -> None:
    wanted = set(keys)
    missing = wanted - set(people["subject_id"])
    if missing:
        raise InputError(
            "Some predictions belong to nobody in the table of subjects.",
            where=table.path,
            got=f"{len(missing)} of {len(wanted)} persons without a row",
            expected="one row per person, ancestry empty where it was not collected",
            fix="write the persons alike in both tables (001 is not 1), or add the missing rows",
        )


def _ancestry(table: Table, settings: AncestrySettings) -> dict[str, pd.Series]:
    column = table.column("ancestry.column", settings.column, "ancestry_group")
    if column is None:
        column = table.column("ancestry.column", None, "ancestry")
    if column is None:
        empty = pd.Series("", index=table.frame.index)
        return {"ancestry_group": empty, "ancestry_scheme": empty, "ancestry_source": empty}
    groups = table.texts(column)
    if settings.values:
        listed = {str(cell): str(group) for cell, group in settings.values.items()}
        table.refuse(
            ~groups.isin([*listed, ""]),
            column,
            f"one of {', '.join(listed)}, as ancestry.values lists them",
            "add these cells to ancestry.values, as 'unknown' where nobody knows what they mean",
        )
        groups = groups.map({**listed, "": ""})
    known = ~groups.map({text: ancestry_name(text) for text in groups.unique()}).isin([UNKNOWN, DECLINED])
    return {
        "ancestry_group": groups,
        "ancestry_scheme": stated_or_column(table, "scheme", settings.scheme, settings.scheme_column).where(known, ""),
        "ancestry_source": provenance_of(table, column, settings, known),
    }


def provenance_of(table: Table, ancestry: str, settings: AncestrySettings, known: pd.Series) -> pd.Series:
    """Return how each known ancestry was found out; ``ancestry`` is the column that holds it.

    Raises
    ------
    InputError
        It is missing, no provenance, or 'inferred'.
    """
    stated = stated_or_column(table, "provenance", settings.provenance, settings.provenance_column, "ancestry_source")
    source = stated.map({text: text.lower().replace("-", "_").replace(" ", "_") for text in stated.unique()})
    place = settings.provenance_column or ("ancestry_source" if "ancestry_source" in table.frame else None)
    where = "ancestry.provenance" if settings.provenance or place is None else f"{table.path}, column {place}"
    if (source == "inferred").any():
        raise InputError(
            "Inferred ancestry is not admissible.",
            where=where,
            got=f"'inferred' for {int((source == 'inferred').sum())} rows",
            expected=", ".join(ANCESTRY_SOURCES),
            fix="use what the person or the site reported, or leave the ancestry empty",
        )
    lacking = known & (source == "")
    if lacking.any():
        raise InputError(
            "Ancestry without its provenance is not taken: nobody could tell how it was found out.",
            where=f"{table.path}, column {ancestry}",
            got=f"{int(lacking.sum())} rows with an ancestry and no word on where it comes from",
            expected=f"one of {', '.join(ANCESTRY_SOURCES)}",
            fix="add ancestry.provenance=self_report (what is true for all rows), or ancestry.provenance_column=NAME",
        )
    wrong = known & ~source.isin(ANCESTRY_SOURCES)
    if wrong.any():
        raise InputError(
            "There is no such provenance of ancestry.",
            where=where,
            got=f"{', '.join(map(repr, stated[wrong].unique()[:5]))} in {int(wrong.sum())} rows",
            expected=f"one of {', '.join(ANCESTRY_SOURCES)}",
            fix="say how ancestry was found out in one of these words",
        )
    return source.where(known, "")


def stated_or_column(
    table: Table, what: str, value: str | None, column: str | None, own: str | None = None
) -> pd.Series:
    """Return what is declared for all rows, or stands in a column row by row.

    Raises
    ------
    ConfigError
        Both are stated.
    """
    if value and column:
        raise ConfigError(
            "Declare one value for all rows or name a column, not both.",
            where=f"ancestry.{what}, ancestry.{what}_column",
            got=f"{value} and {column}",
            fix=f"leave one of them out; the column is ancestry.{what}_column",
        )
    if value:
        return pd.Series(str(value).strip(), index=table.frame.index)
    found = table.column(f"ancestry.{what}_column", column, own or f"ancestry_{what}")
    return pd.Series("", index=table.frame.index) if found is None else table.texts(found)


def _sex(table: Table, settings: ForeignSettings) -> pd.Series:
    column = table.column("people.sex", settings.people.sex, "sex_at_birth")
    if column is None:
        column = table.column("people.sex", None, "sex")
    if column is None:
        return pd.Series("", index=table.frame.index)
    texts = table.texts(column)
    listed = {str(cell): str(sex).lower() for cell, sex in settings.people.sex_values.items()}
    sexes = texts.map({text: listed.get(text, text.lower()) for text in texts.unique()})
    table.refuse(
        ~sexes.isin([*SEXES, *MISSING, "u", "unknown"]),
        column,
        "F, M, X, or an empty cell",
        "say what these cells mean, such as people.sex_values={1: M, 2: F}",
    )
    return sexes
