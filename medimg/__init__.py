"""Medical-imaging deep learning with an honest account, per ancestry, of how well each model works."""

from __future__ import annotations

__version__ = "0.1.0"
