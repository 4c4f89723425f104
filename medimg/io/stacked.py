"""Several stacks of one series (echoes, b-values, times) as the channels of one volume.

Legend: C channels, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.geometry import same_grid
from medimg.io.image import Source, Volume
from medimg.io.listing import Entry


def load_stacked(entries: Sequence[Entry], *, dtype: type[np.float32] | None = None) -> Volume:
    """Read stacks that share one grid as one Volume (C, Z, Y, X), in the order of the listing.

    ``source.channels`` holds the values of each channel (``echo_time_ms``, ``b_value``, ``temporal_position``, …);
    paths and UIDs are those of all channels, one after the other; a finding of several channels is kept once.

    Raises
    ------
    InputError
        A stack cannot be read, is a picture, or differs from the first one in grid or unit; the message says
        which one and how.
    MissingDependency
        A decoder is missing.
    """
    _check_shapes(entries)
    first = _volume(entries[0], dtype)
    if len(entries) == 1:
        array = first.array if first.array.ndim == 4 else first.array[None]
        return replace(first, array=array, source=replace(first.source, channels=(entries[0].values,)))
    volumes, array = [replace(first, array=first.array[:0])], _room(first.array, len(entries))
    for n, entry in enumerate(entries[1:], 1):
        volume = _volume(entry, dtype)
        _check_same(n, first, volume, entries)
        if volume.array.dtype != array.dtype:
            array = array.astype(np.result_type(array, volume.array), copy=False)
        array[n] = volume.array
        volumes.append(replace(volume, array=volume.array[:0]))
    return replace(first, array=array, source=_source(volumes, entries), findings=_findings(volumes))


def _volume(entry: Entry, dtype: type[np.float32] | None) -> Volume:
    image = entry.load(dtype=dtype)
    if not isinstance(image, Volume):
        raise InputError("Only volumes can be stacked.", where=entry.paths[0], got=type(image).__name__.lower())
    return image


def _room(array: NDArray[Any], count: int) -> NDArray[Any]:
    room = np.empty((count, *array.shape), array.dtype)
    room[0] = array
    return room


def _check_shapes(entries: Sequence[Entry]) -> None:
    """Compare what the headers say before any pixel is read."""
    for n, entry in enumerate(entries):
        if entry.problem is None and entries[0].problem is None and entry.shape != entries[0].shape:
            raise _differs(n, f"its shape is {entry.shape}, that of the first {entries[0].shape}", entries)


def _check_same(n: int, first: Volume, volume: Volume, entries: Sequence[Entry]) -> None:
    grid = same_grid(first.array.shape, first.affine, volume.array.shape, volume.affine)
    if not grid:
        raise _differs(n, grid.explanation, entries)
    if volume.unit != first.unit:
        raise _differs(n, f"its unit is {volume.unit}, that of the first {first.unit}", entries)


def _differs(n: int, how: str, entries: Sequence[Entry]) -> InputError:
    return InputError(
        "The stacks of this series do not share one grid.",
        where=entries[n].paths[0].parent,
        got=f"number {n} of {len(entries)} ({entries[n].describe()}) differs from the first: {how}",
        expected="equal shape, position, orientation, spacing and unit",
        fix="read them one by one with read_all, or choose one with series=",
    )


def _source(volumes: Sequence[Volume], entries: Sequence[Entry]) -> Source:
    sources = [volume.source for volume in volumes]
    varying = {name for entry in entries for name in entry.values}
    common = {name: value for name, value in sources[0].acquisition.items() if name not in varying}
    return replace(
        sources[0],
        paths=tuple(path for source in sources for path in source.paths),
        instance_uids=tuple(uid for source in sources for uid in source.instance_uids),
        acquisition=common,
        channels=tuple(entry.values for entry in entries),
    )


def _findings(volumes: Sequence[Volume]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(finding for volume in volumes for finding in volume.findings))
