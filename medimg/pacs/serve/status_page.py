"""The overview as one page: no script, nothing from elsewhere, light and dark."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #57606a; --paper: #fff; --line: #d0d7de; --good: #116329;
  --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9aa4af; --paper: #0d1117; --line: #30363d;
  --good: #56d364; --bad: #ff9492; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .faint { color: var(--faint); }
.wide { overflow-x: auto; }
"""
_SUM = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_SUM}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy that the page is served with."""


def page(seen: Mapping[str, Any], wrong: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    seen : mapping
        From `medimg.pacs.serve.overview.overview`.
    wrong : sequence of str
        From `medimg.pacs.serve.overview.problems`.
    """
    state = '<p class="good">Healthy.</p>' if not wrong else f'<p class="bad">{escape("; ".join(wrong))}</p>'
    deliveries = [
        {"destination": name, "state": one, "results": n}
        for name, states in seen["deliveries"].items()
        for one, n in states.items()
    ]
    parts = [
        _table("Processes", [{"process": name, **one} for name, one in seen["processes"].items()], ("started_s",)),
        _table("Series", _counts(seen["series"])),
        _table("Waiting and held", seen["waiting"]),
        _table("Jobs", _counts(seen["jobs"])),
        _table("Jobs given up", seen["dead_jobs"]),
        _table("Results", deliveries),
        _table("Dead letters", seen["dead_letters"]),
        _table("Last findings", seen["findings"]),
    ]
    gibibytes = f"{seen['spool_bytes'] / 2**30:.2f} GiB kept, {seen['free_bytes'] / 2**30:.2f} GiB free"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>medimg serve</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="refresh" content="10">'
        f"<style>{_STYLE}</style></head><body><main><h1>medimg serve</h1>{state}"
        f'<p class="faint">{gibibytes}. Research use only.</p>{"".join(parts)}</main></body></html>'
    )


def _counts(states: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"state": state, "count": n} for state, n in states.items()]


def _table(title: str, rows: Sequence[Mapping[str, Any]], without: Sequence[str] = ()) -> str:
    if not rows:
        return f'<h2>{escape(title)}</h2><p class="faint">None.</p>'
    names = [name for name in rows[0] if name not in without]
    head = "".join(f'<th scope="col">{escape(_words(name))}</th>' for name in names)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{escape('' if row[name] is None else str(row[name]))}</td>" for name in names)
        lines.append(f"<tr>{cells}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<h2>{escape(title)}</h2><div class="wide">{table}</div>'


def _words(name: str) -> str:
    return {"s_ago": "seconds ago", "quiet_s": "quiet for (s)", "last_beat_s_ago": "last beat (s ago)"}.get(name, name)
