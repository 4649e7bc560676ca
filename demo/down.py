"""Stops a demo that was left running: make demo-down."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PID_FILE = Path(__file__).parents[1] / ".demo" / "pid"


def running() -> int | None:
    """Return the process id of the demo of this checkout, if it runs."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if b"demo.run" in command else None


def main() -> None:
    pid = running()
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    while running():
        time.sleep(0.1)
    print("The demo is stopped.")


if __name__ == "__main__":
    main()
