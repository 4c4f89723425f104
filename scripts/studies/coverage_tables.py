"""The tables of docs/statistics.md from the results of the study of coverage."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coverage_people import SHAPES
from scipy import stats

TITLES = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "dice_mean": "Mean Dice",
    "dice_median": "Median Dice",
}
DESIGNS = {
    "own": "",
    "mixed": ", both classes in a patient",
    "shared": ", patients shared with the rest",
    "single": ", one image a patient",
}
LOWEST, HIGHEST = 0.93, 0.97


def write_tables(results: Mapping[str, Any], path: Path) -> None:
    """Put the tables between their marks in a document."""
    put_between("coverage", lines(results), path)


def put_between(name: str, text: Iterable[str], path: Path) -> None:
    """Put lines between the marks of that name in a document, in one step."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text("\n".join([before + begin, *text, end + after]), encoding="utf-8")
    os.replace(beside, path)


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Return the Markdown of all tables."""
    cells = {tuple(name.split("|")): found for name, found in results["cells"].items()}
    error = 100 * (0.95 * 0.05 / results["runs"]) ** 0.5
    yield f"{results['runs']:,} simulations a cell, seed {results['seed']}; the Monte-Carlo error of 95 % is"
    yield f"{error:.2f} points. Share of intervals that hold the truth, in %: of the group / of its gap to the rest."
    yield "Outside 93 to 97 in bold.\n"
    yield from _summary(results["cells"])
    for metric, title in TITLES.items():
        mine = {key[1:]: found for key, found in cells.items() if key[0] == metric}
        if mine:
            yield from _metric(title, mine)
    yield from _shapes()
    yield from _small(results["small"])
    yield from _families(results["families"])
    yield from _reports(results["reports"])


def _summary(cells: Mapping[str, Any]) -> Iterator[str]:
    yield "| cells | | within 93 to 97 % | below | above | lowest | highest |\n|---|---|---:|---:|---:|---:|---:|"
    kinds = {"at least 30 patients, clustered": [], "30 images of 12 patients": [], "one image a patient": []}
    for name, found in cells.items():
        kind = 2 if name.endswith("|single") else 1 if " images|" in name else 0
        list(kinds.values())[kind].append(found)
    for kind, members in kinds.items():
        for part, text in (("estimate", "group"), ("gap", "gap")):
            covered = [found[part]["covered"] for found in members if part in found]
            if covered:
                within = sum(LOWEST <= c <= HIGHEST for c in covered)
                sides = f"{sum(c < LOWEST for c in covered)} | {sum(c > HIGHEST for c in covered)}"
                ends = f"{100 * min(covered):.1f} | {100 * max(covered):.1f}"
                yield f"| {kind} | {text} | {within} of {len(covered)} | {sides} | {ends} |"
    yield ""


def _metric(title: str, cells: Mapping[tuple[str, ...], Any]) -> Iterator[str]:
    truths = list(dict.fromkeys(key[0] for key in cells))
    yield f"### {title}\n"
    yield f"| group | {' | '.join(f'truth {truth}' for truth in truths)} |"
    yield f"|---|{'---:|' * len(truths)}"
    for setting in sorted({key[1:] for key in cells}, key=_place):
        n, icc, design = setting
        correlation = "" if design == "single" else f", correlation {icc}"
        found = [cells.get((truth, *setting)) for truth in truths]
        yield f"| {n}{DESIGNS[design]}{correlation} | {' | '.join(_pair(f) for f in found)} |"
    yield ""


def _place(setting: tuple[str, ...]) -> tuple[int, bool, int, str]:
    n, icc, design = setting
    return list(DESIGNS).index(design), n.endswith("images"), int(n.split()[0]), icc


def _pair(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return " / ".join(_share(found[part]["covered"]) for part in ("estimate", "gap") if part in found)


def _share(covered: float) -> str:
    text = f"{100 * covered:.1f}"
    return text if LOWEST <= covered <= HIGHEST else f"**{text}**"


def _shapes() -> Iterator[str]:
    yield "Distributions of Dice (Beta, and 0 with the chance of a failure):\n"
    yield "| name | mean | median | SD | skewness |\n|---|---:|---:|---:|---:|"
    for name, shape in SHAPES.items():
        first, second, third = ((1 - shape.failing) * float(stats.beta(shape.a, shape.b).moment(k)) for k in (1, 2, 3))
        sd = (second - first**2) ** 0.5
        skew = (third - 3 * first * second + 2 * first**3) / sd**3
        yield f"| {name} | {shape.mean:.3f} | {shape.median:.3f} | {sd:.3f} | {skew:.2f} |"
    yield ""


def _small(cells: Mapping[str, Any]) -> Iterator[str]:
    if not cells:
        return
    yield "### AUC in small groups, one image a patient\n"
    yield "| positives/negatives | truth | as reported | DeLong without logit | undefined |\n|---|---:|---:|---:|---:|"
    for name, found in cells.items():
        _, truth, n, *_ = name.split("|")
        shares = [f"{100 * found[part]['covered']:.1f}" for part in ("estimate", "wald")]
        yield f"| {n.removesuffix(' patients')} | {truth} | {' | '.join(shares)} | {_undefined(found)} |"
    yield ""


def _undefined(found: Mapping[str, Any]) -> str:
    return f"{100 * found['estimate']['undefined']:.1f} %"


def _families(families: Mapping[str, Any]) -> Iterator[str]:
    parted = {name: name.split("|") for name in families}
    equal = {name: parts for name, parts in parted.items() if parts[0] == "equal"}
    planted = {name: parts for name, parts in parted.items() if parts[0] != "equal"}
    if equal:
        yield "### Equal groups: share of test sets in which any group DOES NOT MEET, in %\n"
        yield "Floors at the truth, gap margin 0: the hardest case. At most 5 is wanted.\n"
        yield "| endpoints | rate | positives, and as many negatives | correlation | floor | gap | either |"
        yield "|---|---:|---|---:|---:|---:|---:|"
        for name, (_, endpoints, rate, sizes, icc) in equal.items():
            shares = " | ".join(f"{100 * families[name][part]:.1f}" for part in ("floor", "gap", "any"))
            yield f"| {endpoints} | {rate} | {sizes} | {icc} | {shares} |"
        yield ""
    if planted:
        yield "### A planted gap of 0.12 in sensitivity: share of test sets in which it is flagged, in %\n"
        yield "The second group has it; margin 0. At least 80 is wanted.\n"
        yield "| positives | correlation | flagged |\n|---|---:|---:|"
        for name, (_, _, _, sizes, icc) in planted.items():
            yield f"| {sizes} | {icc} | {100 * families[name]['flagged']:.1f} |"
        yield ""


def _reports(reports: Mapping[str, Any]) -> Iterator[str]:
    if not reports:
        return
    yield "### Whole reports of equal groups: share in which anything DOES NOT MEET, in %\n"
    yield "Through `build_report`, with floors at the truth and margin 0. On the axis ancestry the verdicts are those"
    yield "of the simulations above, one for one. Sex, age band, site and scanner make no difference either.\n"
    yield "| endpoints | correlation | reports | ancestry | any of five axes |\n|---|---:|---:|---:|---:|"
    for name, found in reports.items():
        _, endpoints, _, _, icc = name.split("|")
        shares = f"{100 * found['ancestry']:.1f} | {100 * found['any axis']:.1f}"
        yield f"| {endpoints} | {icc} | {found['runs']} | {shares} |"
    yield ""
