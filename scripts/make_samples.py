"""Rebuild data_samples/ with the default settings, or check that what is committed is what the generator makes.

    python scripts/make_samples.py            # rebuild
    python scripts/make_samples.py --check    # build elsewhere, compare every file

The check passes when every file is the same byte for byte. Where only the compression differs (another zlib or JPEG
encoder on this machine), it compares the decoded content and says so.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from medimg.samples import generate
from medimg.samples.people import MODALITIES

SAMPLES = Path(__file__).resolve().parent.parent / "data_samples"


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the four cohorts, by relative path."""
    files = [path for modality in MODALITIES for path in sorted((folder / modality).rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def same_content(first: Path, second: Path) -> bool:
    """Return whether two files decode to the same (a JPEG: to within 3 grey values)."""
    if first.suffix == ".gz":
        return gzip.decompress(first.read_bytes()) == gzip.decompress(second.read_bytes())
    if first.suffix in (".png", ".jpg"):
        one, two = (np.asarray(Image.open(path), dtype=np.int16) for path in (first, second))
        return one.shape == two.shape and int(np.abs(one - two).max()) <= (3 if first.suffix == ".jpg" else 0)
    return False


def check(committed: Path) -> list[str]:
    """Rebuild in a temporary folder and return one line for each file that differs."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        old, new = digests(committed), digests(fresh)
        lines = [f"missing: {name}" for name in sorted(new.keys() - old.keys())]
        lines += [f"not made by the generator: {name}" for name in sorted(old.keys() - new.keys())]
        for name in sorted(name for name in old.keys() & new.keys() if old[name] != new[name]):
            if same_content(committed / name, fresh / name):
                print(f"same content, other compression: {name}")
            else:
                lines.append(f"differs: {name}")
        return lines


def main() -> int:
    """Rebuild, or check; the exit code is 1 when the check fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    if arguments.check:
        problems = check(SAMPLES)
        print("\n".join(problems) if problems else f"{SAMPLES}: as generated")
        return 1 if problems else 0
    for modality, folder in generate(SAMPLES).items():
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{modality}: {size / 1e6:.2f} MB in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
