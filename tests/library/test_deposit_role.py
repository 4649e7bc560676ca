"""The password of the deposit's role, set by psql's standard input, and tried over the network."""

from __future__ import annotations

import os
import uuid
from typing import Any

import psycopg2
import pytest
from kingfisher_salt.deposit import role
from kingfisher_salt.errors import KingfisherError, SettingsError
from kingfisher_salt.postgres import scram

from tests.services.postgresql import PostgreSQL, programs

PASSWORDS = [
    "plain",
    'it\'s "$x" `y` \\ %',
    "pässwörd 😀",
    "non\u00a0breaking, so\u00adft, \ufb01",
    "two\nlines",
    "\u0627a",
]


@pytest.fixture
def psql(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return psql as PostgreSQL's superuser, who is known by a password here."""
    monkeypatch.setenv("PGPASSWORD", postgresql.password)
    return [str(programs() / "psql"), f"--host={postgresql.host}", f"--username={postgresql.user}"]


@pytest.fixture
def db(postgresql: PostgreSQL) -> dict[str, Any]:
    name = f'it"s-{uuid.uuid4().hex[:8]}'
    quoted = name.replace('"', '""')
    postgresql.execute(f'CREATE ROLE "{quoted}" LOGIN')
    return {"host": postgresql.host, "port": postgresql.port, "name": "x", "user": name, "password": "first"}


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_is_set_and_then_is_current(db: dict[str, Any], psql: list[str], password: str) -> None:
    db["password"] = password
    assert not role.is_current(db)
    role.set_password(db, psql)
    assert role.is_current(db)


def test_postgresql_is_not_told_the_password(postgresql: PostgreSQL, db: dict[str, Any], psql: list[str]) -> None:
    db["password"] = f"h1dden-{uuid.uuid4().hex}"
    postgresql.execute("ALTER SYSTEM SET log_statement = 'all'")
    postgresql.execute("SELECT pg_reload_conf()")
    try:
        role.set_password(db, psql)
    finally:
        postgresql.execute("ALTER SYSTEM RESET log_statement")
        postgresql.execute("SELECT pg_reload_conf()")
    log = (postgresql.directory / "postgresql.log").read_text()
    assert "PASSWORD 'SCRAM-SHA-256$" in log
    assert db["password"] not in log


def test_a_role_that_is_not_there_is_told_without_the_password(db: dict[str, Any], psql: list[str]) -> None:
    db |= {"user": "nobody-here", "password": "h1dden"}
    with pytest.raises(KingfisherError, match=r"role nobody-here cannot be set: .*does not exist") as caught:
        role.set_password(db, psql)
    assert "h1dden" not in str(caught.value)
    assert "SCRAM" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("password", "password is not set as text: without a password, there is nothing to set"),
        ("user", "user is not set as text: set it to the role that has the password"),
    ],
)
def test_what_is_not_set_is_told(db: dict[str, Any], key: str, message: str) -> None:
    del db[key]
    with pytest.raises(SettingsError, match=f"^deposit:server:config:private:db:{message}$"):
        role.is_current(db)


def test_the_verifier_is_what_postgresql_itself_makes(postgresql: PostgreSQL, db: dict[str, Any]) -> None:
    # Set in the other way, so that a mistake which both sides of ours share is found.
    quoted = db["user"].replace('"', '""')
    postgresql.execute(f'ALTER ROLE "{quoted}" PASSWORD %s', (scram.verifier(db["password"]),))
    psycopg2.connect(host=db["host"], port=db["port"], dbname="postgres", user=db["user"], password="first").close()
    assert os.environ.get("PGPASSWORD") is None
