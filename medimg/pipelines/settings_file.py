"""Settings that a user keeps in a YAML file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from medimg.errors import ConfigError, InputError


def read_settings(path: Path) -> dict[Any, Any]:
    """Return the mapping that a YAML file holds, keys as YAML reads them.

    Raises
    ------
    InputError
        The file cannot be read.
    ConfigError
        It holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        got = str(error).replace("\n", " ")
        raise InputError(
            "the settings cannot be read", where=path, got=got, fix="check the path and the YAML"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError("the settings are no mapping of keys", where=path, got=type(values).__name__)
    return values
