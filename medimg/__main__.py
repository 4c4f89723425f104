"""``python -m medimg`` is the same as ``medimg``."""

from __future__ import annotations

import sys

from medimg.cli import main

sys.exit(main())
