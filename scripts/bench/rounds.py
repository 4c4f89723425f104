"""Time several programs side by side, and write what came out into docs/benchmarks.md."""

from __future__ import annotations

import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TITLE = "# Benchmarks\n\nMade by the scripts in `scripts/bench/`, each side by side with its peers in one run.\n"


@dataclass(frozen=True)
class Peer:
    """Another program for the same work, how many times as fast medimg should be, and a check of its own values."""

    name: str
    run: Callable[[], object]
    goal: float
    stretch: float | None = None
    check: Callable[[object], None] | None = None


@dataclass
class Contest:
    """One line of work: medimg and its peers, each of which returns what ``check`` (or its own check) accepts."""

    name: str
    ours: Callable[[], object]
    peers: Sequence[Peer]
    check: Callable[[object], None]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def play(self, rounds: int) -> None:
        """Check every output once (which also warms up), then time all of them in turn."""
        runs = {"medimg": self.ours} | {peer.name: peer.run for peer in self.peers}
        self.check(self.ours())
        for peer in self.peers:
            (peer.check or self.check)(peer.run())
        self.seconds = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                gc.collect()
                start = time.perf_counter()
                result = run()
                self.seconds[name].append(time.perf_counter() - start)
                del result

    def ratios(self) -> dict[str, float]:
        """Return, for every peer, the median over rounds of its time divided by medimg's in the same round."""
        ours = self.seconds["medimg"]
        return {
            peer.name: statistics.median(theirs / mine for theirs, mine in zip(self.seconds[peer.name], ours))
            for peer in self.peers
        }


def table(contests: Sequence[Contest]) -> list[str]:
    """Return the lines of a Markdown table: median milliseconds, ratios, goals."""
    lines = [
        "| work | program | median, ms | medimg is × as fast | goal | reached |",
        "|---|---|---:|---:|---:|---|",
    ]
    for contest in contests:
        ratios = contest.ratios()
        median = {name: 1e3 * statistics.median(values) for name, values in contest.seconds.items()}
        lines.append(f"| **{contest.name}** | medimg | {median['medimg']:,.0f} | | | |")
        for peer in contest.peers:
            ratio = ratios[peer.name]
            reached = "yes" if ratio >= peer.goal else "**no**"
            goal = f"{peer.goal:g}"
            if peer.stretch is not None:
                goal += f" (stretch {peer.stretch:g})"
                reached += ", stretch too" if ratio >= peer.stretch else ""
            lines.append(f"| | {peer.name} | {median[peer.name]:,.0f} | {ratio:.1f} | {goal} | {reached} |")
    return lines


def machine() -> str:
    """Describe the machine in one line: processor, cores, load before the run."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        model = found[1].strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores for this process, {platform.system()}, load {os.getloadavg()[0]:.1f} before the run"


def versions(names: Sequence[str]) -> str:
    """Name the versions of Python and of packages."""
    parts = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"no {name}")
    return ", ".join(parts)


def write_section(path: Path, name: str, lines: Sequence[str]) -> None:
    """Replace the section of this name in a Markdown file, or append it; the file is made where it is missing."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = "\n".join([begin, *lines, end])
    text = path.read_text() if path.exists() else TITLE
    if begin in text and end in text:
        before, after = text.split(begin)[0], text.split(end, 1)[1]
        text = before + section + after
    else:
        text = text.rstrip() + "\n\n" + section + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
