"""Engines that run an ONNX network on the CPU: onnxruntime, and OpenVINO where it is installed and agrees.

Legend: B batch, C channels, ``*S`` the spatial axes.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError, InputError, MissingDependency, nearest
from medimg.io.findings import Finding

BACKENDS = ("auto", "onnxruntime", "openvino")
AGREEMENT = 1e-4
"""Largest difference between two engines that is taken for rounding."""

Arrays = list[NDArray[np.float32]]


class Session(Protocol):
    """A loaded network."""

    name: str

    def run(self, image: NDArray[np.float32]) -> Arrays:
        """Pass (B, C, *S) through the network and return its outputs."""

    def findings(self) -> tuple[Finding, ...]:
        """Return what was noticed while choosing the engine."""


class OnnxSession:
    """onnxruntime, deterministic, without telemetry.

    Parameters
    ----------
    content : bytes
        The ONNX file, already checked.
    threads : int or None
        None leaves the choice to onnxruntime: one per core.
    """

    name = "onnxruntime"

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states

        # onnxruntime's errors share no base class of their own.
        self._errors = (
            states.Fail,
            states.InvalidArgument,
            states.InvalidGraph,
            states.InvalidProtobuf,
            states.NotImplemented,
            states.RuntimeException,
            RuntimeError,
            ValueError,
        )
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        # Sizes differ from scan to scan: patterns would be kept for each of them.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise InputError(
                "The network of the package cannot be loaded.",
                where="model.onnx",
                got=str(error).splitlines()[0],
                fix="update onnxruntime, or take the package from its source again",
            ) from error
        self._input = self._session.get_inputs()[0].name

    def run(self, image: NDArray[np.float32]) -> Arrays:
        """Pass (B, C, *S) through the network and return its outputs."""
        try:
            outputs: Arrays = self._session.run(None, {self._input: image})
        except self._errors as error:
            raise InputError(
                "The network cannot be run on this scan.",
                where="model.onnx",
                got=f"input of shape {image.shape}: {str(error).splitlines()[0]}",
                fix="if memory ran out, lower memory_bytes (models made for tiles) or use a larger machine",
            ) from error
        return outputs

    def findings(self) -> tuple[Finding, ...]:
        """Return nothing: onnxruntime is what packages are checked with."""
        return ()


class OpenVinoSession:
    """OpenVINO on the CPU, held to float32."""

    name = "openvino"

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        if not openvino_installed():
            raise MissingDependency(
                "OpenVINO is not installed.", fix="pip install 'medimg[openvino]', or choose backend=onnxruntime"
            )
        import openvino

        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._model = core.compile_model(core.read_model(content), "CPU", settings)
        self._request = self._model.create_infer_request()

    def run(self, image: NDArray[np.float32]) -> Arrays:
        """Pass (B, C, *S) through the network and return its outputs."""
        found = self._request.infer([image])
        # The request reuses its buffers at the next pass.
        return [np.array(found[output]) for output in self._model.outputs]

    def findings(self) -> tuple[Finding, ...]:
        """Return nothing."""
        return ()


class CheckedSession:
    """OpenVINO, provided that it agrees with onnxruntime on the first pass; else onnxruntime, with a finding."""

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        self._content, self._threads = content, threads
        self._fast: Session = OpenVinoSession(content, threads)
        self._checked = False
        self._findings: tuple[Finding, ...] = ()
        self.name = self._fast.name

    def run(self, image: NDArray[np.float32]) -> Arrays:
        """Pass (B, C, *S) through the network and return its outputs."""
        fast = self._fast.run(image)
        if self._checked:
            return fast
        reference = OnnxSession(self._content, self._threads)
        expected = reference.run(image)
        worst = max(_probability_gap(a, b) for a, b in zip(fast, expected, strict=True))
        self._checked = True
        if worst <= AGREEMENT:
            return fast
        self._fast, self.name = reference, reference.name
        self._findings = (
            Finding(
                "OPENVINO_DISAGREES",
                "warning",
                "OpenVINO does not give onnxruntime's answers on this machine.",
                value=f"{worst:.3g}",
                assumed="onnxruntime was used",
            ),
        )
        return expected

    def findings(self) -> tuple[Finding, ...]:
        """Return why OpenVINO was not used, if so."""
        return self._findings


def openvino_installed() -> bool:
    """Tell whether OpenVINO can be imported, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def open_session(content: bytes, backend: str = "auto", threads: int | None = None) -> Session:
    """Load a network.

    Parameters
    ----------
    content : bytes
        A checked ONNX file.
    backend : {'auto', 'onnxruntime', 'openvino'}
        ``auto`` and ``openvino`` compare OpenVINO with onnxruntime on the first pass and fall back to
        onnxruntime where a probability differs by more than 1e-4; ``auto`` takes onnxruntime where OpenVINO is
        not installed.
    threads : int, optional
        Threads of a pass; default one per core.

    Raises
    ------
    ConfigError
        Unknown backend or thread count.
    MissingDependency
        OpenVINO is asked for and not installed.
    InputError
        The network cannot be loaded.
    """
    if backend not in BACKENDS:
        raise ConfigError("Unknown backend.", where="backend", got=backend, expected=nearest(str(backend), BACKENDS))
    if threads is not None and threads < 1:
        raise ConfigError("At least one thread is needed.", where="threads", got=threads)
    if backend == "openvino" or (backend == "auto" and openvino_installed()):
        return CheckedSession(content, threads)
    return OnnxSession(content, threads)


def _probability_gap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the largest difference after a sigmoid, which no softmax of the same logits exceeds by much."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    first, second = (1.0 / (1.0 + np.exp(-np.clip(each.astype(np.float64), -60, 60))) for each in (a, b))
    return float(np.abs(first - second).max(initial=0.0))
