"""A folder of files, each de-identified and written below another folder, and the report of it all."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from medimg.errors import ConfigError, InputError
from medimg.io.atomic import replacing
from medimg.io.sniff import sniff
from medimg.pacs.deidentify.ancestry import AncestryTable
from medimg.pacs.deidentify.burned_in import read_catalogue
from medimg.pacs.deidentify.keyed import Key
from medimg.pacs.deidentify.known import names_of
from medimg.pacs.deidentify.one_file import Refused, Skipped, Tools, deidentify_file, write
from medimg.pacs.deidentify.private import safe_list
from medimg.pacs.deidentify.report import FileRecord, Row, write_actions, write_report
from medimg.pacs.deidentify.settings import DeidentifySettings

REPORT, ACTIONS = "deidentification.json", "deidentification_actions.csv"


def deidentify_tree(
    source: Path,
    output: Path,
    key: Key,
    settings: DeidentifySettings,
    *,
    ancestry: Path | None = None,
    index: Path | None = None,
) -> list[FileRecord]:
    """De-identify every DICOM file below a folder, or one file.

    Parameters
    ----------
    source : Path
        Is only read.
    output : Path
        Gets ``PSEUDONYM/STUDY/SERIES/INSTANCE.dcm`` by new UIDs, ``deidentification.json`` and
        ``deidentification_actions.csv``.
    key : Key
        Where pseudonyms, UIDs and shifts come from.
    settings : DeidentifySettings
        The options.
    ancestry : Path, optional
        Table of ancestry by pseudonym; outside ``output``.
    index : Path, optional
        Table of file numbers and input paths, which may identify; outside ``output``.

    Raises
    ------
    ConfigError
        Folders lie inside each other, or a table would lie beside the data.
    InputError
        The source is missing, or a table or the output cannot be written.
    """
    _apart(source, output, ancestry, index)
    table = AncestryTable() if ancestry else None
    names = names_of(Path(settings.names)) if settings.names else set()
    catalogue = read_catalogue(Path(settings.catalogue) if settings.catalogue else None)
    tools = Tools(settings, key, safe_list(settings.safe_private), catalogue, names, table)
    files = _files(source)
    records: list[FileRecord] = []
    counts: Counter[Row] = Counter()
    output.mkdir(parents=True, exist_ok=True)
    write_actions(output / ACTIONS, _all(files, output, tools, records, counts))
    write_report(output / REPORT, records, asdict(settings) | {"names": bool(names)}, counts)
    if table is not None and ancestry is not None:
        table.write(ancestry)
    if index is not None:
        with replacing(index) as part, part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("file", "path"), *enumerate(map(str, files))])
    return records


def _all(
    files: list[Path], output: Path, tools: Tools, records: list[FileRecord], counts: Counter[Row]
) -> Iterator[tuple[int, Row]]:
    """Treat one file after another; yield each action of the files that were written."""
    written: set[Path] = set()
    for number, path in enumerate(files):
        record = FileRecord(number, "written")
        records.append(record)
        for row in _one(path, output, tools, record, written):
            counts[row] += 1
            yield number, row


def _one(path: Path, output: Path, tools: Tools, record: FileRecord, written: set[Path]) -> list[Row]:
    try:
        content = sniff(path)
        if content.kind == "dicom" and content.compressed:
            raise InputError("A compressed file is not unpacked here.", fix="gunzip it first")
        if content.kind != "dicom":
            record.status, record.reason = "skipped", f"no DICOM file: {content.name}"
            return []
        outcome = deidentify_file(path, tools)
        if outcome.name in written:
            raise Refused("Another file holds an object with the same SOP Instance UID.")
        write(outcome, output)
    except Skipped as error:
        record.status, record.reason = "skipped", error.what
        return []
    except Refused as error:
        record.status, record.reason = "refused", error.what
        return []
    except InputError as error:
        record.status, record.reason = "unreadable", error.what
        return []
    written.add(outcome.name)
    record.status = "flagged" if outcome.flags else "written"
    record.output, record.flags, record.actions = str(outcome.name), outcome.flags, len(outcome.actions.rows)
    return outcome.actions.rows


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(Path(folder) / name for folder, _, names in os.walk(source) for name in names)


def _apart(source: Path, output: Path, *tables: Path | None) -> None:
    if not source.exists():
        raise InputError("There is nothing to de-identify.", where=source, fix="check the path")
    for inner, outer in ((output, source), (source, output)):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise ConfigError("input and output must lie apart", where=output, expected=f"a folder outside {source}")
    for table in tables:
        if table is not None and table.resolve().is_relative_to(output.resolve()):
            raise ConfigError("this table must not lie beside the data", where=table, expected=f"outside {output}")
