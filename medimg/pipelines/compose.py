"""Compose a configuration with Hydra; what is wrong with it becomes a ConfigError that names the key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import medimg
from medimg.errors import ConfigError, nearest
from medimg.evaluation.foreign.settings import Columns
from medimg.pipelines.config import register

# Keys below these hold names that the user invents or that another schema checks: they may be added freely.
DICTIONARIES = ("thresholds", "labels", "truth_values", "ancestry.values", "people.sex_values")
OPEN_KEYS = (
    "transforms.",
    "evaluation.",
    "model.options.",
    "input.",
    "data.csv.images.",
    "data.csv.masks.",
    "data.csv.classes.",
    "data.csv.demographics.",
    "data.csv.split_names.",
    "inference.min_component.",
    *(f"{key}{sign}" for key in DICTIONARIES for sign in ".="),
    *(f"columns.{role}." for role in Columns.numbers()),
)


def config_folder() -> Path:
    """Return the folder with the configuration groups: inside the wheel, or beside the package in a checkout."""
    package = Path(medimg.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def compose(primary: str, overrides: Sequence[str]) -> DictConfig:
    """Compose ``configs/<primary>.yaml`` with overrides.

    Parameters
    ----------
    primary : str
        Name of the primary configuration.
    overrides : sequence of str
        ``key=value`` and ``group=choice``, as Hydra reads them.

    Raises
    ------
    ConfigError
        Names the key or the choice, and the nearest valid one.
    """
    register()
    opened = freely(overrides)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder().resolve()), version_base="1.3"):
        try:
            config = hydra_compose(config_name=primary, overrides=opened)
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise _explained(primary, opened, error) from error
    return config


def typed(config: DictConfig | ListConfig, prefix: str = "") -> Any:
    """Return a configuration, or the branch of one that ``prefix`` names, as its dataclasses.

    Raises
    ------
    ConfigError
        A value that must be stated is missing, or a dataclass refuses its values.
    """
    absent = sorted(OmegaConf.missing_keys(config))
    if absent:
        raise ConfigError(
            "the configuration lacks a value",
            where=", ".join(prefix + key for key in absent),
            fix=f"add {prefix}{absent[0]}=… to the command",
        )
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from error
        raise ConfigError("the configuration cannot be used", got=str(error).splitlines()[0]) from error


def from_plain(schema: type[Any], values: Any, where: str) -> Any:
    """Return written-down values as the dataclass ``schema``.

    Raises
    ------
    ConfigError
        A key or value that the schema does not have.
    """
    try:
        return typed(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        raise ConfigError("the configuration cannot be read", where=where, got=str(error).splitlines()[0]) from error


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as plain values, for writing it down."""
    values = OmegaConf.to_container(config, resolve=True)
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def freely(overrides: Sequence[str]) -> list[str]:
    """Return overrides in which keys that users invent are marked as additions, as Hydra wants them."""
    return [f"++{text}" if text.startswith(OPEN_KEYS) else text for text in overrides]


def _explained(primary: str, overrides: Sequence[str], error: Exception) -> ConfigError:
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    # Hydra names the override, OmegaConf what is wrong with it.
    first_line = ": ".join(dict.fromkeys(str(one).strip().splitlines()[0] for one in (error, root)))
    malformed = next((text for text in overrides if "=" not in text and not text.startswith("~")), None)
    if malformed is not None:
        return ConfigError("an override has no value", got=malformed, expected="key=value", fix="medimg VERB --help")
    choice = re.search(r"Could not find '([^']+)/([^']+)'", str(error))
    if choice:
        return _unknown_choice(choice.group(1), choice.group(2))
    for text in overrides:
        found = _unknown_key(primary, text)
        if found is not None:
            return found
    key = getattr(root, "full_key", None)
    return ConfigError("the configuration cannot be composed", where=key, got=first_line)


def _unknown_choice(group: str, name: str) -> ConfigError:
    folder = config_folder() / group
    choices = sorted(file.stem for file in folder.glob("*.yaml"))
    return ConfigError(
        f"there is no {group} of this name", where=group, got=name, expected=nearest(name, choices) if choices else None
    )


def _unknown_key(primary: str, override: str) -> ConfigError | None:
    """Return an error if the override's key does not exist in the configuration without overrides."""
    key = override.lstrip("+~").split("=", 1)[0]
    group = key.split("@")[0]
    if (config_folder() / group).is_dir() or override.startswith("++"):
        return None
    node: Any = hydra_compose(config_name=primary, overrides=[])
    walked: list[str] = []
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in list(node):
            valid = [str(name) for name in node] if isinstance(node, DictConfig) else []
            return ConfigError(
                "there is no such key",
                where=".".join([*walked, part]),
                got=override.lstrip("+"),
                expected=nearest(part, valid) if valid else f"{'.'.join(walked)} is a plain value",
            )
        walked.append(part)
        node = None if OmegaConf.is_missing(node, part) else node[part]
    return None
