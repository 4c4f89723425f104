"""UIDs of results: the same source and package give the same UIDs, another source or package others."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID

from medimg.io.dicom.uid import uid_from

_NAMESPACE = "medimg.result/1"


def result_uid(source_uids: Iterable[str], package_digest: str, kind: str, *parts: object) -> UID:
    """Return a UID under ``2.25.`` made from a hash.

    Parameters
    ----------
    source_uids : iterable of str
        SOP instance UIDs that the result was made from, in any order.
    package_digest : str
    kind : str
        What the UID is of, such as ``seg instance``.
    *parts : object
        What tells several of a kind apart.

    >>> result_uid(["1.2", "1.3"], "d", "seg") == result_uid(["1.3", "1.2"], "d", "seg")
    True
    >>> result_uid(["1.2"], "d", "seg") == result_uid(["1.2", "1.3"], "d", "seg")
    False
    """
    return uid_from(_NAMESPACE, package_digest, kind, *parts, "of", *sorted(set(source_uids)))
