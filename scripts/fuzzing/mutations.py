"""Damage DICOM and NIfTI files the way networks, disks, careless exporters and attackers do.

Every mutation is a function (bytes, Generator, other seeds) to bytes. DICOM mutations look the elements up with a
flat scanner, so that they hit tags, lengths and values on purpose; what cannot be scanned is damaged blindly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fuzzing.damage import Rng
from fuzzing.dicom import DICOM, deflate_bomb
from fuzzing.nifti import NIFTI, gzip_bomb, repack


def mutate(data: bytes, kind: str, rng: Rng, others: Sequence[bytes]) -> tuple[bytes, str]:
    """Apply one to three mutations; return the damaged bytes and what was done."""
    table = DICOM if kind == "dicom" else NIFTI
    weights = np.asarray([weight for _, weight in table])
    done = []
    for _ in range(int(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1)))):
        mutation = table[int(rng.choice(len(table), p=weights / weights.sum()))][0]
        data = mutation(data, rng, others)
        done.append(mutation.__name__)
        if mutation in (deflate_bomb, gzip_bomb, repack) or not data:
            break
    return data, "+".join(done)
