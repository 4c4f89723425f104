"""A matplotlib figure as SVG inside a page: accessible, the same bytes each time, in the page's own colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours that nobody would choose stand for the page's variables, so that one figure suits light, dark and print.
INK, MUTED, RULE, PAPER = "#010203", "#010204", "#010205", "#010206"
TONES = {"good": "#010211", "bad": "#010212", "unsure": "#010213", "lacking": "#010214", "plain": "#010215"}
SERIES = tuple(f"#0103{index:02x}" for index in range(6))
_VARIABLES: Mapping[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    **{colour: f"var(--{tone})" for tone, colour in TONES.items()},
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medimg",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}


def settings() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn and written, whatever the user's matplotlibrc says."""
    # The backend is the user's: a context does not put it back.
    chosen: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
    return matplotlib.rc_context(chosen | _SETTINGS)


def to_svg(figure: Figure, *, name: str, title: str, description: str) -> Markup:
    """Return a figure as an ``<svg>`` element with title and description.

    Parameters
    ----------
    figure : Figure
        Drawn within `settings`, in the colours of this module.
    name : str
        Put before every id, so that two figures on a page do not share one.
    title, description : str
        For people who do not see it.
    """
    stream = io.StringIO()
    with warnings.catch_warnings():
        # Text stays text: the page's fonts draw it, whatever characters the font of measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        FigureCanvasSVG(figure).print_svg(stream, metadata=nothing)
    text = stream.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", body).replace("xlink:href=", "href=")
    body = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    opening, rest = body[: body.index(">")], body[body.index(">") + 1 :]
    box = re.search(r'viewBox="([^"]+)"', opening)
    return Markup(
        f'<svg viewBox="{box[1] if box else ""}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>{rest}'
    )
