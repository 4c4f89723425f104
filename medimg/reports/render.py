"""A report's folder: report.json, and everything that is rendered from it alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from medimg.errors import InputError
from medimg.evaluation.document import Report, dump_report, write_report
from medimg.io.atomic import replacing
from medimg.reports.html import render_html
from medimg.reports.model_card import model_card
from medimg.reports.pdf import render_pdf
from medimg.reports.records import records_csv


def render(
    report: Report,
    folder: Path,
    *,
    overlays: Path | None = None,
    manifest: Mapping[str, Any] | None = None,
    language: str = "en",
    pdf: bool = False,
) -> list[Path]:
    """Write report.json, report.html, records.csv, the pictures of the worst cases and, for a package, its card.

    Parameters
    ----------
    report : Report
    folder : Path
        Made where it is missing. Each file is written in one step.
    overlays : Path, optional
        Folder with the pictures that the report's worst cases name. Default: ``folder`` itself, to which the
        report's paths are relative. A picture that is not there is shown as missing.
    manifest : mapping, optional
        package.json of the package; with it MODEL_CARD.md is written.
    language : {'en', 'zh'}
        Of the page's headings, verdicts and summary.
    pdf : bool
        Write report.pdf too.

    Returns
    -------
    list of Path
        The files, report.json first.

    Raises
    ------
    InputError
        The folder cannot be written to, or the report names a picture outside its folder.
    ConfigError
        For a language without texts.
    MissingDependency
        Where a PDF is asked for and what makes it is not there; nothing is written then.
    """
    folder = Path(folder)
    # What is rendered is what is written: canonical JSON rounds numbers and sorts keys.
    report = Report.model_validate_json(dump_report(report))
    pictures = _pictures(report, Path(overlays) if overlays is not None else folder)
    page = render_html(report, {name: path.read_bytes() for name, path in pictures.items()}, language)
    contents = {"report.html": page.encode(), "records.csv": records_csv(report).encode()}
    if manifest is not None:
        contents["MODEL_CARD.md"] = model_card(report, manifest).encode()
    if pdf:
        contents["report.pdf"] = render_pdf(page, language)
    files = [write_report(report, folder / "report.json")]
    for name, content in contents.items():
        with replacing(folder / name) as part:
            part.write_bytes(content)
        files.append(folder / name)
    return files + [_copy(source, folder / name) for name, source in pictures.items()]


def _pictures(report: Report, source: Path) -> dict[str, Path]:
    """Return the pictures that are there, by the name that the report gives them."""
    found = {}
    for name in dict.fromkeys(case.overlay for case in report.worst_cases if case.overlay):
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or parts.suffix != ".png":
            raise InputError(
                "The report names a picture that does not belong to it.",
                where="report.json, worst_cases, overlay",
                expected="a PNG file within the report's folder",
                fix="write the report anew with `medimg evaluate`",
            )
        path = source / parts
        if path.is_file() and not path.is_symlink():
            found[name] = path
    return found


def _copy(source: Path, target: Path) -> Path:
    if target.exists() and target.samefile(source):
        return target
    with replacing(target) as part:
        shutil.copyfile(source, part)
    return target
