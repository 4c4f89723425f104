"""What a reader or a checker noticed: nothing is assumed silently."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One observation about a file or a table row.

    Parameters
    ----------
    code : str
        Stable upper-case name, such as ``MISSING_RESCALE``.
    severity : {'info', 'warning', 'error'}
        ``error`` is only used in listings; a reader that cannot go on raises.
    message : str
        One sentence for a person.
    file : str, optional
        File or table the finding is about.
    tag : str, optional
        DICOM tag, NIfTI header field, or column.
    value : str, optional
        The value that was found. Never an identifying value.
    assumed : str, optional
        What was assumed in its place.
    """

    code: str
    severity: Severity
    message: str
    file: str | None = None
    tag: str | None = None
    value: str | None = None
    assumed: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the finding as a flat mapping, for JSON and tables."""
        return asdict(self)
