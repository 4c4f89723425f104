"""report.html as PDF, by WeasyPrint: an extra, since it needs Pango of the system."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files

from medimg.errors import MissingDependency
from medimg.io.whole_pictures import refuse_cut_pictures
from medimg.reports.language import LANGUAGES

_CSS_VARIABLE = re.compile(r"(--[\w-]+):\s*([^;]+);")


def render_pdf(page: str, language: str = "en") -> bytes:
    """Return the PDF of a page of `medimg.reports.html.render_html`, in the page's light colours.

    Parameters
    ----------
    page : str
        The HTML; nothing beside it is read.
    language : {'en', 'zh'}
        Chinese needs a font of the system that has its characters.

    Returns
    -------
    bytes
        A tagged PDF whose bytes depend on the page, WeasyPrint's version and the system's fonts alone.

    Raises
    ------
    MissingDependency
        Without WeasyPrint, without Pango, or without a font for the language.
    """
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        raise MissingDependency(
            "A PDF needs WeasyPrint and the system's Pango.",
            where="pdf",
            got=str(error).splitlines()[0],
            fix="pip install 'medimg[pdf]' and install Pango (Debian: libpango-1.0-0 libpangoft2-1.0-0), "
            "or print report.html from a browser",
        ) from error
    refuse_cut_pictures()
    _check_font(language)
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=["data"])
    document = weasyprint.HTML(string=_concrete(page), url_fetcher=fetcher)
    return bytes(document.write_pdf(pdf_tags=True))


def _concrete(page: str) -> str:
    """Return the page with every CSS variable replaced by its light value: drawings know no variables in a PDF."""
    style = (files("medimg.reports") / "templates" / "style.css").read_text(encoding="utf-8")
    values = dict(_CSS_VARIABLE.findall(style[style.index(":root") : style.index("@media")]))
    return re.sub(r"var\((--[\w-]+)\)", lambda match: values.get(match[1], match[0]).replace('"', "'"), page)


def _check_font(language: str) -> None:
    lister = shutil.which("fc-list")
    if language == LANGUAGES[0] or lister is None:
        return
    found = subprocess.run([lister, f":lang={language}", "family"], capture_output=True, text=True, check=False).stdout
    if not found.strip():
        raise MissingDependency(
            "No font of this system has the characters of the language.",
            where="pdf, language",
            got=language,
            fix="install one (Debian: fonts-noto-cjk), or print report.html from a browser that has one",
        )
