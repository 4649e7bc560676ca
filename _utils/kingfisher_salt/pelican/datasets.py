"""The datasets of Pelican backend: list them, and remove one."""

from __future__ import annotations

from typing import Any

from ..database import ask
from ..errors import KingfisherError
from .config import Config

#: What Pelican's own command removes: datasets in one of these phases, whose state is OK.
REMOVABLE = ("CHECKED", "DELETED")
#: What it deletes the rows of, by dataset.
TABLES = (
    "data_item",
    "field_level_check",
    "field_level_check_examples",
    "resource_level_check",
    "resource_level_check_examples",
    "report",
    "dataset_level_check",
    "time_variance_level_check",
    "progress_monitor_item",
)

_DATASETS = """
    SELECT d.id, d.name, d.meta->'kingfisher_metadata'->>'collection_id' AS collection, p.phase, p.state, p.size,
        CASE WHEN p.phase = 'CONTRACTING_PROCESS' THEN (
            SELECT count(*) FROM progress_monitor_item i WHERE i.dataset_id = d.id AND i.state = 'OK'
        ) END AS checked,
        d.ancestor_id AS ancestor,
        (SELECT min(dataset_id_original) FROM dataset_filter WHERE dataset_id_filtered = d.id) AS filtered_from,
        round(extract(epoch FROM localtimestamp - d.created) / 3600)::integer AS age_hours,
        round(extract(epoch FROM localtimestamp - p.modified) / 3600)::integer AS unchanged_hours
    FROM dataset d LEFT JOIN progress_monitor_dataset p ON p.dataset_id = d.id
    WHERE (%s::bigint IS NULL OR d.id = %s) AND (%s::text IS NULL OR strpos(d.name, %s) > 0)
    AND (NOT %s OR p.phase IS NULL OR p.phase <> ALL(%s) OR p.state <> 'OK')
    ORDER BY d.id DESC LIMIT %s
"""
# Datasets that were made from this one, and from those, and so on.
_FILTERED = """
    WITH RECURSIVE below (id) AS (
        SELECT dataset_id_filtered FROM dataset_filter WHERE dataset_id_original = %s
        UNION SELECT f.dataset_id_filtered FROM dataset_filter f JOIN below ON f.dataset_id_original = below.id
    )
    SELECT below.id, p.phase, p.state FROM below JOIN dataset d ON d.id = below.id
    LEFT JOIN progress_monitor_dataset p ON p.dataset_id = below.id ORDER BY below.id
"""


class UnknownDatasetError(KingfisherError):
    """There is no such dataset, or not any more."""


def datasets(
    config: Config, *, name: str | None = None, unfinished: bool = False, limit: int = 100
) -> dict[str, dict[str, Any]]:
    """
    Return the newest datasets, by id, without what is not set.

    :param name: part of the name
    :param unfinished: whether to leave out those that are checked, or deleted
    :raises DatabaseError: if the database does not answer
    """
    with config.connect() as connection:
        return {str(row["id"]): _without_nothing(row) for row in _find(connection, None, name, unfinished, limit)}


def remove(
    config: Config, dataset: int, *, include_filtered: bool = False, force: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """
    Remove a dataset with Pelican backend's own command, and look whether it has gone.

    The command's exit code is 0 even if it refuses, so everything that it checks is checked before, and its effect
    after. Of a dataset from which others were filtered, Pelican keeps the row, without its data, until those go.

    :raises UnknownDatasetError: if there is no such dataset
    :raises KingfisherError: if Pelican would not remove it, or has not
    """
    with config.connect() as connection:
        found = _one(connection, dataset)
        filtered = ask(connection, _FILTERED, dataset)
        going = [dataset, *(row["id"] for row in filtered if include_filtered and _removable(row))]
        rows = _rows(connection, going)
    label = f"dataset {dataset} ({found['name']})"
    _check(label, found, force=force)
    left = [row["id"] for row in filtered if row["id"] not in going]
    result: dict[str, Any] = {
        "dataset": dataset,
        "name": found["name"],
        "before": f"{found['phase']} {found['state']}",
        "datasets": going,
        "rows": rows,
        "filtered_left": left,
        "removed": False,
    }
    if dry_run:
        return result | {"comment": f"{label} would have been removed"}
    if found["phase"] == "DELETED" and left and not rows:
        return result | {"comment": f"{label} was removed before: its row stays until {_list(left)} is removed, too"}
    words = ["remove", *(["--include-filtered"] if include_filtered else []), *(["--force"] if force else [])]
    output = config.app.run(*words, str(dataset))
    with config.connect() as connection:
        still = _rows(connection, going)
        there = {number: _find(connection, number) for number in going}
    wrong = [number for number, after in there.items() if after and after[0]["phase"] != "DELETED"]
    if still or wrong or (there[dataset] and not left):
        raise KingfisherError(
            f"{label} has not been removed, though Pelican backend's command has ended: {config.app.said(output)}: "
            f"run pelican.remove {dataset} again, or run remove {dataset} by hand, with {config.app.place}"
        )
    comment = f"{label} has been removed"
    if there[dataset]:
        comment += f": its row stays, without data, until {_list(left)} is removed, too"
    return result | {"removed": True, "comment": comment}


def _check(label: str, found: dict[str, Any], *, force: bool) -> None:
    """Raise if Pelican would not remove a dataset."""
    number = found["id"]
    if found["phase"] is None:
        raise KingfisherError(
            f"{label} has no row in progress_monitor_dataset, without which Pelican's command fails: its extraction "
            f"did not begin: delete row {number} of the table dataset by hand"
        )
    if not _removable(found) and not force:
        raise KingfisherError(
            f"{label} is in phase {found['phase']}, state {found['state']}, and Pelican removes only those that are "
            f"CHECKED or DELETED, and OK: wait for it, or, if its worker is dead, pelican.remove {number} force=True"
        )


def _removable(row: dict[str, Any]) -> bool:
    return row["phase"] in REMOVABLE and row["state"] == "OK"


def _one(connection: Any, dataset: int) -> dict[str, Any]:
    found = _find(connection, dataset)
    if not found:
        raise UnknownDatasetError(f"there is no dataset {dataset} in Pelican, or not any more: see pelican.datasets")
    return found[0]


def _find(
    connection: Any, dataset: int | None, name: str | None = None, unfinished: bool = False, limit: int = 1
) -> list[dict[str, Any]]:
    return ask(connection, _DATASETS, dataset, dataset, name, name, unfinished, list(REMOVABLE), limit)


def _rows(connection: Any, numbers: list[int]) -> dict[str, int]:
    """Return how many rows these datasets have, by table, if any."""
    query = " UNION ALL ".join(
        f"SELECT '{table}' AS name, count(*) AS rows FROM {table} WHERE dataset_id = ANY(%s)" for table in TABLES
    )
    return {row["name"]: row["rows"] for row in ask(connection, query, *[numbers] * len(TABLES)) if row["rows"]}


def _without_nothing(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _list(numbers: list[int]) -> str:
    return f"{'dataset' if len(numbers) == 1 else 'each of datasets'} {', '.join(map(str, numbers))}"
