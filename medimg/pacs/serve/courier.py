"""The courier: the process that judges series, queues jobs, and sends results.

``python -m medimg.pacs.serve.courier SETTINGS.json``. Apart from the receiver, whose answers must not wait for it,
and from the worker, whose network may take the whole machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from medimg.pacs.serve import outbox
from medimg.pacs.serve.child import Child, child_main
from medimg.pacs.serve.scheduler import Scheduler
from medimg.pacs.serve.sender import Sender


def run(child: Child) -> None:
    """One thread for the scheduler, one for every destination; until stopped."""
    outbox.take_up(child.journal)
    loops: list[Callable[[threading.Event], None]] = [Scheduler(child.settings, child.journal).run]
    loops += [Sender(name, child.settings, child.journal).run for name in child.settings.destinations]
    threads = [threading.Thread(target=_guarded, args=(loop, child.stop)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _guarded(loop: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """Where one loop dies, let the process end: it is started again whole."""
    try:
        loop(stop)
    finally:
        stop.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a process of its own."""
    return child_main("courier", run, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
