"""What a report is made from: who was tested, which groups there are, and the cases of each group.

The evidence may be the table of cases (:mod:`medimg.evaluation.row_evidence`) or counts that sites sent instead of
rows (:mod:`medimg.evaluation.sites.histograms`). Everything that makes a report asks this interface alone.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.evaluation.document import CrossCount, Failure, TestSet, WorstCase
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.selection import Selection

Key = tuple[str, str]
"""An axis and a value on it. Two crossed axes are joined by ``*``: ``("ancestry*sex", "AFR, female")``."""

OVERALL: Key = ("overall", "all")


@dataclass(frozen=True)
class Members:
    """Some of the cases.

    Attributes
    ----------
    rows : (n,) bool
        Which rows of the case table they are; where the evidence is counts, which groups of an axis.
    table : str
        That axis; empty for the case table.
    """

    rows: NDArray[np.bool_] = field(repr=False, compare=False)
    table: str = ""

    @cached_property
    def identity(self) -> bytes:
        """Return what the same cases share: a group of one axis is often the rest of another."""
        return hashlib.sha256(self.table.encode() + b"|" + np.packbits(self.rows).tobytes()).digest()


@dataclass(frozen=True)
class Tally:
    """How many there are in a group; a case is positive where any of its targets is."""

    n_cases: int
    n_patients: int
    n_positives: int
    n_negatives: int
    n_failed: int


class Evidence(ABC):
    """The evidence that a report is made from.

    Attributes
    ----------
    declared : Protocol
    tasks : mapping of str to str
        Task of each target.
    keys : sequence of Key
        Every group in the order of printing, :data:`OVERALL` first; crossed axes are not among them.
    test_set : TestSet
    """

    declared: Protocol
    tasks: Mapping[str, str]
    keys: Sequence[Key]
    test_set: TestSet

    @abstractmethod
    def members(self, key: Key) -> Members:
        """Return the cases of a group, of one axis or of two crossed ones."""

    @abstractmethod
    def reference(self, key: Key) -> tuple[str, Members]:
        """Return the name and the cases of what a group is compared with: ``rest``, or the declared group."""

    @abstractmethod
    def select(self, target: str, members: Members) -> Selection:
        """Return the rows of one target among some cases."""

    @abstractmethod
    def tally(self, key: Key) -> Tally:
        """Return how many there are in a group."""

    @abstractmethod
    def crossed(self, first: str, second: str) -> Mapping[Key, dict[str, str]]:
        """Return the groups of two crossed axes that hold a case, in order, with their value on either axis."""

    @abstractmethod
    def cross_count(self) -> CrossCount:
        """Return the patients by ancestry and site."""

    def in_pixels(self, target: str) -> bool:
        """Return whether distances and sizes of a target are in pixels."""
        return False

    def worst_cases(self, overlays: Mapping[tuple[str, str], str]) -> list[WorstCase]:
        """Return the worst cases of each primary target; counts name none."""
        return []

    def failures(self) -> list[Failure]:
        """Return the cases without a prediction; counts name none."""
        return []

    def remarks(self) -> list[str]:
        """Return limitations that follow from the kind of evidence."""
        return []

    @property
    def table(self) -> pd.DataFrame | None:
        """The checked case table with its groups (columns ``axis_<name>``), for methods that need rows; or None."""
        return None
