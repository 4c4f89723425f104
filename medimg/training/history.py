"""metrics.csv: one row a stretch of steps, cut back to the checkpoint when a run goes on."""

from __future__ import annotations

import csv
import os
from pathlib import Path

Row = dict[str, float]


class History:
    """Rows of metrics.csv, in memory and on disk.

    Parameters
    ----------
    path : Path
        The file; rows up to ``step`` are kept, the rest goes.
    step : int
        Steps done; 0 starts anew.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        self.rows = [row for row in read_rows(path) if row["step"] <= step] if step else []
        self._columns = list(dict.fromkeys(name for row in self.rows for name in row))
        self._rewrite()

    def add(self, row: Row) -> None:
        """Append a row, on disk when this returns; unknown names become new columns."""
        self.rows.append(row)
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.path)


def read_rows(path: Path) -> list[Row]:
    """Return the complete rows of a metrics.csv; cells that were not measured are absent."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A kill in the middle of a write leaves a last line without its end, whose numbers may be cut short.
    whole = [line for line in lines if line.endswith("\n")]
    return [
        {name: int(cell) if name == "step" else float(cell) for name, cell in row.items() if cell}
        for row in csv.DictReader(whole)
    ]
