"""Read the stored values of many slices at once: several threads, each slice finished while it is in the cache.

Legend: Y rows, X columns of a slice. Native pixels go from the file straight into the memory that the caller names;
everything else goes through the decoders (decode.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.cores import available_cores
from medimg.io.dicom import tags
from medimg.io.dicom.decode import Encoded, is_float, open_frames
from medimg.io.dicom.headers import Header
from medimg.io.findings import Finding
from medimg.io.memory import check_allocation, check_expansion
from medimg.io.sniff import open_regular

# Jobs a thread: enough that none waits long for another at the end.
_JOBS_EACH = 4
_MOST_READERS = 4
_Finish = Callable[[int, NDArray[Any]], None]


def stored_dtype(header: Header) -> np.dtype[Any]:
    """Return the type in which a slice is stored.

    Raises
    ------
    InputError
        Neither 8, 16 or 32 bits allocated nor float pixels.
    """
    if is_float(header):
        return np.dtype(f"f{header.bits_allocated // 8}")
    if header.bits_allocated not in (8, 16, 32) or not 0 < header.bits_stored <= header.bits_allocated:
        raise InputError(
            "Pixels of this depth are not supported.",
            where=header.path,
            got=f"BitsAllocated (0028,0100) = {header.bits_allocated}, BitsStored (0028,0101) = {header.bits_stored}",
            expected="8, 16 or 32 bits allocated, and no more stored",
        )
    return np.dtype(f"{'i' if header.signed else 'u'}{header.bits_allocated // 8}")


def common_dtype(headers: Sequence[Header]) -> np.dtype[Any]:
    """Return the narrowest type that holds the stored values of all slices; raises InputError as `stored_dtype`."""
    dtypes = {stored_dtype(header) for header in headers}
    dtype = np.result_type(*dtypes)
    whole = all(one.kind in "iu" for one in dtypes)
    return np.dtype(np.int64) if whole and dtype.kind == "f" else dtype


def allocate(headers: Sequence[Header], dtype: np.dtype[Any], max_bytes: int | None) -> NDArray[Any]:
    """Return (Z, Y, X) memory for slices, after checking that the files can hold what their headers say.

    Raises
    ------
    InputError
        The pixels are cut short, grow beyond all measure, or the array is larger than the limit or the memory.
    """
    first = headers[0]
    coded: dict[Path, int] = {}
    for header in headers:
        n_bytes = _plane_bytes(header)
        if not _is_native(header):
            coded[header.path] = coded.get(header.path, 0) + n_bytes
        elif (header.pixel_length or 0) < (header.frame + 1) * n_bytes:
            raise _short(header, header.pixel_length or 0)
    for path, n_bytes in coded.items():
        check_expansion(n_bytes, _size(path), where=path, max_bytes=max_bytes)
    shape = (len(headers), first.rows, first.columns)
    check_allocation(shape, dtype.itemsize, where=first.path, max_bytes=max_bytes)
    return np.empty(shape, dtype)


def read_slices(
    headers: Sequence[Header], dtype: np.dtype[Any], memory: Callable[[int], NDArray[Any]], finish: _Finish
) -> list[Finding]:
    """Read the stored values of slices, several at once, and finish each.

    Parameters
    ----------
    headers : sequence of Header
        Of one size.
    dtype : dtype
        One that holds the stored values of all, as `common_dtype` says.
    memory : callable
        From a slice's index to a C-contiguous (Y, X) array of ``dtype``; called in the thread that reads it.
    finish : callable
        Called in that thread with the index and the filled array, bits above BitsStored removed.

    Returns
    -------
    list of Finding

    Raises
    ------
    InputError
        Cut short or damaged.
    MissingDependency
        The transfer syntax needs a decoder that is not installed.
    """
    job = _Reading(headers, memory, finish)
    native = [n for n, header in enumerate(headers) if _is_native(header) and stored_dtype(header) == dtype]
    plain, files = set(native), dict[Path, list[int]]()
    for n, header in enumerate(headers):
        if n not in plain:
            files.setdefault(header.path, []).append(n)
    workers = available_cores() if files else min(available_cores(), _MOST_READERS)
    length = max(1, len(native) // (_JOBS_EACH * workers))
    jobs = [partial(job.native, native[start : start + length]) for start in range(0, len(native), length)]
    for places in files.values():
        opened = job.open(places) if len(places) > 1 else None
        jobs += [partial(job.coded, n, opened) for n in places]
    if workers == 1 or len(jobs) == 1:
        for one in jobs:
            one()
    else:
        with ThreadPoolExecutor(min(workers, len(jobs))) as pool:
            for _ in pool.map(lambda one: one(), jobs):
                pass
    return job.findings()


class _Reading:
    """What the threads of one `read_slices` share."""

    def __init__(self, headers: Sequence[Header], memory: Callable[[int], NDArray[Any]], finish: _Finish) -> None:
        self._headers, self._memory, self._finish = headers, memory, finish
        self._dirty: list[int] = []
        self._noticed: dict[int, tuple[Finding, ...]] = {}

    def open(self, places: Sequence[int]) -> Encoded:
        """Parse the file of some slices."""
        opened = open_frames([self._headers[n] for n in places])
        self._noticed[places[0]] = opened.findings
        return opened

    def native(self, places: Sequence[int]) -> None:
        """Read slices whose pixels lie in their files as they are."""
        for n in places:
            plane = self._memory(n)
            _read_native(self._headers[n], plane)
            self._done(n, plane)

    def coded(self, n: int, opened: Encoded | None) -> None:
        """Decode one slice, of a file of its own where ``opened`` is None."""
        plane = self._memory(n)
        decoded = (opened or self.open([n])).frame(self._headers[n].frame, out=plane)
        if not np.may_share_memory(decoded, plane):
            plane[:] = decoded
        self._done(n, plane)

    def _done(self, n: int, plane: NDArray[Any]) -> None:
        if _clean(plane, self._headers[n]):
            self._dirty.append(n)
        self._finish(n, plane)

    def findings(self) -> list[Finding]:
        """Return what was noticed, each kind once."""
        kinds: dict[tuple[str, str | None], Finding] = {}
        for _, findings in sorted(self._noticed.items()):
            for finding in findings:
                kinds.setdefault((finding.code, finding.value), finding)
        found = list(kinds.values())
        if self._dirty:
            count = len(self._dirty)
            text = f"Bits above BitsStored were set in {count} slice(s), as overlays do; they were removed."
            found.append(Finding("HIGH_BITS", "warning", text, tag=tags.show(tags.BITS_STORED), value=str(count)))
        return found


def _is_native(header: Header) -> bool:
    # 8-bit pixels in big-endian files may be packed in swapped 16-bit words: left to pydicom.
    return header.pixel_offset is not None and not (header.big_endian and header.bits_allocated == 8)


def _plane_bytes(header: Header) -> int:
    return header.rows * header.columns * header.bits_allocated // 8


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError("The file cannot be read.", where=path, got=error.strerror) from error


def _read_native(header: Header, plane: NDArray[Any]) -> None:
    with open_regular(header.path) as file:
        try:
            file.seek((header.pixel_offset or 0) + header.frame * plane.nbytes)
            got = file.readinto(plane.reshape(-1).view(np.uint8).data) or 0
        except OSError as error:
            raise InputError("The file cannot be read.", where=header.path, got=error.strerror) from error
    if got < plane.nbytes:
        raise _short(header, header.frame * plane.nbytes + got)
    if header.big_endian:
        plane.byteswap(inplace=True)


def _short(header: Header, got: int) -> InputError:
    frames = f", {header.frames} frames" if header.frames > 1 else ""
    return InputError(
        "The pixels are cut short.",
        where=header.path,
        got=f"{max(got, 0)} bytes of PixelData (7FE0,0010)",
        expected=f"{(header.frame + 1) * _plane_bytes(header)} bytes for {header.rows}×{header.columns} pixels{frames}",
        fix="copy or fetch the file again; the transfer did not finish",
    )


def _clean(plane: NDArray[Any], header: Header) -> bool:
    """Remove what stands above BitsStored, in place; tell whether anything did."""
    bits = header.bits_stored
    if bits >= header.bits_allocated or plane.dtype.kind == "f":
        return False
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)
    if int(plane.max()) <= high and (not header.signed or low <= int(plane.min())):
        return False
    unused = plane.dtype.itemsize * 8 - bits
    np.left_shift(plane, unused, out=plane)
    np.right_shift(plane, unused, out=plane)
    return True
