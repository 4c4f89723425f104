"""From what a user points at to the images a model reads: a path, several paths, or images in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medimg.errors import InputError, nearest
from medimg.io.image import Picture, Volume
from medimg.io.policy import STRICT, ReadPolicy
from medimg.io.read import Entry, read_still, scan, still

Image = Volume | Picture
Study = str | Path | Image | Mapping[str, str | Path | Image]

_LISTED = 12


def read_study(
    study: Study, channels: Sequence[str], *, series: str | int | None = None, reading: ReadPolicy = STRICT
) -> dict[str, Image]:
    """Read the channels of a study.

    Parameters
    ----------
    study : path, Volume, Picture, or mapping of channel name to one of these
        A file, a folder with one image or series, or, for a model of several channels, a folder whose files or
        subfolders carry the channels' names (``sub-1_T1w.nii.gz``, ``FLAIR/``; case does not matter).
    channels : sequence of str
        What the model reads, in order.
    series : str or int, optional
        SeriesInstanceUID, or index in the listing, where a folder holds several and the model reads one.
    reading : ReadPolicy
        What is done where a series is not what a volume needs.

    Returns
    -------
    dict of str to Volume or Picture
        By channel (where the model reads one image, it may have any name); a single image may carry the first
        channel's name for all of them.

    Raises
    ------
    InputError
        Nothing readable, several candidates (all are listed), or a channel that no file names.
    """
    if isinstance(study, Volume | Picture):
        return {channels[0]: study}
    if isinstance(study, Mapping):
        if len(study) == 1 and len(channels) == 1:
            study = {channels[0]: next(iter(study.values()))}
        unknown = sorted(set(study) - set(channels))
        if unknown:
            raise InputError(
                "The model has no such input channel.", where="study", got=unknown[0],
                expected=nearest(unknown[0], channels),
            )  # fmt: skip
        return {
            name: image if isinstance(image, Volume | Picture) else read_still(image, policy=reading)
            for name, image in study.items()
        }
    path = Path(study)
    if len(channels) == 1 or series is not None or not path.is_dir():
        return {channels[0]: read_still(path, series=series, policy=reading)}
    entries = scan(path, policy=reading).choices
    if len(entries) == 1:
        return {channels[0]: still(entries[0].load())}
    return {name: still(entry.load()) for name, entry in match_channels(entries, channels, path).items()}


def match_channels(entries: Sequence[Entry], channels: Sequence[str], root: Path) -> dict[str, Entry]:
    """Assign one entry to every channel by name.

    A channel matches where all words of its name are words of the file's stem, or, failing that, of its folders
    below ``root``. Channels of more words choose first (``T1 post`` before ``T1``). Where no file names a channel
    and all stems end in four digits, these count the channels (``case_0000``, ``case_0001``).

    Raises
    ------
    InputError
        A channel matches no entry or several; the candidates are listed.
    """
    counted = _counted(entries, channels)
    if counted is not None:
        return counted
    chosen: dict[str, Entry] = {}
    left = list(entries)
    for name in sorted(channels, key=lambda channel: -len(_words(channel))):
        wanted = _words(name)
        found = [entry for entry in left if wanted <= _words(_stem(entry))]
        if not found:
            found = [entry for entry in left if wanted <= _words(_stem(entry)) | _folder_words(entry, root)]
        if len(found) != 1:
            raise _ambiguous(name, found, entries, root)
        chosen[name] = found[0]
        left.remove(found[0])
    return {name: chosen[name] for name in channels}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def _stem(entry: Entry) -> str:
    # A series' file names are no names of a sequence: its folder's are.
    return "" if entry.kind == "DICOM" else entry.paths[0].name.split(".")[0]


def _folder_words(entry: Entry, root: Path) -> set[str]:
    folder = entry.paths[0].parent
    return _words(folder.relative_to(root).as_posix()) if folder.is_relative_to(root) else set()


def _counted(entries: Sequence[Entry], channels: Sequence[str]) -> dict[str, Entry] | None:
    numbers = [re.search(r"_(\d{4})$", _stem(entry)) for entry in entries]
    found = {int(number[1]): entry for number, entry in zip(numbers, entries) if number}
    if len(entries) == len(channels) and sorted(found) == list(range(len(channels))):
        return {name: found[index] for index, name in enumerate(channels)}
    return None


def _ambiguous(name: str, found: Sequence[Entry], entries: Sequence[Entry], root: Path) -> InputError:
    lines = [entry.describe() for entry in (found or entries)[:_LISTED]]
    return InputError(
        f"Several images could be the channel {name}." if found else f"No image is named as the channel {name}.",
        where=root,
        got="\n  " + "\n  ".join(lines),
        expected=f"one image whose file or folder name holds the word(s) {name}",
        fix=f"say which: input.{name}=PATH on the command line, {{'{name}': path, …}} in Python",
    )
