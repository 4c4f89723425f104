"""Send what was made: one thread a destination, so that a slow or dead peer holds nobody else up."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg.errors import MedimgError
from medimg.pacs.serve import outbox
from medimg.pacs.serve.journal import Journal
from medimg.pacs.serve.outbox import Letter
from medimg.pacs.serve.peers import Answer, store, stow
from medimg.pacs.serve.retry import pause_s
from medimg.pacs.serve.settings import DestinationSettings, ServeSettings

LOG = logging.getLogger("medimg.serve")
Send = Callable[[DestinationSettings, str, Sequence[tuple[Letter, Path]]], Iterable[tuple[Letter, Answer]]]
_MOST, _LEASE_S, _POLL_S = 50, 600.0, 0.5
_PROTOCOLS: dict[str, Send] = {"dimse": store, "stow": stow}


@dataclass
class Sender:
    """Empties the outbox of one destination."""

    name: str
    settings: ServeSettings
    journal: Journal

    def __post_init__(self) -> None:
        """Take a name for the leases, and a generator for the pauses."""
        self._owner = f"sender-{os.getpid()}"
        self._rng = np.random.default_rng()

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped; what was sent is written down before that."""
        while not stop.is_set():
            try:
                sent = self.turn(stop)
            except MedimgError as error:
                LOG.error("%s: %s", self.name, error.what)
                sent = 0
            if not sent:
                stop.wait(_POLL_S)

    def turn(self, stop: threading.Event) -> int:
        """Send what is due, up to 50 results of a study; return how many were tried."""
        letters = outbox.claim(self.journal, self.name, self._owner, time.time(), _LEASE_S, _MOST)
        if not letters:
            return 0
        peer, root = self.settings.destinations[self.name], Path(self.settings.root)
        waiting = {letter.id: letter for letter in letters}
        pairs = [(letter, root / letter.file) for letter in letters]
        for letter, answer in _PROTOCOLS[peer.protocol](peer, self.settings.receiver.ae_title, pairs):
            waiting.pop(letter.id)
            self._note(letter, answer)
            if stop.is_set():
                break
        for letter in waiting.values():
            self._note(letter, Answer(False, "not tried", counts=False))
        return len(letters)

    def _note(self, letter: Letter, answer: Answer) -> None:
        now, retry = time.time(), self.settings.retry
        if answer.taken:
            outbox.sent(self.journal, letter, self._owner, now, answer.status)
            return
        LOG.warning("%s: a result was not taken: %s", self.name, answer.status)
        pause: float | None = pause_s(letter.tries, retry.first_s, retry.longest_s, self._rng)
        if answer.final or (answer.counts and letter.tries >= retry.tries):
            pause = None
        outbox.failed(self.journal, letter, self._owner, now, answer.status, pause)
