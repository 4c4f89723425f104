"""How long ``medimg --help`` takes, beside starting Python and importing MONAI, in one run.

python scripts/bench/help.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python starts": ["-c", "pass"],
    "medimg --help": ["-m", "medimg", "--help"],
    "medimg train --help": ["-m", "medimg", "train", "--help"],
    "import monai": ["-c", "import monai"],
}
REPEATS = 7


def main() -> int:
    """Print the median of seven interleaved runs of each command."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, words in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:<22}{statistics.median(values):7.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
