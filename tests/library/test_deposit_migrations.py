"""Migrations of the deposit's database: one at a time, never waiting for ever, and whole after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.deposit import blockers, migrations, server_file
from kingfisher_salt.deposit import config as deposit_config
from kingfisher_salt.deposit.config import Config
from kingfisher_salt.errors import KingfisherError, LockedError

from tests.services.deposit import DepositServer

ROOT = Path(__file__).parents[2]
LAST = "deposit.0025_set_release_data"


class Host:
    """A server's configuration whose database is at some migration."""

    def __init__(self, deposit_server: DepositServer, directory: Path):
        self.service = deposit_server
        self.name = deposit_server.create_database()
        private = deposit_server.private(name=self.name)
        self.path = deposit_server.write_configuration(directory / "server.yml", private=private)

    def config(self, **settings: Any) -> Config:
        return deposit_config.load({**self.service.pillar, "configuration_file": str(self.path), **settings}, {})

    def migrations(self) -> dict[str, list[str]]:
        config = self.config()
        return migrations.migrations(config, server_file.read(config))

    def migrate(self, *, dry_run: bool = False, **settings: Any) -> dict[str, Any]:
        config = self.config(**settings)
        return migrations.migrate(config, server_file.read(config), dry_run=dry_run)

    @contextmanager
    def session(self, statement: str) -> Iterator[int]:
        """Run a statement in a transaction that stays open, and return the process id of its session."""
        connection = self.service.connect(self.name)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
            yield connection.info.backend_pid
        finally:
            connection.close()


@pytest.fixture
def empty(deposit_server: DepositServer, tmp_path: Path) -> Host:
    return Host(deposit_server, tmp_path)


@pytest.fixture
def old(empty: Host) -> Host:
    """Return a database of an older version, with migrations to come that change table deposit."""
    empty.service.migrate("deposit", "0023", config_file=empty.path)
    return empty


def test_migrations_of_an_empty_database(empty: Host) -> None:
    before = empty.migrations()
    plan = empty.migrate(dry_run=True)
    assert empty.migrations() == before

    done = empty.migrate()

    assert before["applied"] == []
    assert plan["pending"] == done["applied"] == before["pending"]
    assert LAST in done["applied"]
    assert empty.migrations() == {"applied": done["applied"], "pending": [], "unknown": []}
    assert empty.migrate()["applied"] == []


def test_a_migration_that_the_installed_version_does_not_know(old: Host) -> None:
    old.service.query(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('deposit', '0099_future', now())",
        database=old.name,
    )
    assert old.migrations()["unknown"] == ["deposit.0099_future"]


def test_a_migration_of_ours_keeps_a_second_one_out(old: Host) -> None:
    before = old.migrations()
    with (
        old.session(f"SELECT pg_advisory_lock({migrations.LOCK})") as pid,
        pytest.raises(LockedError, match=f"another deposit.migrate runs, and PostgreSQL's pid {pid} holds its lock"),
    ):
        old.migrate()
    assert old.migrations() == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_migration_by_hand_is_noticed(old: Host, *, dry_run: bool) -> None:
    with (
        old.session("ALTER TABLE deposit ADD COLUMN half boolean") as pid,
        pytest.raises(LockedError, match=f"another migration of .* runs .pid {pid}"),
    ):
        old.migrate(dry_run=dry_run)


def test_a_migration_says_which_query_it_waits_for(old: Host) -> None:
    statement = "SELECT count(*) FROM deposit WHERE origin_url = 'https://secret.example.com/'"
    before = old.migrations()
    with old.session(statement) as pid:
        plan = old.migrate(dry_run=True)
        with pytest.raises(KingfisherError) as error:
            old.migrate(lock_timeout=1.5)

    [blocker] = plan["blocked_by"]
    assert (blocker["pid"], blocker["tables"]) == (pid, ["deposit"])
    assert blocker["query"] == "SELECT count(*) FROM deposit WHERE origin_url = ?"
    assert f"a migration waited 1.5 s for pid {pid}" in str(error.value)
    assert f"SELECT pg_terminate_backend({pid})" in str(error.value)
    assert "secret.example.com" not in str(error.value)
    # Each migration is whole or not at all: those of other tables were applied meanwhile, and stay.
    assert pending_of_deposits(old.migrations()) == pending_of_deposits(before)
    assert LAST in old.migrate()["applied"]


def test_a_migration_that_is_killed_half_way_is_finished_by_the_next(old: Host) -> None:
    """While ours is killed, Django goes on waiting: the next one says so, and goes on once that has ended as well."""
    before = old.migrations()
    pillar = {**old.service.pillar, "configuration_file": str(old.path), "lock_timeout": 60}
    code = (
        "import sys; sys.path.insert(0, '_utils')\n"
        "from kingfisher_salt.deposit import config, migrations, server_file\n"
        f"c = config.load({pillar!r}, {{}})\n"
        "migrations.migrate(c, server_file.read(c))\n"
    )
    with old.session("LOCK TABLE deposit IN ACCESS SHARE MODE"):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        wait_for_migration(old)
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        with pytest.raises(LockedError, match="another migration"):
            old.migrate()
        os.kill(int(child), signal.SIGKILL)
        terminate_waiting(old)

    # Each migration is whole or not at all: those of other tables were applied meanwhile, and stay.
    assert pending_of_deposits(old.migrations()) == pending_of_deposits(before)
    assert LAST in old.migrate()["applied"]


def pending_of_deposits(found: dict[str, list[str]]) -> list[str]:
    pending = [name for name in found["pending"] if name.startswith("deposit.")]
    assert pending
    return pending


def wait_for_migration(host: Host) -> None:
    deadline = time.monotonic() + 60
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    while not host.service.query(query, migrations.APPLICATION, database=host.name)[0]["n"]:
        assert time.monotonic() < deadline, "no migration waits for a lock"
        time.sleep(0.05)


def terminate_waiting(host: Host) -> None:
    """End the session of a client that is gone, which PostgreSQL notices only once it has the lock."""
    host.service.query(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s",
        migrations.APPLICATION,
        database=host.name,
    )


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("UPDATE auth_user SET password = 'pbkdf2$x' WHERE id = 12", "UPDATE auth_user SET password = ? WHERE id = ?"),
        ("SELECT 'it''s', E'a\\'b', $$c$$, $x$d$x$, -1.5, t1.c2", "SELECT ?, ?, ?, ?, ?, t1.c2"),
        ("SELECT 'cut off in the mid", "SELECT ?"),
        ('SELECT "deposit"."id" FROM  "deposit"\n', 'SELECT "deposit"."id" FROM "deposit"'),
    ],
)
def test_queries_are_shown_without_what_is_in_them(query: str, shown: str) -> None:
    assert blockers.without_literals(query) == shown
