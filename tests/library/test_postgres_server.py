"""Roles, databases and privileges from pillar, with a real server."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from kingfisher_salt.errors import SettingsError
from kingfisher_salt.postgres import apply, server
from kingfisher_salt.postgres.psql import Psql, SqlError

from tests.services.postgresql import PostgreSQL, programs

Apply = Callable[..., dict[str, Any]]
PILLAR: dict[str, Any] = {
    "groups": ["t_readers", "t_writers"],
    "users": {
        "t_owner": {"password": "it's 100% \\ sécret"},
        "t_ana": {"password": "ana", "groups": ["t_readers"]},
        "t_copy": {"password": "copy", "replication": True},
    },
    "databases": {
        "t_process": {
            "user": "t_owner",
            "extensions": ["plpgsql", "vector"],
            "schemas": {"views": {"name": "t_writers", "type": "group"}},
            "privileges": {"public": {"t_readers": None}, "views": {"t_ana": ["summary"]}},
        }
    },
}


@pytest.fixture
def psql(postgresql: PostgreSQL) -> Iterator[Psql]:
    environment = {
        **os.environ,
        "PGHOST": postgresql.host,
        "PGPORT": str(postgresql.port),
        "PGUSER": postgresql.user,
        "PGPASSWORD": postgresql.password,
    }
    psql = Psql((str(programs() / "psql"),), environment)
    yield psql
    for row in psql.rows("SELECT datname AS name FROM pg_database WHERE datname LIKE 't\\_%'"):
        psql.run(["DROP DATABASE {} WITH (FORCE)".format('"' + row["name"].replace('"', '""') + '"')], single=False)
    for row in psql.rows("SELECT rolname AS name FROM pg_roles WHERE rolname LIKE 't\\_%'"):
        psql.run(["DROP ROLE {}".format('"' + row["name"].replace('"', '""') + '"')])


@pytest.fixture
def pillar() -> dict[str, Any]:
    return copy.deepcopy(PILLAR)


@pytest.fixture
def run(psql: Psql, tmp_path: Path) -> Apply:
    return lambda pillar, **options: apply.apply(pillar, psql, path=tmp_path / "postgres.json", **options)


def connect(server: PostgreSQL, user: str, password: str, database: str = "t_process") -> Any:
    connection = server.connect(user=user, password=password, dbname=database)
    connection.autocommit = True
    return connection


def ask(server: PostgreSQL, user: str, password: str, sql: str) -> list[Any]:
    connection = connect(server, user, password)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_the_second_run_changes_nothing(run: Apply, pillar: dict[str, Any]) -> None:
    predicted = run(pillar, dry_run=True)["changes"]
    changed = run(pillar)["changes"]
    roles = {f"role {name}" for name in ("t_readers", "t_writers", "t_owner", "t_ana", "t_copy")}
    assert set(changed) == {*roles, "database t_process"}
    assert predicted == changed
    assert run(pillar)["changes"] == {}


def test_a_dry_run_changes_nothing(run: Apply, pillar: dict[str, Any], psql: Psql, tmp_path: Path) -> None:
    run(pillar, dry_run=True)
    assert psql.rows("SELECT 1 FROM pg_roles WHERE rolname LIKE 't\\_%'") == []
    assert not (tmp_path / "postgres.json").exists()


def test_an_owner_writes_and_a_reader_reads_what_is_made_later(
    run: Apply, pillar: dict[str, Any], postgresql: PostgreSQL
) -> None:
    run(pillar)
    ask(postgresql, "t_owner", PILLAR["users"]["t_owner"]["password"], "CREATE TABLE item AS SELECT 1 AS id")
    assert ask(postgresql, "t_ana", "ana", "SELECT id FROM item") == [(1,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(postgresql, "t_ana", "ana", "CREATE TABLE other (id int)")
    assert run(pillar)["changes"] == {}


def test_a_table_that_comes_later_is_granted_then(
    run: Apply, pillar: dict[str, Any], psql: Psql, postgresql: PostgreSQL
) -> None:
    assert any("views.summary is not in database" in note for note in run(pillar)["notes"])
    psql.run(["CREATE TABLE views.summary AS SELECT 7 AS n"], "t_process")
    assert run(pillar)["changes"] == {
        "database t_process": {"old": {"t_ana reads views.summary": False}, "new": {"t_ana reads views.summary": True}}
    }
    assert ask(postgresql, "t_ana", "ana", "SELECT n FROM views.summary") == [(7,)]
    assert run(pillar)["changes"] == {}


def test_a_password_that_changes_in_pillar_is_changed(
    run: Apply, pillar: dict[str, Any], postgresql: PostgreSQL
) -> None:
    run(pillar)
    pillar["users"]["t_ana"]["password"] = "another"
    changed = run(pillar)["changes"]
    assert changed == {"role t_ana": {"old": {"password": "** (another)"}, "new": {"password": "**"}}}
    connect(postgresql, "t_ana", "another").close()
    with pytest.raises(psycopg2.OperationalError):
        connect(postgresql, "t_ana", "ana")


def test_a_password_that_leaves_pillar_is_removed_once(run: Apply, pillar: dict[str, Any]) -> None:
    run(pillar)
    del pillar["users"]["t_ana"]["password"]
    assert run(pillar)["changes"] == {"role t_ana": {"old": {"password": "**"}, "new": {"password": None}}}
    assert run(pillar)["changes"] == {}


def test_a_password_that_others_set_stays(run: Apply, pillar: dict[str, Any], psql: Psql) -> None:
    del pillar["users"]["t_ana"]["password"]
    run(pillar)
    psql.run(["ALTER ROLE t_ana PASSWORD 'theirs'"])
    assert run(pillar)["changes"] == {}


def test_a_user_that_leaves_pillar_cannot_log_in_and_keeps_what_it_owns(
    run: Apply, pillar: dict[str, Any], postgresql: PostgreSQL
) -> None:
    run(pillar)
    connection = connect(postgresql, "t_ana", "ana")
    del pillar["users"]["t_ana"]
    del pillar["databases"]["t_process"]["privileges"]["views"]
    done = run(pillar)
    assert done["changes"]["role t_ana"]["new"] == {"login": False, "groups": []}
    assert any(note.startswith("Role t_ana left pillar") for note in done["notes"])
    with pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # its session is over
    with pytest.raises(psycopg2.OperationalError):
        connect(postgresql, "t_ana", "ana")
    assert run(pillar)["changes"] == {}
    assert run(PILLAR)["changes"]["role t_ana"]["new"]["login"] is True
    connect(postgresql, "t_ana", "ana").close()


def test_privileges_and_groups_that_leave_pillar_are_revoked(
    run: Apply, pillar: dict[str, Any], postgresql: PostgreSQL
) -> None:
    run(pillar)
    ask(postgresql, "t_owner", PILLAR["users"]["t_owner"]["password"], "CREATE TABLE item AS SELECT 1 AS id")
    pillar["databases"]["t_process"]["privileges"] = {}
    pillar["users"]["t_ana"]["groups"] = []
    changed = run(pillar)["changes"]
    assert changed["role t_ana"] == {"old": {"groups": ["t_readers"]}, "new": {"groups": []}}
    revoked = {"t_readers reads public.*": False, "t_ana reads views.summary": False}
    assert changed["database t_process"]["new"] == revoked
    pillar["users"]["t_ana"]["groups"] = ["t_readers"]
    run(pillar)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(postgresql, "t_ana", "ana", "SELECT id FROM public.item")
    assert run(pillar)["changes"] == {}


def test_an_empty_list_of_tables_grants_none(
    run: Apply, pillar: dict[str, Any], psql: Psql, postgresql: PostgreSQL
) -> None:
    pillar["databases"]["t_process"]["privileges"] = {"public": {"t_ana": []}}
    run(pillar)
    psql.run(["CREATE TABLE public.item AS SELECT 1 AS id"], "t_process")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(postgresql, "t_ana", "ana", "SELECT id FROM public.item")
    assert run(pillar)["changes"] == {}


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [(None, ["one"], "two"), (["one", "two"], None, ""), (["one", "two"], ["one"], "two")],
)
def test_a_privilege_is_narrowed_and_widened_at_once(
    run: Apply,
    pillar: dict[str, Any],
    psql: Psql,
    postgresql: PostgreSQL,
    before: list[str] | None,
    after: list[str] | None,
    refused: str,
) -> None:
    privileges = pillar["databases"]["t_process"]["privileges"]
    privileges["views"] = {"t_ana": before}
    run(pillar)
    statements = [f"CREATE TABLE views.{table} AS SELECT 1 AS n" for table in ("one", "two")]
    psql.run(statements, "t_process")
    run(pillar)
    privileges["views"] = {"t_ana": after}
    run(pillar)
    for table in ("one", "two"):
        if table == refused:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                ask(postgresql, "t_ana", "ana", f"SELECT n FROM views.{table}")
        else:
            assert ask(postgresql, "t_ana", "ana", f"SELECT n FROM views.{table}") == [(1,)]
    assert run(pillar)["changes"] == {}


def test_a_database_that_leaves_pillar_is_kept(run: Apply, pillar: dict[str, Any], psql: Psql) -> None:
    run(pillar)
    del pillar["databases"]["t_process"]
    done = run(pillar)
    assert done["changes"] == {}
    assert done["notes"] == ['Database t_process left pillar, and is kept, until DROP DATABASE "t_process"']
    assert psql.rows("SELECT 1 AS n FROM pg_database WHERE datname = 't_process'") == [{"n": 1}]


def test_what_others_made_is_left_alone(run: Apply, pillar: dict[str, Any], psql: Psql) -> None:
    psql.run(["CREATE ROLE t_other LOGIN REPLICATION"])
    run(pillar)
    psql.run(["GRANT t_other TO t_ana"])
    assert run(pillar)["changes"] == {}


def test_a_new_owner_gets_the_database(run: Apply, pillar: dict[str, Any]) -> None:
    run(pillar)
    pillar["databases"]["t_process"]["user"] = "t_copy"
    assert run(pillar)["changes"]["database t_process"]["new"]["owner"] == "t_copy"
    assert run(pillar)["changes"] == {}


def test_names_are_quoted(run: Apply, postgresql: PostgreSQL) -> None:
    odd = "t_\"o'd $d"
    pillar = {"users": {odd: {"password": "x"}}, "databases": {odd: {"user": odd, "schemas": {odd: odd}}}}
    run(pillar)
    assert run(pillar)["changes"] == {}
    connect(postgresql, odd, "x", odd).close()


def test_every_unknown_role_is_in_one_message(run: Apply, pillar: dict[str, Any]) -> None:
    pillar["users"]["t_ana"]["groups"] = ["t_reader"]
    pillar["databases"]["t_process"] |= {"user": "t_ownr", "privileges": {"view": {"t_readers": None}}}
    pillar["groups"].append("postgres")
    with pytest.raises(SettingsError) as caught:
        run(pillar)
    for part in (
        "postgres:users:t_ana:groups: t_reader is not in postgres:groups: did you mean t_readers?",
        "postgres:databases:t_process:user: t_ownr is not in postgres:users: did you mean t_owner?",
        "postgres:databases:t_process:privileges: view is not in postgres:databases:t_process:schemas",
        "postgres:groups must not be postgres",
    ):
        assert part in str(caught.value)


def test_a_server_that_is_not_there_is_an_empty_one_for_a_dry_run_alone(
    pillar: dict[str, Any], tmp_path: Path
) -> None:
    psql = Psql(("/nonexistent/psql",))
    done = apply.apply(pillar, psql, path=tmp_path / "postgres.json", dry_run=True)
    assert done["changes"]["database t_process"]["old"] is None
    with pytest.raises(SqlError, match="is PostgreSQL installed here"):
        apply.apply(pillar, psql, path=tmp_path / "postgres.json")


def test_no_password_is_said_or_kept(run: Apply, pillar: dict[str, Any], tmp_path: Path) -> None:
    pillar["users"]["t_ana"]["password"] = "h1dden"
    said = json.dumps(run(pillar))
    assert "h1dden" not in said + (tmp_path / "postgres.json").read_text()
    assert (tmp_path / "postgres.json").stat().st_mode & 0o777 == 0o600
    pillar["databases"]["t_process"]["extensions"] = ["no_such"]
    pillar["users"]["t_ana"]["password"] = "h1dden2"
    with pytest.raises(SqlError, match="no_such") as caught:
        run(pillar)
    assert "SCRAM" not in str(caught.value)


@pytest.fixture
def data(psql: Psql) -> Path:
    return Path(psql.rows("SELECT current_setting('data_directory') AS path")[0]["path"])


def reload(psql: Psql) -> None:
    before = psql.rows("SELECT pg_conf_load_time() AS at")
    psql.run(["SELECT pg_reload_conf()"])
    deadline = time.monotonic() + 10
    while psql.rows("SELECT pg_conf_load_time() AS at") == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_file_that_was_written_is_not_loaded_until_it_is_read(psql: Psql, data: Path) -> None:
    access = data / "pg_hba.conf"
    assert server.is_loaded(psql, [access])
    assert server.is_loaded(psql, [])
    access.write_text(access.read_text())
    assert not server.is_loaded(psql, [access])
    reload(psql)
    assert server.is_loaded(psql, [access, data / "nonexistent"])


def test_a_file_that_waits_for_a_restart_is_not_loaded(psql: Psql, data: Path) -> None:
    path = data / "postgresql.auto.conf"
    before = path.read_text()
    path.write_text("max_connections = 77\n")
    try:
        reload(psql)
        assert not server.is_loaded(psql, [path])
        assert server.is_loaded(psql, [data / "pg_hba.conf"])  # it waits for what another file sets
    finally:
        path.write_text(before)
        reload(psql)
    assert server.is_loaded(psql, [path])


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("work_mem = 'nonsense'", r"postgresql\.auto\.conf, line 1: work_mem: setting could not be applied"),
        ("max_connections = 'nonsense'", "max_connections: setting could not be applied"),
        ("work_men = '4MB'", "work_men: unrecognized configuration parameter"),
        ("max_connections = 77", None),
    ],
)
def test_a_mistake_is_told_from_what_waits_for_a_restart(
    psql: Psql, data: Path, line: str, refused: str | None
) -> None:
    path = data / "postgresql.auto.conf"
    before = path.read_text()
    path.write_text(f"{line}\n")
    try:
        if refused is None:
            server.check_configuration(psql)
        else:
            with pytest.raises(server.ServerError, match=refused):
                server.check_configuration(psql)
    finally:
        path.write_text(before)
