"""What the reader does where a series is not what a volume needs. By default it refuses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from medimg.errors import ConfigError


@dataclass(frozen=True)
class ReadPolicy:
    """Ways to go on, each of which leaves a finding; ``error`` refuses and says which way would help.

    Parameters
    ----------
    missing : {'error', 'interpolate', 'split'}
        Slices absent from an otherwise even stack: fill them linearly from their neighbours, or return the
        even parts as stacks of their own.
    duplicates : {'error', 'keep_last'}
        Several slices at one position: keep the one with the highest instance number.
    tilt : {'error', 'shear', 'resample'}
        Gantry tilt: keep the slices and return a sheared affine, or resample to a straight grid.
    irregular : {'error', 'resample'}
        Uneven gaps: resample linearly to even ones, as wide as the median gap.
    max_bytes : int or None
        Largest array that may be allocated; None allows what memory is free.
    """

    missing: Literal["error", "interpolate", "split"] = "error"
    duplicates: Literal["error", "keep_last"] = "error"
    tilt: Literal["error", "shear", "resample"] = "error"
    irregular: Literal["error", "resample"] = "error"
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse words that mean nothing."""
        hints = get_type_hints(ReadPolicy)
        for one in fields(self):
            allowed = get_args(hints[one.name])
            value = getattr(self, one.name)
            if one.name != "max_bytes" and value not in allowed:
                raise ConfigError("No such reading policy.", where=one.name, got=value, expected=" or ".join(allowed))


STRICT = ReadPolicy()
