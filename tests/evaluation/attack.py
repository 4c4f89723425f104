"""An attacker who has nothing but what a report publishes, and works out the counts that it holds back.

Written apart from the code that protects: the whole table of ancestry x sex x site x truth x call is written out, every
number of report.json becomes a linear constraint on it, and linear programming gives the range of any count.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from scipy.optimize import linprog

AXES = ("ancestry", "sex", "site")
POSITIVE, NEGATIVE, EVERY = (1,), (0,), (0, 1)


class Attack:
    """The constraints that a published report puts on the table behind it.

    Parameters
    ----------
    content : dict
        report.json as parsed.
    verdicts : bool
        Whether what verdicts, labels and sentences tell is used too.
    """

    def __init__(self, content: dict[str, Any], *, verdicts: bool = True) -> None:
        self.content = content
        self.names = {axis: [r["value"] for r in content["groups"] if r["axis"] == axis] for axis in AXES}
        cross = content["ancestry_by_site"]
        self.names["site"] = self.names["site"] or cross["sites"]
        shape = (*(len(self.names[axis]) for axis in AXES), 2, 2)
        self.grid = np.arange(int(np.prod(shape))).reshape(shape)
        self.equal: list[tuple[np.ndarray, float]] = []
        self.ranges: list[tuple[np.ndarray, float, float]] = []
        self.metrics = {e["id"]: e["metric"] for e in content["endpoints"]}
        self.declared = content["protocol"]["declared"]
        self.k = self.declared["suppress_below"]
        self.everyone = next(r for r in content["groups"] if r["axis"] == "overall")
        for row in content["groups"]:
            self._row(row)
            if verdicts:
                self._said(row)
        for ancestry, counts in zip(cross["ancestries"], cross["counts"]):
            for site, n in zip(cross["sites"], counts):
                self.tell({"ancestry": ancestry, "site": site}, EVERY, EVERY, n)
        self._lists()
        self._parts()
        if verdicts:
            self._sentences()

    def cells(self, place: dict[str, str], truth: tuple[int, ...], called: tuple[int, ...]) -> np.ndarray:
        """Return a row vector that sums the cells of a place."""
        where = [[self.names[a].index(place[a])] if a in place else list(range(len(self.names[a]))) for a in AXES]
        row = np.zeros(self.grid.size)
        row[self.grid[np.ix_(*where, list(truth), list(called))].ravel()] = 1.0
        return row

    def tell(self, place: dict[str, str], truth: tuple[int, ...], called: tuple[int, ...], n: float | None) -> None:
        if n is not None:
            self.equal.append((self.cells(place, truth, called), float(n)))

    def between(self, place: dict[str, str], truth: tuple[int, ...], low: float, high: float) -> None:
        self.ranges.append((self.cells(place, truth, EVERY), low, high))

    def _place(self, row: dict[str, Any]) -> dict[str, str]:
        if row["axis"] == "overall":
            return {}
        return dict(row["parts"]) if row["parts"] else {row["axis"]: row["value"]}

    def _row(self, row: dict[str, Any]) -> None:
        place = self._place(row)
        if not set(place) <= set(AXES):
            return
        self.tell(place, EVERY, EVERY, row["n_cases"])
        self.tell(place, EVERY, EVERY, row["n_patients"])
        self.tell(place, POSITIVE, EVERY, row["n_positives"])
        self.tell(place, NEGATIVE, EVERY, row["n_negatives"])
        for result in row["results"]:
            self._result(place, row, result)

    def _result(self, place: dict[str, str], row: dict[str, Any], result: dict[str, Any]) -> None:
        metric, n, value = self.metrics[result["endpoint"]], result["n_cases"], result["estimate"]
        condition = {
            "sensitivity": (POSITIVE, EVERY, POSITIVE, POSITIVE),
            "specificity": (NEGATIVE, EVERY, NEGATIVE, NEGATIVE),
            "ppv": (EVERY, POSITIVE, POSITIVE, POSITIVE),
            "npv": (EVERY, NEGATIVE, NEGATIVE, NEGATIVE),
        }.get(metric)
        if condition is None:
            return
        assert (value is None) or (n is not None), "an estimate whose denominator is not told can be turned into it"
        self.tell(place, *condition[:2], n)
        if value is not None:
            self.tell(place, *condition[2:], round(value * n))
        gap, total = result["gap"], self._overall(result["endpoint"])
        if gap and gap["estimate"] is not None and gap["reference"] == "rest" and n and total["n_cases"]:
            rest, m = value - gap["estimate"], total["n_cases"] - n
            hits = self.cells({}, *condition[2:]) - self.cells(place, *condition[2:])
            self.equal.append((hits, float(round(rest * m))))

    def _overall(self, endpoint: str) -> dict[str, Any]:
        return next(r for r in self.everyone["results"] if r["endpoint"] == endpoint)

    def _said(self, row: dict[str, Any]) -> None:
        """Use why a row is held back, and for which numbers its verdicts stand."""
        place = self._place(row)
        if not place or not set(place) <= set(AXES):
            return
        if row["suppressed"]:
            low, high = {"small": (1, self.k - 1), "complement": (self.k, np.inf), None: (1, np.inf)}[
                row["suppressed_as"]
            ]
            self.between(place, EVERY, low, high)
        for result in row["results"]:
            if result["floor_verdict"] in (None, "INSUFFICIENT DATA"):
                continue
            self.between(place, EVERY, max(self.k, self.declared["min_patients"]), np.inf)
            if self.metrics[result["endpoint"]] in ("sensitivity", "auc"):
                self.between(place, POSITIVE, max(self.k, self.declared["min_positives"]), np.inf)
            if self.metrics[result["endpoint"]] in ("specificity", "auc"):
                self.between(place, NEGATIVE, max(self.k, self.declared["min_negatives"]), np.inf)

    def _lists(self) -> None:
        test = self.content["test_set"]
        unknown = self.cells({"ancestry": "unknown"}, EVERY, EVERY) + self.cells({"ancestry": "declined"}, EVERY, EVERY)
        self.tell({}, EVERY, EVERY, test["n_patients"])
        if test["fraction_unknown"] is not None:
            self.equal.append((unknown, float(round(test["fraction_unknown"] * test["n_patients"]))))
        for name in ("ancestry_sources", "ancestry_schemes"):
            told = [n for n in test[name].values() if n is not None]
            hidden = len(test[name]) - len(told)
            known = self.cells({}, EVERY, EVERY) - unknown
            self.ranges.append((known, sum(told) + hidden, np.inf if hidden else sum(told)))

    def _parts(self) -> None:
        """Use the parts that stand beside the table of groups."""
        for curve in [*self.content["curves"], *self.content["calibration"], *self.content["decision_curves"]]:
            place = {} if curve["axis"] == "overall" else {curve["axis"]: curve["value"]}
            self.tell(place, EVERY, EVERY, curve["n_patients"])
            if curve.get("treat_all"):
                t, benefit = curve["thresholds"][0], curve["treat_all"][0]
                share = (benefit + t / (1 - t)) / (1 + t / (1 - t))
                n = curve["n_patients"]
                self.between(place, POSITIVE, n * (share - 0.001) - 0.5, n * (share + 0.001) + 0.5)
        for curve in self.content["calibration"]:
            place = {} if curve["axis"] == "overall" else {curve["axis"]: curve["value"]}
            n = sum(p["n_cases"] for p in curve["points"])
            p = sum(p["n_cases"] * p["observed"] for p in curve["points"])
            self.between(place, POSITIVE, p - 0.0006 * n - 0.5, p + 0.0006 * n + 0.5)

    def _sentences(self) -> None:
        for text in [*self.content["status_reasons"], *self.content["not_validated_for"]]:
            group = re.match(r"(ancestry|sex|site) (\w+)[,:]", text)
            for n, what in re.findall(r"(\d+) of the \d+ patients(?: with a (positive|negative))? needed", text):
                # The patients that an endpoint rests on: of a sensitivity those with a positive.
                rests_on = POSITIVE if "sensitivity:" in text else EVERY
                truth = {"": rests_on, "positive": POSITIVE, "negative": NEGATIVE}[what]
                if group and "rest:" not in text:
                    self.tell({group[1]: group[2]}, truth, EVERY, int(n))

    def range_of(self, place: dict[str, str], truth: tuple[int, ...]) -> tuple[float, float]:
        """Return the least and greatest value of a count that agree with everything published."""
        goal = self.cells(place, truth, EVERY)
        bounded = [(row, high) for row, _, high in self.ranges if np.isfinite(high)]
        bounded += [(-row, -low) for row, low, _ in self.ranges if low > 0]
        found = []
        for sign in (1.0, -1.0):
            solved = linprog(
                sign * goal,
                A_ub=np.array([row for row, _ in bounded]) if bounded else None,
                b_ub=np.array([n for _, n in bounded]) if bounded else None,
                A_eq=np.array([row for row, _ in self.equal]),
                b_eq=np.array([n for _, n in self.equal]),
            )
            assert solved.status in (0, 3), f"the report contradicts itself: {solved.message}"
            found.append(sign * solved.fun if solved.status == 0 else np.inf)
        return round(found[0], 6), round(found[1], 6)
