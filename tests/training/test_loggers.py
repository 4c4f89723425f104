import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

from medimg.errors import MissingDependency
from medimg.training.loggers import build_loggers


def test_mlflow_is_told_when_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingDependency, match="MLflow is not installed"):
        build_loggers(("mlflow",), tmp_path, 0, {})


def test_mlflow_run_is_continued(tmp_path, monkeypatch):
    calls = []
    fake = ModuleType("mlflow")
    fake.start_run = lambda run_id, run_name: calls.append(run_id) or SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    fake.log_params = calls.append
    fake.log_metrics = lambda values, step: calls.append((step, values))
    fake.end_run = lambda: calls.append("end")
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for step in (0, 5):
        (logger,) = build_loggers(("mlflow",), tmp_path, step, {"steps": 9})
        logger.log(step + 1, {"loss": 1.0, "undefined": math.nan})
        logger.close()
    assert calls == [None, {"trainer.steps": 9}, (1, {"loss": 1.0}), "end", "r1", (6, {"loss": 1.0}), "end"]
