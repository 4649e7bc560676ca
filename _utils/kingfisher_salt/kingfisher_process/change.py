"""Cancel, delete and load collections, with the application's own commands, and look what became of it."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..database import ask
from ..errors import KingfisherError
from .collections import COMPILED, find, utc
from .config import Config

_TABLES = ("collection_file", "processing_step", "release", "record", "compiled_release", "collection_note")
_SAME = """
    SELECT id FROM collection
    WHERE source_id = %s AND data_version = %s::timestamp AND sample IS FALSE AND transform_type = ''
"""


def cancel(config: Config, number: int, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Have the workers skip all that is left to do for a collection. Its rows stay.

    :raises KingfisherError: if there is no such collection, or the command fails
    """
    before = _find(config, number)
    label = _label(before)
    result: dict[str, Any] = {**_facts(before), "cancelled": False}
    if "deleted" in before:
        return result | {"comment": f"{label} was cancelled before, or is being deleted, since {before['deleted']}"}
    if "completed" in before and all("completed" in child for child in before["children"]):
        return result | {"comment": f"{label} is completed: there is nothing to cancel"}
    if dry_run:
        return result | {"comment": f"{label} would have been cancelled"}
    config.app.run("cancelcollection", str(number))
    result["cancelled"] = True
    if "deleted" in _find(config, number):
        return result | {
            "comment": f"{label} has been cancelled: its rows stay until kingfisher_process.delete {number}"
        }
    # Older versions send a message to their worker instead.
    return result | {"comment": f"{label} has been told to stop: see kingfisher_process.status {number}"}


def delete(config: Config, number: int, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Delete a collection, and those made from it, and look whether they have gone.

    :returns: also ``rows``, how many there were, by table
    :raises KingfisherError: if there is no such collection, or it is still there
    """
    before = _find(config, number)
    numbers = [number, *(child["id"] for child in before["children"])]
    label = _label(before)
    with config.connect() as connection:
        rows = _rows(connection, numbers)
    result = {**_facts(before), "collections": numbers, "rows": rows, "deleted": False}
    if dry_run:
        return result | {"comment": f"{label} would have been deleted"}
    # It asks, and newer versions have an option for that which older ones do not know.
    output = config.app.run("deletecollection", str(number), stdin="y\n")
    with config.connect() as connection:
        left = [row["id"] for row in ask(connection, "SELECT id FROM collection WHERE id = ANY(%s)", numbers)]
    if left:
        raise KingfisherError(
            f"{label} has not been deleted, though deletecollection has ended: {config.app.said(output)}: run "
            f"kingfisher_process.delete {number} again"
        )
    return result | {"deleted": True, "comment": f"{label} has been deleted"}


def load(
    config: Config,
    directory: Path,
    source: str,
    note: str,
    *,
    compile_: bool = True,
    force: bool = False,
    replace: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """
    Load a directory into a new collection. What follows is done by the workers, from then on.

    :param force: whether to take a source that is no spider
    :param replace: whether to delete an open collection of the same source and time before, which a load that was
        interrupted has left
    :raises KingfisherError: if there are no files, or such a collection, or the command fails
    """
    files, version = _measure(directory)
    result: dict[str, Any] = {
        "directory": str(directory),
        "source": source,
        "data_version": version,
        "files": files,
        "loaded": False,
    }
    same = _same(config, source, version)
    if same:
        _check_same(same, replace=replace)
        result["replaces"] = same["id"]
    if dry_run:
        return result | {"comment": f"{files} files of {directory} would have been loaded as {source}"}
    if same:
        delete(config, same["id"])
    words = ["load", f"--source={source}", f"--note={note}", *(["--compile"] if compile_ else [])]
    output = config.app.run(*words, *(["--force"] if force else []), str(config.as_seen(directory)))
    made = _same(config, source, version)
    if not made:
        raise KingfisherError(
            f"Kingfisher Process has ended the load of {directory}, and has no collection of {source} at {version}: "
            f"{config.app.said(output)}: see kingfisher_process.collections source={source}"
        )
    if made["files"] != files or "closed" not in made:
        raise KingfisherError(
            f"collection {made['id']} has {made['files']} of {files} files: load it again with replace=True"
        )
    result |= {"loaded": True, "collection": made["id"]}
    compiled = [child["id"] for child in made["children"] if child["transform"] == COMPILED]
    if compiled:
        result["compiled_collection"] = compiled[0]
    return result | {"comment": f"{files} files of {directory} have been loaded into collection {made['id']}"}


def _measure(directory: Path) -> tuple[int, str]:
    """Return how many files the application will find, and the time that it will give them: that of the oldest one."""
    if not directory.is_dir():
        raise KingfisherError(f"{directory} is no directory of this server: correct argument directory")
    paths = [
        os.path.join(root, name)  # noqa: PTH118 - a directory may hold a million files
        for root, _, names in os.walk(directory)
        for name in names
        if not name.startswith(".")
    ]
    if not paths:
        raise KingfisherError(f"{directory} has no files to load: correct argument directory")
    oldest = int(min(os.stat(path).st_mtime for path in paths))  # noqa: PTH116
    return len(paths), f"{datetime.fromtimestamp(oldest, timezone.utc):%Y-%m-%d %H:%M:%S}"


def _same(config: Config, source: str, version: str) -> dict[str, Any] | None:
    with config.connect() as connection:
        utc(connection)
        found = ask(connection, _SAME, source, version)
        return find(connection, found[0]["id"]) if found else None


def _check_same(same: dict[str, Any], *, replace: bool) -> None:
    """Raise unless a collection of the same source and time may be replaced."""
    what = f"{_label(same)} is of the same source and time"
    if "closed" in same or "deleted" in same:
        raise KingfisherError(f"{what}: delete it with kingfisher_process.delete {same['id']} to load it again")
    if not replace:
        raise KingfisherError(
            f"{what}, and open, with {same['files']} files: a load goes on, or was interrupted: wait for it, or use "
            "replace=True"
        )


def _find(config: Config, number: int) -> dict[str, Any]:
    with config.connect() as connection:
        return find(connection, number)


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    return {"collection": found["id"], "source": found["source"], "data_version": found["data_version"]}


def _label(found: dict[str, Any]) -> str:
    return f"collection {found['id']} ({found['source']} {found['data_version']})"


def _rows(connection: Any, numbers: list[int]) -> dict[str, int]:
    """Return how many rows these collections have, by table, if any."""
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, count(*) AS rows FROM {table} WHERE collection_id = ANY(%s)" for table in _TABLES
    )
    return {row["name"]: row["rows"] for row in ask(connection, query, *[numbers] * len(_TABLES)) if row["rows"]}
