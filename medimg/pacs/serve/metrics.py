"""The overview as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


def metrics(seen: Mapping[str, Any], healthy: bool) -> str:
    """Return what `medimg.pacs.serve.overview.overview` found, one sample a line."""
    deliveries = [
        ({"destination": name, "state": state}, float(n))
        for name, states in seen["deliveries"].items()
        for state, n in states.items()
    ]
    beats = [({"process": name}, float(one["last_beat_s_ago"])) for name, one in seen["processes"].items()]
    lines = _family("medimg_healthy", "gauge", "1 where /health answers 200.", [({}, float(healthy))])
    lines += _family("medimg_series", "gauge", "Series by state.", _states(seen["series"]))
    lines += _family("medimg_jobs", "gauge", "Jobs by state.", _states(seen["jobs"]))
    lines += _family("medimg_deliveries", "gauge", "Results by destination and state.", deliveries)
    lines += _family("medimg_last_beat_seconds", "gauge", "Seconds since a process was last alive.", beats)
    lines += _family("medimg_spool_bytes", "gauge", "Bytes of instances kept.", [({}, float(seen["spool_bytes"]))])
    lines += _family("medimg_free_bytes", "gauge", "Bytes the disk still takes.", [({}, float(seen["free_bytes"]))])
    counters = [({"event": name}, float(n)) for name, n in seen["counters"].items()]
    lines += _family("medimg_events_total", "counter", "What was counted since the journal began.", counters)
    return "\n".join(lines) + "\n"


def _states(states: Mapping[str, int]) -> list[Sample]:
    return [({"state": state}, float(n)) for state, n in states.items()]


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(one)}"' for key, one in labels.items())
        lines.append(f"{name}{{{inside}}} {value:.15g}" if inside else f"{name} {value:.15g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
