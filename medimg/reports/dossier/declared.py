"""What people declare about a model because no artefact of a run can know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medimg.errors import ConfigError, InputError, nearest


class DeclaredFields(BaseModel):
    """Everything that is typed by hand, all of it optional: what is not declared is printed as MISSING.

    Attributes
    ----------
    developer, contact, license, country : str
        Who stands behind the model and where.
    intended_use, intended_users, setting, population, contraindications, how_to_use : str
        For whom and for what it is meant, and for whom it is not.
    regulatory_status, release_stage, clinical_risk_level : str
        Where it stands.
    data_selection, collection_period, acquisition : str
        How the scans were chosen, when they were made, on what.
    reference_standard, readers, reader_agreement : str
        Who said what is true, and how well they agreed.
    robustness, human_oversight, usability, hazards, cybersecurity, privacy, cross_border_data : str
        Tested and controlled by people around the model.
    change_control, monitoring, maintenance : str
        What happens after release.
    federation : str
        Sites, rounds, aggregation and encryption, where sites trained together.
    funding, stakeholders, publications, consent : str
        For model cards.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    developer: str = ""
    contact: str = ""
    license: str = ""
    country: str = ""
    intended_use: str = ""
    intended_users: str = ""
    setting: str = ""
    population: str = ""
    contraindications: str = ""
    how_to_use: str = ""
    regulatory_status: str = ""
    release_stage: str = ""
    clinical_risk_level: str = ""
    data_selection: str = ""
    collection_period: str = ""
    acquisition: str = ""
    reference_standard: str = ""
    readers: str = ""
    reader_agreement: str = ""
    robustness: str = ""
    human_oversight: str = ""
    usability: str = ""
    hazards: str = ""
    cybersecurity: str = ""
    privacy: str = ""
    cross_border_data: str = ""
    change_control: str = ""
    monitoring: str = ""
    maintenance: str = ""
    federation: str = ""
    funding: str = ""
    stakeholders: str = ""
    publications: str = ""
    consent: str = ""


def read_declared(path: Path) -> DeclaredFields:
    """Read declared fields from a YAML file.

    Raises
    ------
    InputError
        The file cannot be read.
    ConfigError
        It is no mapping of the known fields to text.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("The declared fields cannot be read.", where=path, fix="give a YAML file") from error
    if not isinstance(content, dict):
        raise ConfigError(
            "Declared fields are a mapping.", where=path, got=type(content).__name__, expected="key: text"
        )
    for key in content:
        if key not in DeclaredFields.model_fields:
            raise ConfigError(
                "There is no such declared field.",
                where=path,
                got=str(key),
                expected=nearest(str(key), DeclaredFields.model_fields),
            )
    try:
        return DeclaredFields.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            "A declared field is no text.", where=f"{path}: {'.'.join(map(str, first['loc']))}", got=first["msg"]
        ) from error
