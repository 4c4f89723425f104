"""Does tesseract see text in the pixels? Only ever a flag: what it does not see may still be there."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from medimg.errors import MissingDependency
from medimg.pacs.deidentify.elements import UNREADABLE

_TIMEOUT_S = 60.0
_LETTERS = re.compile(r"[^\W\d_]{3,}")
_WORDS_FOR_A_FLAG = 2


def sees_text(dataset: Dataset) -> bool:
    """Tell whether tesseract reads at least two words in the middle frame.

    Raises
    ------
    MissingDependency
        tesseract is not installed.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise MissingDependency("OCR was asked for.", got="no tesseract", fix="apt install tesseract-ocr, or ocr=false")
    try:
        picture = _picture(dataset)
        done = subprocess.run(
            [program, "stdin", "stdout", "--psm", "11"],
            input=picture,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (*UNREADABLE, RuntimeError, subprocess.TimeoutExpired):
        return False
    return len(_LETTERS.findall(done.stdout.decode("utf-8", "replace"))) >= _WORDS_FOR_A_FLAG


def _picture(dataset: Dataset) -> bytes:
    pixels = np.asarray(dataset.pixel_array, dtype=np.float64)
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        pixels = pixels[len(pixels) // 2]
    low, high = np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) / max(high - low, 1.0) * 255, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()
