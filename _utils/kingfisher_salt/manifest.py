"""What Salt put on a server and is found again by, when it leaves pillar."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from .errors import KingfisherError

#: One file a subject.
DIRECTORY = Path("/var/lib/kingfisher-salt")


def read(path: Path) -> dict[str, Any]:
    """
    Return what was written, or an empty mapping.

    :raises KingfisherError: if the file is not one of ours
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise KingfisherError(
            f"{path}, which says what is Salt's own, cannot be read ({e}): restore it, or delete it"
        ) from e
    if not isinstance(content, dict):
        raise KingfisherError(f"{path}, which says what is Salt's own, is not a mapping: restore it, or delete it")
    return content


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step, unless it says this already. Only root reads it."""
    data = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
