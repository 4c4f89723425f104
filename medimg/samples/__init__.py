"""Generated sample data: small scans of four modalities that belong to no person."""

from __future__ import annotations

from medimg.samples.generate import generate

__all__ = ["generate"]
