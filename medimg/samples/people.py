"""The generated people: population, site, age, sex, severity of disease.

Each person's numbers come from a stream of their own, so that a larger cohort keeps the first people unchanged.
The populations are an assumption of the simulator. They stand for nobody: never rename them after real groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MODALITIES = ("ct", "mri", "endoscopy", "fundus")
POPULATIONS = ("A", "B", "C")
SITES = ("site-1", "site-2", "site-3")

# Melanin optical density at 500 nm: mean and standard deviation of each synthetic population.
PIGMENT_OD500 = {"A": (0.30, 0.17), "B": (0.62, 0.18), "C": (0.98, 0.16)}
PIGMENT_RANGE = (0.0, 1.24)  # the range published for the nasal fundus (Delori & Pflibsen 1989)
REFERENCE_YEAR = 2025

_HOME_SITE_SHARE = 0.70
_UNKNOWN_ANCESTRY_SHARE = 0.06
_STREAM_PERSON = 0


@dataclass(frozen=True)
class Person:
    """One generated person. ``population`` is the truth; the tables hide it where ``ancestry_known`` is false."""

    subject_id: str
    index: int
    population: str
    ancestry_known: bool
    site_id: str
    sex_at_birth: str
    age: int
    severity: float
    pigment_od500: float

    @property
    def birth_year(self) -> int:
        """Calendar year of birth."""
        return REFERENCE_YEAR - self.age


def stream(seed: int, modality: str, index: int, purpose: int) -> np.random.Generator:
    """Return the generator for one purpose of one person, independent of every other.

    Parameters
    ----------
    seed : int
        Seed of the whole cohort.
    modality : {'ct', 'mri', 'endoscopy', 'fundus'}
    index : int
        Position of the person in the cohort.
    purpose : int
        0 the person, 1 the table of events, 10 and up the images.
    """
    key = (MODALITIES.index(modality), index, purpose)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def draw_pigment(population: str, rng: np.random.Generator) -> float:
    """Draw a melanin optical density at 500 nm (no unit), truncated to the published range."""
    mean, sd = PIGMENT_OD500[population]
    value = rng.normal(mean, sd)
    while not PIGMENT_RANGE[0] <= value <= PIGMENT_RANGE[1]:
        value = rng.normal(mean, sd)
    return float(value)


def draw_person(seed: int, modality: str, index: int, population: str | None = None) -> Person:
    """Draw person number ``index``; populations take turns unless one is named."""
    rng = stream(seed, modality, index, _STREAM_PERSON)
    group = population or POPULATIONS[index % len(POPULATIONS)]
    home = POPULATIONS.index(group)
    shares = np.full(len(SITES), (1 - _HOME_SITE_SHARE) / (len(SITES) - 1))
    shares[home] = _HOME_SITE_SHARE
    return Person(
        subject_id=f"sim-{modality}-{index + 1:04d}",
        index=index,
        site_id=str(rng.choice(SITES, p=shares)),
        population=group,
        ancestry_known=bool(rng.random() >= _UNKNOWN_ANCESTRY_SHARE),
        sex_at_birth=str(rng.choice(["F", "M"])),
        age=int(np.clip(round(rng.normal(58, 12)), 22, 89)),
        severity=float(rng.normal()),
        pigment_od500=draw_pigment(group, rng),
    )


def subject_row(person: Person, modality: str) -> dict[str, object]:
    """Return the person's row of ``subjects.csv``."""
    known = person.ancestry_known
    return {
        "subject_id": person.subject_id,
        "sex_at_birth": person.sex_at_birth,
        "birth_year": person.birth_year,
        "age": person.age,
        "ancestry_self_report": f"synthetic population {person.population}" if known else "",
        "ancestry_group": person.population if known else "UNK",
        "ancestry_scheme": "synthetic",
        "ancestry_source": "synthetic" if known else "legacy_unknown",
        "country": "ZZ",
        "skin_tone_scheme": "",
        "skin_tone_value": "",
        "pigment_score": round(person.pigment_od500, 4) if modality == "fundus" else "",
    }
