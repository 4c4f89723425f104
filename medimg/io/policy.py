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
        even parts as stacks of their own. What is missing at an end leaves no gap: see the finding INCOMPLETE.
    duplicates : {'error', 'keep_last'}
        Several slices at one position that nothing else sets apart: keep the one with the highest instance number.
        More than half as many doubles as positions stay refused: that is another stack.
    tilt : {'error', 'shear', 'resample'}
        Gantry tilt: keep the slices and return a sheared affine, or move them linearly within their planes onto a
        straight grid that is wide enough for all; what none covers is air (-1000 HU) or the smallest value.
    irregular : {'error', 'resample'}
        Uneven gaps: resample linearly to even ones between the first and the last slice, as near to the median gap
        as that allows.
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
                raise ConfigError(
                    "No such reading policy.", where=f"reading.{one.name}", got=value, expected=" or ".join(allowed)
                )


STRICT = ReadPolicy()
