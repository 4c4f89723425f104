"""The toy run of the tests, in processes that can be killed.

As a script it reads lines of JSON, ``[folder, changes]``, from standard input, starts a process for each and answers
with its number: torch is imported once for all of them.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from training_toys import WINDOW, blob_cases, toy_net, toy_settings

from medimg.training.fit import fit
from medimg.training.segmentation import SegmentationTask
from medimg.transforms.augment import Augment
from medimg.transforms.settings import AugmentSettings


class Slow:
    """Augmentation that takes its time, so that a kill finds the run in the middle."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.augment = Augment(AugmentSettings(), 2)

    def draw(self, batch, size, generator):
        return self.augment.draw(batch, size, generator)

    def apply(self, draw, image, label=None, boxes=None):
        time.sleep(self.seconds)
        return self.augment.apply(draw, image, label, boxes)


def run(folder: Path, changes: dict, resume: bool = False):
    torch.set_num_threads(1)
    changes = dict(changes)
    slow, dropout = changes.pop("slow", 0.0), changes.pop("dropout", 0.2)
    return fit(
        toy_settings(**changes),
        SegmentationTask(labels=("blob",)),
        toy_net(dropout=dropout),
        blob_cases(7),
        blob_cases(3, seed=1),
        folder,
        intensity=WINDOW,
        augment=Slow(slow),
        resume=resume,
    )


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        folder, changes = json.loads(line)
        number = os.fork()
        if number == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                run(Path(folder), changes)
            except Exception:
                Path(f"{folder}.error").write_text(traceback.format_exc())
                raise
            finally:
                os._exit(0)
        print(number, flush=True)


if __name__ == "__main__":
    serve()
