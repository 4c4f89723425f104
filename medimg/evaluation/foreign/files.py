"""Tables that another toolkit wrote: CSV, TSV, Parquet and nnU-Net's summary.json, with every cell as text.

Cells stay text until somebody knows what they mean: case ``007`` must not become 7, and a group ``NA`` not a gap.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import ConfigError, InputError, MedimgError, nearest

MISSING = ("", "na", "nan", "n/a", "null", "none", ".")
_SEPARATORS = (",", ";", "\t", "|")
_LISTED = 5
_TEXT = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Table:
    """A table with the file that it came from.

    Attributes
    ----------
    frame : DataFrame
        Texts; an empty text where a cell is empty.
    path : Path
    sha256 : str
        Of the file's bytes.
    modified : datetime
        When the file was last written, UTC.
    """

    frame: pd.DataFrame
    path: Path
    sha256: str
    modified: datetime

    def column(self, role: str, stated: str | None, own: str) -> str | None:
        """Return the column that holds ``role``: the stated one, else the one of medimg's own name if there is one.

        Raises
        ------
        ConfigError
            The stated column is not there.
        """
        if stated is None:
            return own if own in self.frame else None
        if stated not in self.frame:
            raise ConfigError(
                "A column that the configuration names is not in the table.",
                where=f"{role}={stated}, {self.path}",
                got=f"columns {', '.join(map(str, self.frame.columns[:30]))}",
                expected=nearest(stated, map(str, self.frame.columns)).split(" (")[0],
                fix=f"set {role}=NAME to the column that holds it",
            )
        return stated

    def texts(self, column: str) -> pd.Series:
        """Return a column as text; there is no space around cells."""
        return self.frame[column]

    def numbers(self, column: str, values: dict[str, float] | None = None) -> pd.Series:
        """Return a column as float64, empty cells as NaN; ``values`` gives texts their numbers.

        Raises
        ------
        InputError
            A cell is no number; names file, column, lines and cells.
        """
        texts = self.texts(column)
        if values:
            numbers = texts.map(values).astype(np.float64)
            fix = "list every text of this column in truth_values"
            self.refuse(numbers.isna() & (texts != ""), column, f"one of {', '.join(values)}", fix)
            return numbers
        numbers = _as_numbers(texts)
        wrong = numbers.isna() & ~texts.str.lower().isin(MISSING)
        if wrong.any():
            commas = texts[wrong].str.fullmatch(r"-?\d+,\d+").any()
            fix = "write decimal points, not commas" if commas else "correct these cells"
            self.refuse(wrong, column, "numbers, or empty cells where there is none", fix)
        self.refuse(np.isinf(numbers), column, "finite numbers", "correct these cells")
        return numbers

    def refuse(self, wrong: ArrayLike, column: str, expected: str, fix: str) -> None:
        """Raise an error that names file, column, lines and cells, where any row is wrong."""
        rows = np.flatnonzero(np.asarray(wrong, bool))
        if not len(rows):
            return
        first, unit = (2, "lines") if self.path.suffix in _TEXT else (1, "rows")
        places = ", ".join(str(row + first) for row in rows[:_LISTED]) + (", …" if len(rows) > _LISTED else "")
        cells = list(dict.fromkeys(repr(str(cell)) for cell in self.frame[column].iloc[rows[:1000]]))[:_LISTED]
        raise InputError(
            "A table holds cells that cannot be used.",
            where=f"{self.path}, column {column}",
            got=f"{', '.join(cells)} in {len(rows)} rows ({unit} {places})",
            expected=expected,
            fix=fix,
        )


def read_table(path: str | Path) -> Table:
    """Read a table of any kind that this module knows, by its suffix.

    Raises
    ------
    InputError
        The file is missing, empty, of another kind, or no table.
    """
    path = Path(path)
    readers = {".csv": _csv, ".tsv": _csv, ".txt": _csv, ".parquet": _parquet, ".pq": _parquet, ".json": _summary}
    if path.suffix.lower() not in readers:
        raise InputError(
            "Tables of this kind are not read.",
            where=path,
            got=path.suffix or "no suffix",
            expected="a .csv, .tsv or .parquet table, or nnU-Net's summary.json",
            fix="export the table as CSV",
        )
    try:
        content = path.read_bytes()
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise InputError(
            "The table cannot be read.", where=path.absolute(), got=error.strerror, fix="check the path"
        ) from error
    try:
        frame = readers[path.suffix.lower()](path, content)
    except MedimgError:
        raise
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        raise InputError(
            "This file is no table.",
            where=path,
            got=(str(error).splitlines() or [type(error).__name__])[0],
            expected="one header line, and as many cells in every row",
            fix="open the file and look at the row named above",
        ) from error
    if not len(frame):
        raise InputError("The table holds no row.", where=path, fix="write one row per case")
    frame.columns = pd.Index([str(name) for name in frame.columns])
    frame = frame.reset_index(drop=True).astype(str).apply(lambda column: column.str.strip())
    return Table(frame, path, hashlib.sha256(content).hexdigest(), modified)


def _csv(path: Path, content: bytes) -> pd.DataFrame:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            "The table is not written in UTF-8.", where=path, got=f"byte {error.start}", fix="save it as CSV UTF-8"
        ) from error
    header = text.lstrip().split("\n", 1)[0].rstrip("\r")
    separator = max(_SEPARATORS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise InputError(
            "Two columns have the same name.", where=path, got=", ".join(double), fix="give every column its own name"
        )
    frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, header=0)
    # pandas takes a header that is too short for an index, and fills rows that are.
    ragged = frame.index[frame.isna().any(axis=1)] if isinstance(frame.index, pd.RangeIndex) else [0]
    if len(ragged):
        raise ValueError(f"line {int(ragged[0]) + 2} has not as many cells as the header")
    return frame.rename(columns=lambda name: str(name).strip())


def _parquet(path: Path, content: bytes) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    return pd.DataFrame({name: _as_text(frame[name]) for name in frame.columns})


def _as_numbers(texts: pd.Series) -> pd.Series:
    """Return texts as float64, NaN where a text is none."""
    if not texts.str.contains("_", regex=False).any():
        try:
            filled = texts.where(texts != "", "nan").to_numpy(object)
            return pd.Series(filled.astype(np.float64), index=texts.index)
        except ValueError:
            # Some cell is no number: one by one.
            pass
    return texts.map({text: _number(text) for text in texts.unique()}).astype(np.float64)


def _number(text: str) -> float:
    """Return the number of a cell; ``true`` and ``false`` are numbers, ``1_000`` and ``inf`` are none."""
    if text[:1].isalpha() or "_" in text:
        return {"true": 1.0, "false": 0.0}.get(text.lower(), float("nan"))
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _as_text(values: pd.Series) -> pd.Series:
    """Return a column as text; whole numbers without a point, so that keys join whatever their type was."""
    if pd.api.types.is_float_dtype(values):
        whole = values.notna() & (values % 1 == 0) & (values.abs() < 2**53)
        texts = values.map(lambda value: repr(float(value)), na_action="ignore").astype(object)
        texts[whole] = values[whole].astype(np.int64).astype(str)
    else:
        texts = values.astype(object).map(str, na_action="ignore")
    return texts.where(values.notna(), "")


def _summary(path: Path, content: bytes) -> pd.DataFrame:
    """Read nnU-Net's summary.json (both its versions): one row per case and label."""
    document: Any = json.loads(content)
    rows = []
    cases = document.get("metric_per_case") or (document.get("results") or {}).get("all")
    if not cases:
        raise InputError(
            "This JSON file is no summary of nnU-Net.",
            where=path,
            got=f"keys {', '.join(sorted(map(str, document)))}",
            expected="metric_per_case, or results.all",
            fix="give the summary.json of nnUNetv2_evaluate_folder, or a CSV table",
        )
    for case in cases:
        name = Path(str(case.get("reference_file") or case.get("reference") or case["prediction_file"])).name
        labels = case.get("metrics") or {key: value for key, value in case.items() if isinstance(value, dict)}
        for label, found in labels.items():
            n_true = found.get("n_ref", found.get("Total Positives Reference"))
            n_pred = found.get("n_pred", found.get("Total Positives Test"))
            dice = found["Dice"]
            # nnU-Net writes NaN where neither truth nor prediction shows the label.
            both_empty = n_true == 0 and n_pred == 0
            rows.append(
                {
                    "case_id": name.split(".")[0],
                    "target": str(label),
                    "dice": "1.0" if both_empty else "" if dice is None or dice != dice else repr(float(dice)),
                    "truth_empty": "" if n_true is None else str(int(n_true == 0)),
                    "pred_empty": "" if n_pred is None else str(int(n_pred == 0)),
                }
            )
    return pd.DataFrame(rows)
