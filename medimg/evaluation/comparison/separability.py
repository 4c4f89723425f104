"""Whether ancestry can be told apart from site in this test set.

Two things speak against it: no site holds enough patients of two known ancestries, or the two are so strongly
associated that what is left hardly compares anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.document import CrossCount
from medimg.evaluation.document_parts import Separability
from medimg.evaluation.groups import LAST
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.tables import UNKNOWN

INSEPARABLE_FROM = 0.9
"""Cramer's V from which ancestry and site count as one: the patients whose site does not give their ancestry away are
then too few, whatever their number, to stand for the rest."""


def separability(cross: CrossCount, protocol: Protocol) -> Separability:
    """Judge whether differences between ancestries can be told from differences between sites.

    Parameters
    ----------
    cross : CrossCount
        Patients by ancestry and site. A suppressed count enters as half the limit, so that nothing about a small cell
        can be worked out from the association.
    protocol : Protocol
        A site counts as holding an ancestry from ``suppress_below`` patients on.
    """
    if set(cross.sites) <= {UNKNOWN}:
        what = "The site of nobody is known" if cross.sites else "Nobody was counted by ancestry and site together"
        text = f"{what}: any difference between ancestries may be one between sites."
        return Separability(separable=False, n_sites=0, n_sites_with_two=0, association=None, text=text)
    known = [row for name, row in zip(cross.ancestries, cross.counts) if name not in LAST]
    half = protocol.suppress_below / 2
    table = np.array([[half if n is None else n for n in row] for row in known], np.float64)
    table = table.reshape(len(known), len(cross.sites))
    table = table[table.sum(axis=1) > 0]
    table = table[:, table.sum(axis=0) > 0] if len(table) else table
    n_ancestries, n_sites = table.shape
    shared = int(np.sum(np.sum(table >= protocol.suppress_below, axis=0) >= 2))
    association = cramers_v(table)
    separable, text = _judge(n_ancestries, n_sites, shared, association, protocol)
    return Separability(
        separable=separable, n_sites=n_sites, n_sites_with_two=shared, association=association, text=text
    )


def cramers_v(table: NDArray[np.float64]) -> float | None:
    """Return Cramer's V with its bias corrected (Bergsma 2013, J Korean Stat Soc 42:323).

    None where fewer than two rows or columns are filled.

    >>> cramers_v(np.array([[10.0, 0.0], [0.0, 10.0]]))
    1.0
    >>> cramers_v(np.array([[10.0, 10.0], [20.0, 20.0]]))
    0.0
    """
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return None
    n = table.sum()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    phi = float(np.sum((table - expected) ** 2 / expected) / n)
    corrected = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(corrected / smaller))) if smaller > 0 else None


def _judge(
    n_ancestries: int, n_sites: int, shared: int, association: float | None, protocol: Protocol
) -> tuple[bool, str]:
    if n_ancestries < 2:
        return False, "Fewer than two known ancestries were tested: nothing can be compared between them."
    if n_sites == 1:
        return True, "All patients of known ancestry come from one site: no difference between them is one of sites."
    if not shared:
        return False, (
            f"Ancestry is not separable from site: no site has {protocol.suppress_below} patients or more of two known "
            "ancestries, so any difference between ancestries may be one between sites."
        )
    strength = "" if association is None else f" (Cramer's V {association:.2f})"
    if association is not None and association >= INSEPARABLE_FROM:
        return False, (
            f"Ancestry is not separable from site: knowing the site all but gives the ancestry{strength}, so any "
            "difference between ancestries may be one between sites."
        )
    return True, (
        f"{shared} of {n_sites} sites have {protocol.suppress_below} patients or more of two known ancestries"
        f"{strength}: ancestries can be compared within sites."
    )
