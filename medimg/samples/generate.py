"""Build the sample cohorts: four folders of pictures, masks and tables that belong to no person."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medimg.errors import ConfigError, InputError, nearest
from medimg.samples.cohorts import DICOM_SITE, WRITERS
from medimg.samples.people import MODALITIES, draw_person, stream, subject_row
from medimg.samples.records import person_events
from medimg.samples.writers import write_csv, write_json

DEFAULT_SUBJECTS: Mapping[str, int] = {"ct": 24, "mri": 20, "endoscopy": 90, "fundus": 150}
LATENTS_FILE = "latents.json"
_STREAM_EVENTS = 1


def generate(
    output: Path | str,
    *,
    seed: int = 2026,
    modalities: Sequence[str] = MODALITIES,
    subjects: int | None = None,
    scale: float = 1.0,
    population: str | None = None,
) -> dict[str, Path]:
    """Generate one cohort a modality.

    The same arguments always give the same bytes, and a larger cohort begins with the people of the smaller one.

    Parameters
    ----------
    output : Path
        Folder that receives one folder a modality; one built by this function earlier is replaced.
    seed : int
        Seed of everything.
    modalities : sequence of str
        Any of ct, mri, endoscopy, fundus.
    subjects : int, optional
        People in each cohort; without it ``DEFAULT_SUBJECTS``.
    scale : float
        Enlarges pictures and matrices: 2 doubles the pixels along each in-plane axis.
    population : {'A', 'B', 'C'}, optional
        Make every person of one synthetic population.

    Returns
    -------
    dict
        Folder of each modality. It holds images/, masks/, index.csv (a row a case), subjects.csv (a row a person),
        events.csv (a row an event) and latents.json (every hidden parameter).

    Raises
    ------
    ConfigError
        Unknown modality or population, or a size that makes no sense.
    InputError
        A folder of that name exists and was not made by this function.
    """
    _check(modalities, subjects, scale, population)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for modality in modalities:
        final = output / modality
        if final.exists() and any(final.iterdir()) and not (final / LATENTS_FILE).is_file():
            raise InputError(
                "This folder holds something else and is not overwritten.",
                where=final,
                expected=f"no such folder, or one with a {LATENTS_FILE}",
                fix="choose another output",
            )
    built = {}
    for modality in modalities:
        count = subjects if subjects is not None else DEFAULT_SUBJECTS[modality]
        with tempfile.TemporaryDirectory(prefix=f".{modality}-", dir=output) as temporary:
            work = Path(temporary) / modality
            _build(work, modality, seed, count, scale, population)
            built[modality] = output / modality
            if built[modality].exists():
                shutil.rmtree(built[modality])
            work.rename(built[modality])
    return built


def _check(modalities: Sequence[str], subjects: int | None, scale: float, population: str | None) -> None:
    for modality in modalities:
        if modality not in MODALITIES:
            raise ConfigError("Unknown modality.", where="modalities", got=modality, fix=nearest(modality, MODALITIES))
    if population not in (None, "A", "B", "C"):
        raise ConfigError("Unknown synthetic population.", where="population", got=population, expected="A, B or C")
    if subjects is not None and subjects < 1:
        raise ConfigError("A cohort needs at least one person.", where="subjects", got=subjects, expected="1 or more")
    if not 0.5 <= scale <= 8:
        raise ConfigError("The scale is out of range.", where="scale", got=scale, expected="0.5 to 8")


def _build(folder: Path, modality: str, seed: int, count: int, scale: float, population: str | None) -> None:
    """Write one complete cohort into a folder nobody else sees."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    index, people, events = [], [], []
    latents: dict[str, Any] = {"seed": seed, "modality": modality, "scale": scale, "subjects": {}, "cases": {}}
    persons = [draw_person(seed, modality, position, population) for position in range(count)]
    as_dicom = next((person for person in persons if person.site_id == DICOM_SITE), persons[0])
    for person in persons:
        people.append(subject_row(person, modality))
        rows, truth = person_events(person, modality, stream(seed, modality, person.index, _STREAM_EVENTS))
        events += rows
        latents["subjects"][person.subject_id] = {
            "population": person.population,
            "severity": person.severity,
            **truth,
        }
        for row, latent in WRITERS[modality](person, seed, folder, scale, person is as_dicom):
            index.append(row)
            latents["cases"][str(row["case_id"])] = latent
    write_csv(index, folder / "index.csv")
    write_csv(people, folder / "subjects.csv")
    write_csv(events, folder / "events.csv")
    write_json(latents, folder / LATENTS_FILE)
