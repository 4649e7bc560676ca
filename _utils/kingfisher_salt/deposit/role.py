"""The password of the deposit's role on this host, set so that PostgreSQL is never told it in plain text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import stringprep
import subprocess
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

from ..errors import KingfisherError, SettingsError

ROOT = "deposit:server:config:private:db"
_ITERATIONS = 4096
#: psql as PostgreSQL's superuser, who is known by the name of the operating system's user.
_PSQL = ("runuser", "-u", "postgres", "--", "psql")


def is_current(db: Mapping[str, Any]) -> bool:
    """
    Return whether the role's password opens the server.

    :param db: ``private:db`` of server.yml
    :raises SettingsError: if there is no password
    """
    for key in ("user", "password"):
        if not isinstance(db.get(key), str):
            raise SettingsError(f"{ROOT}:{key} is not set as text: without a password, there is nothing to set")
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


def verifier(password: str) -> str:
    """Return what PostgreSQL stores of a password: RFC 5803, with SCRAM-SHA-256."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(value).decode() for value in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{texts[0]}${texts[1]}:{texts[2]}"


def _prepared(password: str) -> str:
    """Return the password as SASLprep (RFC 4013) has it or, if that forbids it, as it is, which PostgreSQL does."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    is_allowed = normal and not any(table(char) for char in normal for table in forbidden)
    return normal if is_allowed else password


def _address(db: Mapping[str, Any]) -> dict[str, Any]:
    return {"host": db.get("host") or "127.0.0.1", "port": db.get("port") or 5432}
