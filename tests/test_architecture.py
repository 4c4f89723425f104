"""The walls of the house, and what its files may look like."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "medimg").rglob("*.py"))


def test_import_walls_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.is_file():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 90, f"{path.name}: {node.name}"
        assert not isinstance(node, ast.Assert), f"{path.name}: assert on line {getattr(node, 'lineno', '?')}"


def test_a_pacs_script_needs_neither_torch_nor_monai() -> None:
    code = (
        "import sys, medimg; medimg.load; medimg.read; import medimg.pipelines.predict, medimg.reports.render;"
        "sys.exit(bool({'torch', 'monai', 'lightning_fabric'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_unpickled() -> None:
    for path in MODULES:
        text = path.read_text()
        # The name of the error that torch raises on a forged file may be caught; nothing may be read with pickle.
        assert not re.search(r"pickle\.(load|Unpickler)|joblib\.load", text), path
        assert "weights_only=False" not in text, path
        assert "allow_pickle=True" not in text, path
