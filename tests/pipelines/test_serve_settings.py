"""Settings of the service: the example is whole, names are the operator's, and a mistyped key is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from medimg.errors import ConfigError
from medimg.pacs.serve.settings import NoticeSettings, check
from medimg.pipelines.serve import serve_settings

EXAMPLE = Path(__file__).parents[2] / "scripts" / "pacs" / "serve_example.yaml"


def test_the_example_is_read_and_can_work() -> None:
    settings = serve_settings([f"settings={EXAMPLE}", "status.port=9113", "notices.ward.timeout_s=3"])
    check(settings)
    assert settings.status.port == 9113
    assert settings.notices == {"ward": NoticeSettings("http://127.0.0.1:8081/flagged", timeout_s=3.0)}
    assert settings.routes[0].notify == ["ward"]
    assert settings.retention.days == 7
    assert settings.watch.folders == ["inbox"]
    assert settings.destinations["pacs"].protocol == "stow"


@pytest.mark.parametrize("wrong", ["receiver.prot=1", "destinations.pacs.prot=1", "statuss.port=1", "status.port=x"])
def test_a_mistyped_key_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError):
        serve_settings([f"settings={EXAMPLE}", wrong])
