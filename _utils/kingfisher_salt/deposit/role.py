"""The password of the deposit's role on this host, set so that PostgreSQL is never told it in plain text."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from ..errors import KingfisherError, SettingsError
from ..postgres.scram import verifier

ROOT = "deposit:server:config:private:db"
#: psql as PostgreSQL's superuser, who is known by the name of the operating system's user.
_PSQL = ("runuser", "-u", "postgres", "--", "psql")


def is_current(db: Mapping[str, Any]) -> bool:
    """
    Return whether the role's password opens the server.

    :param db: ``private:db`` of server.yml
    :raises SettingsError: if there is no password, or no role
    """
    if not isinstance(db.get("password"), str):
        raise SettingsError(f"{ROOT}:password is not set as text: without a password, there is nothing to set")
    if not isinstance(db.get("user"), str):
        raise SettingsError(f"{ROOT}:user is not set as text: set it to the role that has the password")
    try:
        psycopg2.connect(
            dbname="postgres", user=db["user"], password=db["password"], connect_timeout=10, **_address(db)
        ).close()
    except psycopg2.OperationalError:
        return False
    return True


def set_password(db: Mapping[str, Any], psql: Sequence[str] = _PSQL) -> None:
    """
    Set the role's password, and try it.

    :raises KingfisherError: if that fails, or does not open the server
    """
    role = '"{}"'.format(db["user"].replace('"', '""'))
    port = ["--port", str(db["port"])] if db.get("port") else []
    ended = subprocess.run(
        [*psql, *port, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres"],
        input=f"ALTER ROLE {role} PASSWORD '{verifier(db['password'])}';\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines()[-1:] or ["no reason"]
        raise KingfisherError(f"The password of PostgreSQL's role {db['user']} cannot be set: {said[0]}")
    if not is_current(db):
        address = _address(db)
        raise KingfisherError(
            f"PostgreSQL at {address['host']}:{address['port']} refuses role {db['user']} with the password that was "
            "just set: is there a line for it in pg_hba.conf, and does it listen there?"
        )


def _address(db: Mapping[str, Any]) -> dict[str, Any]:
    return {"host": db.get("host") or "127.0.0.1", "port": db.get("port") or 5432}
