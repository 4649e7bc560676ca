"""Ask Kingfisher Process which crawls it has loaded."""

from __future__ import annotations

from typing import Any

import psycopg2

from ..errors import KingfisherError
from .crawl import DATA_VERSION_FORMAT

_QUERY = """
    SELECT DISTINCT source_id, data_version FROM collection
    WHERE source_id = ANY(%s) AND transform_type = '' AND sample IS FALSE
    AND store_end_at IS NOT NULL AND deleted_at IS NULL
"""


def loaded(database: dict[str, Any], sources: list[str]) -> set[str]:
    """
    Return the ids of the crawls of these sources that are wholly loaded, with one query.

    :param database: the setting of the same name
    :raises KingfisherError: if the database does not answer, or has no such table
    """
    place = f"{database['user']}@{database['host']}:{database['port']}/{database['name']}"
    passfile = {"passfile": database["passfile"]} if database["passfile"] else {}
    password = {"password": database["password"]} if database["password"] else {}
    try:
        connection = psycopg2.connect(
            host=database["host"],
            port=database["port"],
            dbname=database["name"],
            user=database["user"],
            connect_timeout=database["connect_timeout"],
            application_name="kingfisher-archive",
            **passfile,
            **password,
        )
        try:
            connection.set_session(readonly=True)
            with connection.cursor() as cursor:
                cursor.execute(_QUERY, (sources,))
                return {f"{source}/{version.strftime(DATA_VERSION_FORMAT)}" for source, version in cursor}
        finally:
            connection.close()
    except psycopg2.Error as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise KingfisherError(
            f"Kingfisher Process' database {place} cannot be asked: {said[0]}: correct kingfisher_archive:database, "
            "or leave it out, so that nothing is asked"
        ) from e
