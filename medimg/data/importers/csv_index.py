"""Folders of scans described by one ``index.csv``: the columns are named in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from medimg.data.importers.rows import Imported, measure_all, once
from medimg.data.schema import SUBJECTS
from medimg.data.settings import ClassColumn, CsvIndex
from medimg.errors import ConfigError, InputError, nearest
from medimg.io.findings import Finding
from medimg.io.policy import STRICT, ReadPolicy


def import_csv(root: Path, settings: CsvIndex, *, modality: str, reading: ReadPolicy = STRICT) -> Imported:
    """Read an index table and every image that it names.

    Parameters
    ----------
    root : Path
        Folder with the index; image and mask paths are relative to it.
    settings : CsvIndex
        Column names.
    modality : str
        DICOM modality code of all images.
    reading : ReadPolicy
        What is done where a series is not what a volume needs.

    Raises
    ------
    InputError
        The index is missing or empty.
    ConfigError
        A named column is not in the index.
    """
    table = _read(root / settings.index)
    _require_columns(table, settings, root / settings.index)
    images: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for number, row in table.iterrows():
        cells = {str(key): value for key, value in row.items()}
        rows = _image_rows(cells, settings, modality, str(number))
        images += rows
        labels += _labels(cells, rows[0], settings, root, findings)
    measured, unread = measure_all(images, root, reading=reading)
    if settings.subject is None:
        findings.append(
            Finding(
                "NO_SUBJECT_COLUMN",
                "warning",
                "no column names the person; every row counts as a person of its own",
                file=settings.index,
                assumed="one subject a row",
            )
        )
    return Imported(
        images=measured,
        subjects=_subjects(table, settings, root),
        labels=labels,
        events=_read(root / settings.events) if settings.events else pd.DataFrame(),
        findings=findings + unread,
    )


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(
            "the index table is missing",
            where=path.resolve(),
            fix="set data.root to the folder that holds it, or data.csv.index to its name",
        )
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError("the index table cannot be read", where=path, got=str(error)) from error


def _require_columns(table: pd.DataFrame, settings: CsvIndex, where: Path) -> None:
    plain = [settings.subject, settings.session, settings.site, settings.scanner, settings.split]
    wanted = [name for name in plain if name] + list(settings.image_columns().values())
    wanted += [mask.column for mask in settings.mask_columns().values()] + [
        item.column for item in settings.class_columns().values()
    ]
    if not settings.subjects:
        wanted += list(settings.demographics.values())
    for name in wanted:
        if name not in table.columns:
            raise ConfigError(
                "the configuration names a column that the index does not have",
                where=where,
                got=name,
                expected=nearest(name, map(str, table.columns)),
                fix="correct data.csv in the configuration",
            )


def _subject(cells: dict[str, Any], settings: CsvIndex) -> str:
    if settings.subject:
        return str(cells[settings.subject])
    return _stem(str(cells[next(iter(settings.image_columns().values()))]))


def _stem(path: str) -> str:
    name = Path(path).name
    return name.removesuffix(".gz").removesuffix(".nii").rsplit(".", 1)[0] if "." in name else name


def _image_rows(cells: dict[str, Any], settings: CsvIndex, modality: str, number: str) -> list[dict[str, Any]]:
    first_path = str(cells[next(iter(settings.image_columns().values()))])
    session = str(cells[settings.session]) if settings.session else _stem(first_path)
    split = str(cells[settings.split]) if settings.split else None
    rows = []
    for channel, column in settings.image_columns().items():
        path = str(cells[column])
        if not path:
            continue
        rows.append(
            {
                "image_id": path.removesuffix("/").replace("/", "_").removesuffix(".gz").removesuffix(".nii"),
                "subject_id": _subject(cells, settings),
                "session_id": session or number,
                "site_id": (str(cells[settings.site]) if settings.site else "") or "unknown",
                "path": path,
                "modality": modality,
                "sequence": channel,
                "scanner": (str(cells[settings.scanner]) if settings.scanner else "") or None,
                "split": settings.split_names.get(split, split) if split else None,
                **({"intensity_unit": "label"} if channel in settings.outlines else {}),
            }
        )
    return rows


def _labels(
    cells: dict[str, Any], image: dict[str, Any], settings: CsvIndex, root: Path, findings: list[Finding]
) -> list[dict[str, Any]]:
    base = {"subject_id": image["subject_id"], "image_id": image["image_id"]}
    rows: list[dict[str, Any]] = []
    for name, mask in settings.mask_columns().items():
        path = str(cells[mask.column])
        if path and not (root / path).exists():
            findings.append(
                Finding("MASK_MISSING", "error", f"the mask of target {name} is not there", file=path, tag=mask.column)
            )
        elif path or settings.empty_mask_is_absent:
            rows.append(
                {**base, "kind": "mask", "name": name, "value": path, "mask_value": mask.value, "label_code": mask.code}
            )
    for name, item in settings.class_columns().items():
        value = _number(str(cells[item.column]), item)
        if value is not None:
            kind = "grade" if item.grade else "class"
            rows.append({**base, "kind": kind, "name": name, "value": str(value), "label_code": item.code})
    return rows


def _number(text: str, item: ClassColumn) -> float | None:
    if item.map is not None:
        return item.map.get(text)
    if text == "":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            "a class label is no number",
            where=f"column {item.column}",
            got=text,
            fix=f"map texts to numbers with data.csv.classes.<name>.map={{{text}: 0}}",
        ) from error


def _subjects(table: pd.DataFrame, settings: CsvIndex, root: Path) -> list[dict[str, Any]]:
    if settings.subjects:
        source = _read(root / settings.subjects)
        if "subject_id" not in source:
            raise InputError("the subjects table has no subject_id column", where=root / settings.subjects)
    else:
        source = table.assign(subject_id=[_subject(dict(row), settings) for _, row in table.iterrows()])
    columns = {name: name for name in SUBJECTS.columns if settings.subjects and name in source}
    columns |= settings.demographics
    rows = []
    for _, cells in source.iterrows():
        row = {name: cells[column] or None for name, column in columns.items()} | {"subject_id": cells["subject_id"]}
        if row.get("ancestry_group"):
            row["ancestry_scheme"] = row.get("ancestry_scheme") or settings.ancestry_scheme
            row["ancestry_source"] = row.get("ancestry_source") or settings.ancestry_source
        rows.append(row)
    return once(rows, lambda row: str(row["subject_id"]))
