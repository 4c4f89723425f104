"""Runs of elements that the files of a scan have in common: walked in one file, recognised in the next at one blow.

Where an element's head (tag, value representation, length) stands and what it says decides where the next one stands.
So a walk of a file that has all heads of a run, byte for byte and at the same distances, finds that run's elements.
"""

from __future__ import annotations

from operator import itemgetter

Raw = dict[int, tuple[str, bytes]]
# Tag, where head, value and next element begin, and the value representation (None where the value is not wanted).
Element = tuple[int, int, int, int, str | None]
# The tag that ends a walk, and whether the file is implicit.
Way = tuple[int, bool]
# Shorter runs are not worth the look; more runs than these are no scan's; where more of one file differs from the
# others, a plain walk is faster.
_FEWEST, _MOST_RUNS, _MOST_TRIES = 3, 256, 12


class Run:
    """Consecutive elements, at distances from the first one."""

    def __init__(self, data: bytes, elements: list[Element]) -> None:
        begin = elements[0][1]
        self.tags, self._length = [tag for tag, *_ in elements], elements[-1][3] - begin
        self._ends = [end - begin for _, _, _, end, _ in elements]
        self._heads = itemgetter(*(slice(head - begin, start - begin) for _, head, start, _, _ in elements))
        self._stated = self._heads(data[begin:])
        self._kept = [
            (n, tag, vr, slice(start - begin, end - begin))
            for n, (tag, _, start, end, vr) in enumerate(elements)
            if vr is not None
        ]

    def take(self, data: bytes, begin: int, raw: Raw) -> tuple[int, int]:
        """Keep the wanted values of the elements that stand at ``begin`` as in this run.

        Returns
        -------
        n, end : int
            How many elements, and where the last of them ends.
        """
        block = data[begin : begin + self._length]
        heads, n = self._heads(block), len(self.tags)
        if heads != self._stated:
            n = next(n for n, (head, stated) in enumerate(zip(heads, self._stated, strict=True)) if head != stated)
        while n and self._ends[n - 1] > len(block):
            n -= 1
        for place, tag, vr, value in self._kept:
            if place >= n:
                break
            raw[tag] = (vr, block[value])
        return n, begin + (self._ends[n - 1] if n else 0)


class Layouts:
    """The runs of the files of one scan, by the first bytes of their first head and by how the file is walked."""

    def __init__(self) -> None:
        self._runs: dict[tuple[bytes, Way], Run] = {}

    def take(self, data: bytes, pos: int, last: int, way: Way, raw: Raw) -> tuple[int, int]:
        """Keep the wanted values of elements behind the tag ``last``, as far as known runs go.

        Returns
        -------
        pos, last : int
            Where the next element is, and the tag before it.
        """
        for _ in range(_MOST_TRIES):
            run = self._runs.get((data[pos : pos + 8], way))
            if run is None or run.tags[0] <= last:
                break
            n, pos = run.take(data, pos, raw)
            if not n:
                break
            last = run.tags[n - 1]
        return pos, last

    def learn(self, data: bytes, elements: list[Element], way: Way) -> None:
        """Keep a run that was walked, where it is worth it."""
        if len(elements) >= _FEWEST and len(self._runs) < _MOST_RUNS:
            pos = elements[0][1]
            self._runs[data[pos : pos + 8], way] = Run(data, elements)
