"""A cohort: a folder with ``dataset.yaml`` and four tables."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medimg.data.schema import TABLES, validate
from medimg.errors import InputError


class DatasetInfo(BaseModel):
    """What ``dataset.yaml`` states about a cohort.

    ``image_root`` is the folder that paths of the tables start from; relative to the cohort's folder, or absolute.
    ``duo`` lists permitted purposes as Data Use Ontology codes (``DUO:0000042``).
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    version: str = "1"
    licence: str = "unknown"
    image_root: str = "."
    modality: str | None = None
    geography: str | None = None
    steward: str | None = None
    duo: tuple[str, ...] = ()
    citation: str | None = None


@dataclass(frozen=True, eq=False)
class Cohort:
    """Four validated tables and the folder that their paths start from.

    Attributes
    ----------
    image_root : Path
        Folder that ``images.path`` and mask paths in ``labels.value`` are relative to.
    images, subjects, labels, events : DataFrame
        Columns as in :mod:`medimg.data.schema`.
    """

    info: DatasetInfo
    image_root: Path
    images: pd.DataFrame
    subjects: pd.DataFrame
    labels: pd.DataFrame
    events: pd.DataFrame

    @classmethod
    def build(cls, info: DatasetInfo, image_root: Path, tables: dict[str, pd.DataFrame], where: str | Path) -> Cohort:
        """Validate tables and make sure that they refer to each other.

        Raises
        ------
        InputError
            A table fails its schema, or a row names a subject or an image that is not there.
        """
        checked = {name: validate(name, tables.get(name, pd.DataFrame()), f"{where} ({name})") for name in TABLES}
        _require_known(checked["images"], "subject_id", checked["subjects"]["subject_id"], f"{where} (images)")
        _require_known(checked["labels"], "image_id", checked["images"]["image_id"], f"{where} (labels)")
        _require_known(checked["events"], "subject_id", checked["subjects"]["subject_id"], f"{where} (events)")
        return cls(info=info, image_root=image_root, **checked)

    @classmethod
    def open(cls, folder: str | Path) -> Cohort:
        """Read a cohort folder (Parquet, or CSV of the same names).

        Raises
        ------
        InputError
            The folder or a table is missing, unreadable or invalid.
        """
        folder = Path(folder)
        info_file = folder / "dataset.yaml"
        if not info_file.is_file():
            raise InputError(
                "this folder is no cohort",
                where=folder.resolve(),
                expected="dataset.yaml beside images, subjects, labels and events tables",
                fix="make one with: medimg index data.root=<folder with scans> output=<cohort folder>",
            )
        try:
            info = DatasetInfo.model_validate(yaml.safe_load(info_file.read_text()) or {})
        except (ValidationError, yaml.YAMLError) as error:
            raise InputError("dataset.yaml cannot be used", where=info_file, got=str(error)) from error
        tables = {name: _read_table(folder, name) for name in TABLES}
        return cls.build(info, (folder / info.image_root).resolve(), tables, folder)

    def save(self, folder: str | Path) -> Path:
        """Write ``dataset.yaml`` and four Parquet tables; nothing half-written is left under the final name."""
        folder = Path(folder)
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        info = self.info.model_copy(update={"image_root": _portable(self.image_root, folder)})
        (part / "dataset.yaml").write_text(yaml.safe_dump(info.model_dump(mode="json"), sort_keys=False))
        for name in TABLES:
            getattr(self, name).to_parquet(part / f"{name}.parquet", index=False)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
        return folder

    @property
    def ages(self) -> dict[str, float]:
        """Age in years by subject, where it is stated."""
        known = self.subjects[self.subjects["age"].notna()]
        return {str(subject): float(age) for subject, age in zip(known["subject_id"], known["age"])}

    def resolve(self, relative: str) -> Path:
        """Return the absolute path of an image or mask; it must stay inside ``image_root``.

        Raises
        ------
        InputError
            The path leaves the folder.
        """
        path = Path(os.path.normpath(self.image_root / relative))
        if not path.is_relative_to(self.image_root):
            raise InputError(
                "a path of the cohort leaves its folder",
                where=self.image_root,
                got=relative,
                fix="keep scans and masks below image_root",
            )
        return path


def _require_known(table: pd.DataFrame, column: str, known: pd.Series, where: str) -> None:
    strangers = table.loc[~table[column].isin(set(known)), column]
    if len(strangers):
        raise InputError(
            f"{len(strangers)} rows name a {column} that no row defines",
            where=where,
            got=f"rows {[int(row) for row in strangers.index[:20]]}",
            fix=f"add the missing {column} or drop these rows",
        )


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    parquet, csv = folder / f"{name}.parquet", folder / f"{name}.csv"
    try:
        if parquet.is_file():
            return pd.read_parquet(parquet)
        if csv.is_file():
            return pd.read_csv(csv, dtype=object, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(f"the {name} table cannot be read", where=folder / name, got=str(error)) from error
    if name == "events":
        return pd.DataFrame()
    raise InputError(f"the {name} table is missing", where=folder, expected=f"{name}.parquet or {name}.csv")


def _portable(image_root: Path, folder: Path) -> str:
    target = image_root.resolve()
    base = folder.resolve()
    return target.relative_to(base).as_posix() if target.is_relative_to(base) else str(target)
