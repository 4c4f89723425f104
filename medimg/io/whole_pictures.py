"""A picture that is cut off is an error, whatever other libraries of the process have told Pillow."""

from __future__ import annotations

import sys


def refuse_cut_pictures() -> None:
    """Take back the permission, process-wide, to fill up with grey what a file lacks.

    WeasyPrint gives it when it is imported; a cut-off picture, or DICOM frame that Pillow decodes, would then pass
    for a whole one.
    """
    module = sys.modules.get("PIL.ImageFile")
    if module is not None:
        module.LOAD_TRUNCATED_IMAGES = False  # type: ignore[attr-defined]
