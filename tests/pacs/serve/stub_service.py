"""The service with children that the tests choose: SETTINGS.json, and a JSON mapping of names to modules."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from medimg.pacs.serve.child import on_signals, quiet_logs
from medimg.pacs.serve.service import Service
from medimg.pacs.serve.settings import load

if __name__ == "__main__":
    quiet_logs("receiver")
    stop = threading.Event()
    on_signals(stop)
    service = Service(load(Path(sys.argv[1])), children=json.loads(sys.argv[2]))
    service.start()
    service.run(stop)
