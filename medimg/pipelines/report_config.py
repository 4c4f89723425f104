"""The configuration of a report: the command line over a YAML file of the user's over the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medimg.errors import ConfigError, nearest
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import ReportConfig
from medimg.pipelines.settings_file import read_settings


def report_config(overrides: Sequence[str]) -> ReportConfig:
    """Return the configuration that ``overrides`` and the file that they may name (``settings=FILE``) make.

    Raises
    ------
    ConfigError
        A key or a value is wrong; names the file where it stands there.
    """
    composed = compose("report", overrides)
    path = composed["settings"]
    if path is not None:
        file = Path(str(path))
        values = _text_keys(read_settings(file), file)
        composed = _over(values, composed, overrides, str(path))
    config: ReportConfig = typed(composed)
    return config


def _over(values: dict[str, Any], composed: DictConfig, overrides: Sequence[str], path: str) -> DictConfig:
    defaults = compose("report", [])
    unknown = [key for key in values if key not in defaults]
    if unknown:
        raise ConfigError(
            "there is no such key", where=path, got=unknown[0], expected=nearest(str(unknown[0]), map(str, defaults))
        )
    # The top keys were just looked at; keys that users invent may be added further down, others are typed.
    OmegaConf.set_struct(defaults, False)
    try:
        merged = OmegaConf.merge(defaults, values)
        for text in overrides:
            key = text.lstrip("+~").split("=", 1)[0]
            OmegaConf.update(merged, key, OmegaConf.select(composed, key), merge=False, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError("the settings cannot be used", where=path, got=str(error).splitlines()[0]) from error
    if not isinstance(merged, DictConfig):
        raise ConfigError("the settings are no mapping", where=path)
    return merged


def _text_keys(value: Any, where: Path) -> Any:
    """Return a value with keys that are texts throughout: YAML reads ``1: M`` with a number for a key."""
    if isinstance(value, dict):
        truths = [key for key in value if isinstance(key, bool)]
        if truths:
            raise ConfigError(
                "YAML reads yes, no, on and off without quotes as true and false.",
                where=where,
                got=f"the key {str(truths[0]).lower()}",
                fix='write it in quotes: {"no": 0, "yes": 1}',
            )
        return {str(key): _text_keys(inner, where) for key, inner in value.items()}
    return [_text_keys(inner, where) for inner in value] if isinstance(value, list) else value
