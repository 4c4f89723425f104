from __future__ import annotations

import sys

import numpy as np
import pytest

from medimg.errors import ConfigError, InputError, MissingDependency
from medimg.inference import session as sessions
from medimg.inference.session import CheckedSession, OnnxSession, open_session
from medimg.packaging.package import ModelPackage


@pytest.fixture(scope="module")
def content(ct_unet):
    return ModelPackage.open(ct_unet).onnx_bytes()


IMAGE = np.random.default_rng(0).normal(size=(1, 1, 8, 12, 16)).astype(np.float32)


def test_onnxruntime_is_deterministic(content):
    first, second = (OnnxSession(content, 1).run(IMAGE)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_openvino_agrees_and_is_used(content):
    pytest.importorskip("openvino")
    session = open_session(content, "auto", 1)
    for size in (8, 12, 16):
        image = np.resize(IMAGE, (1, 1, size, size, size))
        np.testing.assert_allclose(session.run(image)[0], OnnxSession(content, 1).run(image)[0], atol=1e-4)
    assert session.name == "openvino"
    assert session.findings() == ()


class Wrong:
    """An engine that gives other answers."""

    name = "openvino"

    def __init__(self, content, threads):
        self.inner = OnnxSession(content, threads)

    def run(self, image):
        return [output + 0.01 for output in self.inner.run(image)]


def test_an_engine_that_disagrees_is_not_used(content, monkeypatch):
    monkeypatch.setattr(sessions, "OpenVinoSession", Wrong)
    session = CheckedSession(content, 1)
    expected = OnnxSession(content, 1).run(IMAGE)[0]
    for _ in range(2):
        np.testing.assert_array_equal(session.run(IMAGE)[0], expected)
    assert session.name == "onnxruntime"
    assert [finding.code for finding in session.findings()] == ["OPENVINO_DISAGREES"]


def test_without_openvino(content, monkeypatch):
    monkeypatch.setattr(sessions, "openvino_installed", lambda: False)
    assert isinstance(open_session(content, "auto"), OnnxSession)
    with pytest.raises(MissingDependency, match="not installed"):
        open_session(content, "openvino")


def test_wrong_settings_are_named(content):
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        open_session(content, "openvin")
    with pytest.raises(ConfigError):
        open_session(content, "onnxruntime", 0)
    with pytest.raises(InputError, match="cannot be loaded"):
        open_session(b"no network", "onnxruntime")
    with pytest.raises(InputError, match="cannot be run on this scan"):
        OnnxSession(content, 1).run(IMAGE[:, :, 0])


def test_torch_is_no_part_of_it():
    assert "torch" not in vars(sessions)
    assert sys.modules["medimg.inference.session"] is sessions
