"""What Kingfisher Process has loaded, and what it waits for, as its database tells."""

from __future__ import annotations

from typing import Any

from ..database import ask
from ..errors import KingfisherError
from .config import Config

COMPILED = "compile-releases"

# Times are UTC, with a time zone in newer versions, and without one in older ones.
_COLLECTIONS = """
    SELECT c.id, c.source_id AS source, to_char(c.data_version, 'YYYY-MM-DD HH24:MI:SS') AS data_version, c.sample,
        c.transform_type AS transform, c.transform_from_collection_id AS parent, c.steps,
        c.data_type->>'format' AS data_type, c.compilation_started, c.expected_files_count AS expected_files,
        to_char(c.store_start_at, 'YYYY-MM-DD HH24:MI:SS') AS opened,
        to_char(c.store_end_at, 'YYYY-MM-DD HH24:MI:SS') AS closed,
        to_char(c.completed_at, 'YYYY-MM-DD HH24:MI:SS') AS completed,
        to_char(c.deleted_at, 'YYYY-MM-DD HH24:MI:SS') AS deleted,
        round(extract(epoch FROM now() - coalesce(c.store_end_at, c.store_start_at)) / 3600)::integer AS hours,
        (SELECT count(*) FROM collection_file f WHERE f.collection_id = c.id) AS files,
        (SELECT json_object_agg(name, count) FROM (
            SELECT s.name, count(*) FROM processing_step s WHERE s.collection_id = c.id GROUP BY s.name
        ) AS steps) AS steps_left
    FROM collection c
"""
_LIST = f"""{_COLLECTIONS}
    WHERE c.transform_type = '' AND (%s::text IS NULL OR c.source_id = %s)
    AND (NOT %s OR (c.deleted_at IS NULL AND (c.completed_at IS NULL OR EXISTS (
        SELECT FROM collection child WHERE child.transform_from_collection_id = c.id
        AND child.completed_at IS NULL AND child.deleted_at IS NULL
    ))))
"""
_CHILDREN = f"{_COLLECTIONS} WHERE c.transform_from_collection_id = ANY(%s) ORDER BY c.id"
_ONE = f"{_COLLECTIONS} WHERE c.id = %s"
_NOTES = """
    SELECT left(note, 300) AS note FROM collection_note
    WHERE collection_id = ANY(%s) AND code = 'ERROR' ORDER BY id DESC LIMIT 10
"""
_SOURCES = "SELECT DISTINCT source_id AS source FROM collection WHERE transform_type = ''"

_DOING = {"LOAD": "loaded", "UPGRADE": "upgraded", "CHECK": "checked", "COMPILE": "compiled"}


class UnknownCollectionError(KingfisherError):
    """There is no such collection, or not any more."""


def collections(
    config: Config, *, source: str | None = None, unfinished: bool = False, oldest: bool = False, limit: int = 100
) -> dict[str, dict[str, Any]]:
    """
    Return the newest collections, by id, each with those made from it, and with what it waits for.

    :param unfinished: whether to leave out those that are completed, cancelled or being deleted
    :param oldest: whether to return the oldest instead
    :raises KingfisherError: if the database does not answer
    """
    with config.connect() as connection:
        utc(connection)
        return {str(root["id"]): root for root in _roots(connection, source, unfinished, oldest, limit)}


def find(connection: Any, number: int) -> dict[str, Any]:
    """
    Return a collection that others may have been made from, and those.

    :raises UnknownCollectionError: if there is none
    :raises KingfisherError: if it was made from another one
    """
    utc(connection)
    found = ask(connection, _ONE, number)
    if not found:
        raise UnknownCollectionError(
            f"there is no collection {number} in Kingfisher Process, or not any more: see "
            "kingfisher_process.collections"
        )
    if found[0]["parent"]:
        raise KingfisherError(
            f"collection {number} was made from {found[0]['parent']} ({found[0]['transform']}): name that one"
        )
    return _with_children(connection, found)[0]


def notes(connection: Any, collection: dict[str, Any]) -> list[str]:
    """Return the last errors that Kingfisher Process noted of a collection, and of those made from it."""
    numbers = [collection["id"], *(child["id"] for child in collection["children"])]
    return [row["note"] for row in ask(connection, _NOTES, numbers)]


def sources(connection: Any) -> set[str]:
    return {row["source"] for row in ask(connection, _SOURCES)}


def _roots(connection: Any, source: str | None, unfinished: bool, oldest: bool, limit: int) -> list[dict[str, Any]]:
    query = f"{_LIST} ORDER BY c.id {'ASC' if oldest else 'DESC'} LIMIT %s"
    return _with_children(connection, ask(connection, query, source, source, unfinished, limit))


def _with_children(connection: Any, roots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    below: dict[int, list[dict[str, Any]]] = {}
    level = [root["id"] for root in roots]
    while level:
        children = ask(connection, _CHILDREN, level)
        for child in children:
            below.setdefault(child["parent"], []).append(child)
        level = [child["id"] for child in children]
    return [_show(root, below) for root in roots]


def _show(root: dict[str, Any], below: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a collection, with all those made from it, whether from itself or from one of them."""
    children: list[dict[str, Any]] = []
    level = [root]
    while level:
        found = [child for parent in level for child in below.get(parent["id"], [])]
        children += found
        level = found
    for row in (root, *children):
        row["steps"] = sorted(row["steps"] or {})
        row["steps_left"] = row["steps_left"] or {}
    waits = _waits(root, children)
    shown = {key: value for key, value in root.items() if value is not None and key not in ("transform", "parent")}
    return shown | {"children": [_child(child) for child in children], "waits_for": waits}


def _child(row: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "id",
        "transform",
        "parent",
        "compilation_started",
        "closed",
        "completed",
        "deleted",
        "files",
        "steps_left",
    )
    return {key: row[key] for key in keys if row[key] is not None}


def _waits(root: dict[str, Any], children: list[dict[str, Any]]) -> list[str]:
    """
    Return what a collection waits for, in words.

    The rules are those of the workers ``compiler`` and ``finisher``.
    """
    if root["deleted"]:
        return ["nothing: it was cancelled, or is being deleted"]
    waits = [_steps(row) for row in (root, *children) if row["steps_left"]]
    if not root["closed"]:
        waits.append("the crawl or load to end, which closes it")
    if (root["expected_files"] or 0) > root["files"]:
        waits.append(f"{root['expected_files'] - root['files']} of {root['expected_files']} files to arrive")
    compiled = [child for child in children if child["transform"] == COMPILED]
    waits += [
        f"the compiler to begin collection {child['id']}"
        for child in compiled
        if not child["compilation_started"] and not child["deleted"]
    ]
    if not waits:
        open_ = [row["id"] for row in (root, *children) if not row["completed"]]
        waits = [f"the finisher to complete collection {number}" for number in open_]
    return waits


def _steps(row: dict[str, Any]) -> str:
    what = ", ".join(f"{count} to be {_DOING.get(name, name)}" for name, count in sorted(row["steps_left"].items()))
    return f"files and releases of collection {row['id']}: {what}"


def utc(connection: Any) -> None:
    """Have times told, and compared, as Kingfisher Process has them."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL timezone = 'UTC'")
