"""One row of a forest plot as a small drawing: the rows of a table make the plot, and every number stands beside it.

Coordinates: the drawing is 100 units wide and ``HEIGHT`` high; values are mapped linearly onto its width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from medimg.evaluation.document import Endpoint, Result
from medimg.reports.numbers import decimals_for, plain
from medimg.reports.wording import Mark, mark_of

HEIGHT, MIDDLE, PAD = 16.0, 8.0, 5.0
_SHAPES = {
    "o": '<circle cx="{x}" cy="8" r="3.1"{paint}/>',
    "s": '<rect x="{left}" y="5.2" width="5.6" height="5.6"{paint}/>',
    "D": '<path d="M{x} 4L{right} 8L{x} 12L{left_tip} 8Z"{paint}/>',
}


@dataclass(frozen=True)
class Scale:
    """The values at the ends of the drawing, and the values that are marked on every row.

    ``limit`` is what was declared (dashed), ``zero`` where a gap is none (unbroken).
    """

    low: float
    high: float
    limit: float | None = None
    zero: float | None = None

    def at(self, value: float) -> float:
        """Return the place of a value in units of the drawing."""
        return PAD + (100 - 2 * PAD) * (value - self.low) / (self.high - self.low)

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as printed."""
        digits = decimals_for(self.low, self.high)
        return plain(self.low, digits), plain(self.high, digits)


def estimate_scale(endpoint: Endpoint, results: Iterable[Result]) -> Scale:
    """Return the scale of the estimates of an endpoint: every interval and the floor lie on it."""
    known = [v for r in results if not r.suppressed for v in (r.estimate, r.low, r.high) if v is not None]
    low, high = _ends([*known, *([] if endpoint.floor is None else [endpoint.floor])])
    return Scale(low, high, limit=endpoint.floor)


def gap_scale(endpoint: Endpoint, results: Iterable[Result]) -> Scale:
    """Return the scale of the gaps of an endpoint: every interval, zero and the margin lie on it."""
    known = [0.0]
    for result in results:
        if result.gap is None or result.suppressed:
            continue
        known += [v for v in (result.gap.estimate, result.gap.low, result.gap.high) if v is not None]
        if result.smallest_detectable_gap is not None:
            known.append(_worse(endpoint, result.smallest_detectable_gap))
    margin = None if endpoint.gap_margin is None else _worse(endpoint, endpoint.gap_margin)
    low, high = _ends([*known, *([] if margin is None else [margin])])
    return Scale(low, high, limit=margin, zero=0.0)


def estimate_strip(scale: Scale, result: Result) -> Markup:
    """Return the row of an estimate; only the lines of the scale where there is no number."""
    drawn = _lines(scale)
    if result.estimate is not None and not result.suppressed:
        drawn += _interval(scale, result.estimate, result.low, result.high, mark_of(result.floor_verdict))
    return _svg(drawn)


def gap_strip(scale: Scale, endpoint: Endpoint, result: Result) -> Markup:
    """Return the row of a gap, with the smallest gap that the test set would have found."""
    drawn = _lines(scale)
    gap = result.gap
    if gap is not None and gap.estimate is not None and not result.suppressed:
        if result.smallest_detectable_gap is not None:
            x = f"{scale.at(_worse(endpoint, result.smallest_detectable_gap)):.2f}"
            drawn += f'<path d="M{x} 2V14" stroke="var(--ink)" stroke-width="1.3" stroke-dasharray="1.3 1.3"/>'
        drawn += _interval(scale, gap.estimate, gap.low, gap.high, mark_of(gap.verdict))
    return _svg(drawn)


def _worse(endpoint: Endpoint, size: float) -> float:
    """Return a disadvantage as the gap that it makes."""
    return size if endpoint.better == "lower" else -size


def _ends(values: list[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.05, high + 0.05)


def _lines(scale: Scale) -> str:
    drawn = ""
    if scale.zero is not None:
        drawn += f'<path d="M{scale.at(scale.zero):.2f} -4V20" stroke="var(--muted)" stroke-width="0.8"/>'
    if scale.limit is not None:
        x = f"{scale.at(scale.limit):.2f}"
        drawn += f'<path d="M{x} -4V20" stroke="var(--ink)" stroke-width="1.1" stroke-dasharray="3 2"/>'
    return drawn


def _interval(scale: Scale, estimate: float, low: float | None, high: float | None, mark: Mark) -> str:
    tone = "muted" if mark.tone == "plain" else mark.tone
    drawn = ""
    if low is not None and high is not None:
        drawn = f'<path d="M{scale.at(low):.2f} 8H{scale.at(high):.2f}" stroke="var(--{tone})" stroke-width="2"/>'
    x = scale.at(estimate)
    fill = f"var(--{tone})" if mark.filled else "var(--paper)"
    return drawn + _SHAPES[mark.marker].format(
        x=f"{x:.2f}",
        left=f"{x - 2.8:.2f}",
        right=f"{x + 4:.2f}",
        left_tip=f"{x - 4:.2f}",
        paint=f' fill="{fill}" stroke="var(--{tone})" stroke-width="1.3"',
    )


def _svg(drawn: str) -> Markup:
    # Every number of the row stands in the cells beside it: read aloud, the drawing would only repeat them.
    return Markup(f'<svg class="strip" viewBox="0 0 100 {HEIGHT:g}" aria-hidden="true" focusable="false">{drawn}</svg>')
