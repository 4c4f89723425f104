"""``medimg serve``: receive studies, run packages on them, send the results back. No torch is imported."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medimg.errors import ConfigError, MissingDependency
from medimg.pacs.serve.settings import ServeSettings
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.settings_file import read_settings
from medimg.pipelines.steps import console


def main(overrides: Sequence[str]) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    settings = serve_settings(overrides)
    try:
        from medimg.pacs.serve.child import on_signals, quiet_logs
        from medimg.pacs.serve.service import Service
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "The service needs packages that are not installed.", got=error.name, fix="pip install 'medimg[pacs]'"
        ) from error
    quiet_logs("receiver")
    stop = threading.Event()
    on_signals(stop)
    service = Service(settings)
    host, port = service.start()
    console.print(f"{settings.receiver.ae_title} receives on {host}:{port}; {len(settings.routes)} rule(s)")
    service.run(stop)
    return 0


def serve_settings(overrides: Sequence[str]) -> ServeSettings:
    """Return the settings: the command line over the file that ``settings`` names over the defaults.

    Raises
    ------
    ConfigError
        A key or a value is wrong.
    InputError
        The file cannot be read.
    """
    stated = dict(text.lstrip("+").partition("=")[::2] for text in overrides)
    path = stated.pop("settings", None)
    if path is None:
        settings: ServeSettings = typed(compose("serve", overrides))
        return settings
    merged: Any = compose("serve", [f"pacs={stated.pop('pacs')}"] if "pacs" in stated else [])
    for named in ("destinations", "notices"):
        # Their keys are names that the operator chooses; everywhere else an unknown key is a mistake.
        OmegaConf.set_struct(merged[named], False)
    try:
        merged = OmegaConf.merge(merged, {str(key): value for key, value in read_settings(Path(path)).items()})
        for key, value in stated.items():
            OmegaConf.update(merged, key, yaml.safe_load(value), merge=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError("the settings cannot be used", where=path, got=str(error).splitlines()[0]) from error
    from_file: ServeSettings = typed(merged)
    return from_file
