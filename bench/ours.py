"""Runs of the library, to be called in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kingfisher_salt.archive.run import Options, archive

from bench.store import Place, counting, settings


def run(place: dict[str, Any], root: str, **more: Any) -> dict[str, Any]:
    """Archive what is below a directory, with the client that the library makes."""
    found = archive(settings(Place(**place), Path(root), **more), Options())
    return {**found["summary"], "errors": found["failed"]}


def run_counted(
    place: dict[str, Any],
    root: str,
    *,
    cache: str = "cache.sqlite",
    dry_run: bool = False,
    limit: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Do the same, and count the requests."""
    found = settings(Place(**place), Path(root), cache_file=str(Path(root) / cache), **more)
    client, count = counting(found)
    done = archive(found, Options(dry_run=dry_run, limit=limit), client=client)
    return {**done["summary"], "errors": done["failed"], "requests": count}
