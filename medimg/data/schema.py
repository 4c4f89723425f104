"""The four tables of a cohort: columns, units and vocabularies, checked row by row.

Sources: MEDS for ``events``; OMOP MI-CDM and DICOM for ``images``; STANDING Together (2025) and NASEM (2023)
for keeping ancestry verbatim, with its scheme and its provenance.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from medimg.errors import InputError
from medimg.evaluation.tables import ANCESTRY_SOURCES

FORMATS = ("dicom-series", "nifti", "png", "jpeg", "tiff")
MODALITIES = ("CT", "MR", "ES", "OP", "OPT", "XC", "PT", "US", "CR", "DX", "MG")
UNITS = ("HU", "arbitrary", "SUV", "label", "srgb8", "srgb16")
LABEL_KINDS = ("mask", "class", "grade", "box")
SPLITS = ("train", "tuning", "held_out", "external")


def _text(check: pa.Check | None = None) -> pa.Column:
    return pa.Column(object, check, nullable=True, coerce=True, required=False)


def _number(minimum: float | None = None) -> pa.Column:
    checks = [] if minimum is None else [pa.Check.ge(minimum)]
    return pa.Column(float, checks, nullable=True, coerce=True, required=False)


def _key(*, unique: bool = False) -> pa.Column:
    return pa.Column(str, pa.Check.str_length(min_value=1), nullable=False, coerce=True, unique=unique)


IMAGES = pa.DataFrameSchema(
    {
        "image_id": _key(unique=True),
        "subject_id": _key(),
        "session_id": _key(),
        "site_id": _key(),
        "path": _key(),
        "format": pa.Column(str, pa.Check.isin(FORMATS), coerce=True),
        "modality": pa.Column(str, pa.Check.isin(MODALITIES), coerce=True),
        "sequence": _text(),
        "laterality": _text(),
        "scanner": _text(),
        "spacing_z_mm": _number(0),
        "spacing_y_mm": _number(0),
        "spacing_x_mm": _number(0),
        "nz": _number(1),
        "ny": _number(1),
        "nx": _number(1),
        "intensity_unit": _text(pa.Check.isin(UNITS)),
        "sha256": _text(),
        "consent_id": _text(),
        "split": _text(pa.Check.isin(SPLITS)),
    }
)
SUBJECTS = pa.DataFrameSchema(
    {
        "subject_id": _key(unique=True),
        "sex_at_birth": _text(),
        "birth_year": _number(1850),
        "age": _number(0),
        "ancestry_self_report": _text(),
        "ancestry_group": _text(),
        "ancestry_scheme": _text(),
        "ancestry_source": _text(pa.Check.isin(ANCESTRY_SOURCES)),
        "country": _text(),
        "skin_tone_scheme": _text(),
        "skin_tone_value": _number(),
        "pigment_score": _number(),
    }
)
LABELS = pa.DataFrameSchema(
    {
        "subject_id": _key(),
        "image_id": _key(),
        "kind": pa.Column(str, pa.Check.isin(LABEL_KINDS), coerce=True),
        "name": _key(),
        "value": pa.Column(str, nullable=False, coerce=True),
        "mask_value": _number(0),
        "label_code": _text(pa.Check.str_matches(r"^[A-Za-z0-9]+:[A-Za-z0-9.\-]+$")),
        "annotator_id": _text(),
        "method": _text(),
        "confidence": _number(0),
    }
)
EVENTS = pa.DataFrameSchema(
    {
        "subject_id": _key(),
        "time": _number(),
        "code": _key(),
        "numeric_value": _number(),
        "text_value": _text(),
        "unit": _text(),
        "site_id": _text(),
        "source": _text(),
    }
)
TABLES = {"images": IMAGES, "subjects": SUBJECTS, "labels": LABELS, "events": EVENTS}


def validate(name: str, table: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """Return the table with every schema column present and typed.

    Parameters
    ----------
    name : {'images', 'subjects', 'labels', 'events'}
        Which schema applies.
    table : DataFrame
        Rows as read; extra columns are kept.
    where : str or Path
        What the error names as the place.

    Raises
    ------
    InputError
        Every failing row is listed (the first 20 in the message).
    """
    schema = TABLES[name]
    complete = _with_all_columns(table, schema)
    _refuse_inferred_ancestry(complete, where)
    try:
        checked: pd.DataFrame = schema.validate(complete, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise InputError(
            f"the {name} table has {len(error.failure_cases)} invalid entries",
            where=where,
            got=_failures(error.failure_cases),
            expected="the columns, units and vocabularies of medimg.data.schema",
            fix="correct these rows in the source table, then index again",
        ) from error
    return checked


def _with_all_columns(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    complete = table.copy()
    for name, column in schema.columns.items():
        if name not in complete:
            complete[name] = pd.Series(None, index=complete.index, dtype=object)
        if not column.nullable:
            continue
        complete[name] = complete[name].where(complete[name].notna() & (complete[name] != ""), None)
        if str(column.dtype) == "float64":
            # A malformed number stays as it is, so that the schema can name its row.
            numbers = pd.to_numeric(complete[name], errors="coerce")
            if numbers.isna().equals(complete[name].isna()):
                complete[name] = numbers.astype(float)
    return complete


def _refuse_inferred_ancestry(table: pd.DataFrame, where: str | Path) -> None:
    if "ancestry_source" not in table:
        return
    inferred = table.index[table["ancestry_source"].astype(str).str.lower() == "inferred"]
    if len(inferred):
        raise InputError(
            "ancestry with provenance 'inferred' is refused: medimg takes ancestry from people, never from guesses",
            where=where,
            got=f"rows {[int(row) for row in inferred[:20]]}",
            expected=f"one of {', '.join(ANCESTRY_SOURCES)}",
            fix="leave ancestry_group and ancestry_source empty where nobody stated them",
        )


def _failures(cases: pd.DataFrame) -> str:
    lines = [
        f"row {row.index}, column {row.column}: {row.failure_case!r} fails {row.check}"
        for row in cases.head(20).itertuples(index=False, name="Row")
    ]
    hidden = len(cases) - len(lines)
    return "\n".join(["", *(f"    {line}" for line in lines)] + ([f"    … and {hidden} more"] if hidden else []))
