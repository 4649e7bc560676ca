"""
replacing.json: what an archive was, and what it will be, while it is replaced.

metadata.json is deleted before the data and log that it describes are replaced, and written after. Whoever is killed
in between leaves replacing.json, from which the next run tells what there is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import metadata
from .bucket import DATA, LOG, METADATA, REPLACING, Archive, Bucket


@dataclass(frozen=True)
class State:
    """What a month holds whose replacement may have been interrupted."""

    #: metadata.json as it should be: of the archive that is whole, or of the one that is being replaced.
    document: dict[str, Any]
    #: Whether the bucket holds the data and log that it describes.
    whole: bool


def begin(bucket: Bucket, archive: Archive, old: dict[str, Any], new: bytes, *, whole: bool) -> None:
    """Say that an archive is going to be replaced. With ``whole``, the bucket holds what ``old`` describes."""
    before = {name: list(archive.objects[name]) for name in (DATA, LOG) if name in archive.objects} if whole else None
    content = {"before": before, "old": old, "new": json.loads(new)}
    bucket.put(f"{archive.prefix}/{REPLACING}", json.dumps(content, indent=2).encode())


def examine(bucket: Bucket, archive: Archive) -> State | None:
    """
    Tell what is left of a replacement, without changing anything.

    :returns: None if there is nothing to tell, because replacing.json is unreadable or does not matter any more
    """
    content = metadata.parse(bucket.get(f"{archive.prefix}/{REPLACING}") or b"")
    if content is None or archive.published:
        return None
    old, new = content.get("old"), content.get("new")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return None
    data, log = metadata.stored(new, "data"), metadata.stored(new, "log")
    if (
        data
        and log
        and not (bucket.differs(f"{archive.prefix}/{DATA}", data) or bucket.differs(f"{archive.prefix}/{LOG}", log))
    ):
        return State(new, whole=True)
    now = {name: list(archive.objects[name]) for name in (DATA, LOG) if name in archive.objects}
    return State(old, whole=content.get("before") == now)


def finish(bucket: Bucket, archive: Archive) -> bool:
    """
    Publish what is whole: the new archive if all of it arrived, else the old one if none of it was replaced.

    :returns: whether one is
    """
    state = examine(bucket, archive)
    if state and state.whole:
        bucket.put(f"{archive.prefix}/{METADATA}", metadata.complete(state.document))
    whole = archive.published or (state is not None and state.whole)
    if whole:
        bucket.delete(f"{archive.prefix}/{REPLACING}")
    return whole
