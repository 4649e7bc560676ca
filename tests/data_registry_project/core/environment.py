"""The settings of a container."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit


def read(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that variables have, by the names that the Data Registry has for these."""
    database = urlsplit(environment["DATABASE_URL"])
    return {
        "database": {
            "HOST": database.hostname,
            "PORT": database.port,
            "USER": database.username,
            "PASSWORD": unquote(database.password or ""),
            "NAME": database.path.lstrip("/"),
        },
        "rabbit_url": environment["RABBIT_URL"],
        "exchange": environment["RABBIT_EXCHANGE_NAME"],
        "scrapyd_url": environment["SCRAPYD_URL"],
        "scrapyd_project": environment["SCRAPYD_PROJECT"],
        "process_url": environment["KINGFISHER_PROCESS_URL"],
        "pelican_url": environment["PELICAN_FRONTEND_URL"],
        "exporter_directory": "/data/exporter",
    }
