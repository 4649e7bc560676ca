"""The states of PostgreSQL, RabbitMQ, Docker and tinyproxy, as they are rendered, and the files they put there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.conftest import ROOT, Minion
from tests.functional.test_rendering import argument, function, show

SECRET = "h1dden"
BACKUP = {"type": "script", "location": "bucket/prefix", "databases": ["process"]}


@pytest.fixture
def pillar() -> dict[str, Any]:
    """Return the sections of the example pillar, for a test to change."""
    example = yaml.safe_load((ROOT / "pillar/registry.sls").read_text())
    return {key: example[key] for key in ("postgres", "rabbitmq")}


@pytest.fixture
def render(minion: Minion, tmp_path: Path) -> Callable[..., str]:
    """Return a function that renders a template as file.managed does."""

    def rendered(name: str, pillar: dict[str, Any]) -> str:
        minion.set_pillar(pillar)
        target = tmp_path / "rendered"
        minion.call("cp.get_template", f"salt://{name}", str(target))
        return target.read_text()

    return rendered


def test_no_secret_enters_a_state(minion: Minion, pillar: dict[str, Any]) -> None:
    postgres = pillar["postgres"]
    postgres["users"]["ana"]["password"] = SECRET
    postgres["replication"] = {"primary": "x", "password": SECRET}
    postgres["backup"]["s3"] |= {"access_key_id": "x", "secret_access_key": SECRET}
    pillar["rabbitmq"]["users"] = {"process": {"password": SECRET}}
    for sls in ("postgres", "postgres.replica", "rabbitmq"):
        assert SECRET not in str(show(minion, sls, pillar))


@pytest.mark.parametrize(
    ("backup", "halted", "there"),
    [
        (BACKUP, False, True),
        (BACKUP, True, False),
        ({"type": "pgbackrest", "stanza": "x"}, False, True),
        ({}, False, False),
    ],
)
def test_the_schedule_is_there_only_when_it_is_to_run(
    minion: Minion, pillar: dict[str, Any], backup: dict[str, Any], halted: bool, there: bool
) -> None:
    pillar["postgres"]["backup"] = backup
    pillar["maintenance"] = {"halted": halted}
    states = show(minion, "postgres", pillar)
    assert function(states["postgres-backup-schedule"]) == ("file.managed" if there else "file.absent")
    has_script = backup.get("type") == "script"  # it stays while halted
    assert ("postgres-backup-script" in states) is has_script
    assert ("postgres-backup-script-removed" in states) is not has_script


def test_a_kind_of_backup_has_settings_that_it_needs(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["postgres"]["backup"] = {"type": "pgbackrest"}
    required = argument(show(minion, "postgres", pillar)["postgres-pillar"], "required")
    assert {"postgres:backup:stanza", "postgres:backup:s3_key_secret"} <= set(required)
    pillar["postgres"]["backup"]["repo_type"] = "posix"
    required = argument(show(minion, "postgres", pillar)["postgres-pillar"], "required")
    assert "postgres:backup:s3_key_secret" not in required


def test_a_replica_has_no_roles_of_its_own(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["postgres"]["replication"] = {"primary": "db.example.com", "password": SECRET}
    states = show(minion, "postgres.replica", pillar)
    assert "postgres-roles-and-databases" not in states
    assert argument(states["postgres-replication-password"], "mode") == "0600"


def test_pgbackrest_is_refused_on_a_replica(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["postgres"]["backup"] = {"type": "pgbackrest", "stanza": "main", "repo_path": "/srv/backups"}
    assert argument(show(minion, "postgres", pillar)["postgres-pillar"], "problems") == []
    pillar["postgres"]["replication"] = {"primary": "db.example.com", "password": SECRET}
    (problem,) = argument(show(minion, "postgres", pillar)["postgres-pillar"], "problems")
    assert problem.startswith("postgres:backup:type is pgbackrest, which backs up from the primary alone")


def test_the_configuration_quotes_what_it_is_given(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    postgres = pillar["postgres"]
    postgres["configuration"]["settings"] = {"application_name": "it's", "jit": False, "wal_keep_size": 64}
    postgres["replication"] = {"primary": "db.example.com", "password": SECRET, "user": "o'k"}
    lines = render("postgres/files/postgresql.conf.jinja", pillar).splitlines()
    assert {"application_name = 'it''s'", "jit = off", "wal_keep_size = 64", "max_connections = 300"} <= set(lines)
    (conninfo,) = [line for line in lines if line.startswith("primary_conninfo")]
    assert "user=''o\\''k''" in conninfo
    assert SECRET not in conninfo


def test_a_password_file_escapes(render: Callable[..., str]) -> None:
    pillar = {"postgres": {"replication": {"primary": "::1", "password": "a:b\\c"}}}
    assert render("postgres/files/passfile.jinja", pillar).strip() == "\\:\\:1:5432:*:replica:a\\:b\\\\c"


def test_addresses_of_replicas_are_let_in(render: Callable[..., str]) -> None:
    pillar = {"postgres": {"replica_ipv4": ["192.0.2.7"], "replica_ipv6": ["2001:db8::7"]}}
    lines = render("postgres/files/pg_hba.conf.jinja", pillar).splitlines()
    assert "hostssl replication all 192.0.2.7/32 scram-sha-256" in lines
    assert "hostssl replication all 2001:db8::7/128 scram-sha-256" in lines
    assert not any("0/0" in line or ":/0" in line for line in lines)


def test_the_settings_of_the_script_are_json(render: Callable[..., str]) -> None:
    backup = {**BACKUP, "s3": {"secret_access_key": "\"' \\ é"}}
    found = json.loads(render("postgres/files/backup.json.jinja", {"postgres": {"backup": backup}}))
    assert found == {
        **{key: BACKUP[key] for key in ("location", "databases")},
        "retention_days": None,
        "s3": backup["s3"],
    }


def test_the_schedule_of_a_day(render: Callable[..., str]) -> None:
    backup = {**BACKUP, "hour": 0, "minute": 0, "mailto": "sysadmin@example.com"}
    lines = render("postgres/files/cron.jinja", {"postgres": {"backup": backup}}).splitlines()
    assert lines[1:] == [
        "MAILTO=sysadmin@example.com",
        "0 0 * * * root /opt/kingfisher-postgres-backup/backup run",
    ]


def test_mail_goes_to_cron_admin_if_the_backup_says_nothing_else(render: Callable[..., str]) -> None:
    contacts = {"cron_admin": "cron@example.com"}
    for backup, mailto in ((BACKUP, "cron@example.com"), ({**BACKUP, "mailto": "a@example.com"}, "a@example.com")):
        text = render("postgres/files/cron.jinja", {"postgres": {"backup": backup}, "system_contacts": contacts})
        assert text.splitlines()[1] == f"MAILTO={mailto}"


@pytest.mark.parametrize(("test", "user"), [(True, "root"), (False, "postgres")])
def test_a_trial_asks_pgbackrest_as_a_user_who_is_there(
    minion: Minion, pillar: dict[str, Any], test: bool, user: str
) -> None:
    pillar["postgres"]["backup"] = {"type": "pgbackrest", "stanza": "x"}
    minion.set_pillar(pillar)
    states = minion.call("state.show_sls", "postgres", test=test)
    assert argument(states["postgres-backup-stanza"], "runas") == user


def test_without_its_section_what_is_ours_is_removed(minion: Minion) -> None:
    states = show(minion, "postgres,rabbitmq", {})
    removed = {
        name
        for state in states.values()
        if function(state) == "file.absent"
        for name in (argument(state, "names") if "names" in str(state) else [argument(state, "name")])
    }
    assert removed >= {
        "/etc/apt/sources.list.d/kingfisher-postgres.list",
        "/etc/apt/sources.list.d/kingfisher-rabbitmq.list",
        "/etc/cron.d/kingfisher-postgres-backup",
        "/etc/kingfisher-postgres-backup.json",
        "/etc/rabbitmq/conf.d/50-kingfisher.conf",
        "/opt/kingfisher-postgres-backup",
        "/var/lib/postgresql/.kingfisher-replication",
    }


def test_what_docker_has_is_owned(minion: Minion) -> None:
    owned = show(minion, "docker", {"docker": {"user": "deployer", "uid": 1002}})["docker-owned"]
    assert argument(owned, "files") == ["/etc/docker/daemon.json"]
    assert argument(owned, "memberships") == ["deployer:docker"]
    owned = show(minion, "docker", {})["docker-owned"]
    assert (argument(owned, "files"), argument(owned, "memberships")) == ([], [])


def test_tinyproxy_denies_whom_pillar_does_not_name(render: Callable[..., str]) -> None:
    text = render("tinyproxy/files/tinyproxy.conf.jinja", {"tinyproxy": {"allow": ["192.0.2.23"]}})
    assert [line for line in text.splitlines() if line.startswith("Allow")] == [
        "Allow 127.0.0.1", "Allow ::1", "Allow 192.0.2.23",
    ]  # fmt: skip
