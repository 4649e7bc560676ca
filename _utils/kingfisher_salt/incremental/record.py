"""What is remembered of a crawl's last run, in one small file that is always whole."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NAME = "last.json"


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read(directory: Path) -> dict[str, Any]:
    """Return the record, which is empty if there is none, or if it cannot be read."""
    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return dict(json.loads(file.read(1 << 20)))
    except (OSError, ValueError, TypeError):
        return {}


def write(directory: Path, record: dict[str, Any]) -> None:
    path = directory / f".{NAME}"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path.replace(directory / NAME)
