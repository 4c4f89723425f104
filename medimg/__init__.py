"""Medical-imaging deep learning with an honest account, per ancestry, of how well each model works.

>>> import medimg
>>> medimg.__version__.count(".")
2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load", "read", "read_all"]

if TYPE_CHECKING:
    from medimg.inference.predictor import load
    from medimg.io.read import read, read_all

_PLACES = {"load": "medimg.inference.predictor", "read": "medimg.io.read", "read_all": "medimg.io.read"}


def __getattr__(name: str) -> Any:
    # ``import medimg`` stays light: a PACS script pays for what it uses.
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'medimg' has no attribute {name!r}")
