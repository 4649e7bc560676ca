"""PostgreSQL of pillar: a primary with backups to a bucket, and the role kingfisher-replica, which follows it."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.fleet import network
from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Master
from tests.services.seaweedfs import REGION, SeaweedFS

SECRET = "h1dden-postgres"
BACKUP = "/opt/kingfisher-postgres-backup/backup"
CRON = "/etc/cron.d/kingfisher-postgres-backup"
SETTINGS = "/etc/kingfisher-postgres-backup.json"
HBA = "/etc/postgresql/17/main/pg_hba.conf"
WATCH = """\
import glob, time
while True:
    time.sleep(0.01)
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if b"h1dden" in open(path, "rb").read():
                open("/root/leaked", "a").write(path)
        except OSError:
            pass
"""


@pytest.fixture(scope="module")
def store(fleet: Fleet) -> Iterator[SeaweedFS]:
    """Return a store that hosts reach."""
    directory = fleet.directory / "store"
    directory.mkdir()
    with SeaweedFS(directory, address=network.GATEWAY) as store:
        store.client().create_bucket(Bucket="backups")
        yield store


@pytest.fixture(scope="module")
def replica(fleet: Fleet) -> Iterator[Host]:
    host = fleet.host("kingfisher-replica")
    yield host
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def pillar(replica: Host, store: SeaweedFS) -> dict[str, Any]:
    return {
        "postgres": {
            "data_directory": "/srv/postgresql/main",
            "replica_ipv4": [replica.address],
            "replica_ipv6": [replica.address6],
            "hba": [f"hostssl process process {network.GATEWAY}/32 scram-sha-256"],
            "configuration": {"context": {"content": "max_wal_size = 2GB"}, "settings": {"wal_keep_size": 64}},
            "groups": ["readers"],
            "users": {
                "process": {"password": SECRET},
                "reader": {"password": f"{SECRET}-3", "groups": ["readers"]},
                "replica": {"password": f"{SECRET}-2", "replication": True},
            },
            "databases": {"process": {"user": "process", "privileges": {"public": {"readers": None}}}},
            "backup": {
                "type": "script",
                "location": "backups/database",
                "databases": ["process"],
                "retention_days": 30,
                "s3": {
                    "endpoint_url": store.endpoint_url,
                    "region": REGION,
                    "access_key_id": store.access_key,
                    "secret_access_key": store.secret_key,
                },
            },
        }
    }


@pytest.fixture(scope="module")
def primary(fleet: Fleet, master: Master, pillar: dict[str, Any]) -> Iterator[Host]:
    host = fleet.host("primary")
    master.set_pillar(host, pillar)
    master.accept(host)
    master.call(host, "saltutil.sync_all")  # which an apply of one SLS does not
    host.run('setsid python3 -c "$(cat)" >/dev/null 2>&1 & true', text=WATCH)
    predicted = master.apply(host, "postgres", test=True)
    assert not host.exists("/etc/postgresql-common")
    applied = master.apply(host, "postgres")
    assert applied.ids <= {state["__id__"] for state in predicted.states.values() if state["result"] is None}
    assert SECRET not in json.dumps([applied.states, predicted.states])
    yield host
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def following(primary: Host, replica: Host, master: Master) -> Host:
    """Return the replica, once it follows."""
    replication = {"primary": primary.address, "password": f"{SECRET}-2"}
    master.set_pillar(replica, {"postgres": {"replication": replication}})
    master.accept(replica)
    master.apply(replica)
    return replica


def connect(host: Host, password: str = SECRET, user: str = "process") -> Any:
    connection = psycopg2.connect(
        host=host.address, user=user, password=password, dbname="process", connect_timeout=10, sslmode="require"
    )
    connection.autocommit = True
    return connection


def write(host: Host, text: str) -> None:
    connection = connect(host)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        cursor.execute("INSERT INTO note VALUES (%s)", (text,))
    connection.close()


def arrives(host: Host, text: str, timeout: float = 60) -> bool:
    deadline = time.monotonic() + timeout
    query = f"SELECT count(*) FROM note WHERE text = '{text}'"
    while time.monotonic() < deadline:
        done = host.run(f'runuser -u postgres -- psql -XAtc "{query}" process', check=False)
        if done.stdout.strip() == "1":
            return True
        time.sleep(0.5)
    return False


def test_an_owner_connects_with_a_password_and_tls_alone(primary: Host) -> None:
    write(primary, "first")
    assert (
        primary.run("runuser -u postgres -- psql -XAtc 'SHOW data_directory'").stdout.strip() == "/srv/postgresql/main"
    )
    assert primary.run("runuser -u postgres -- psql -XAtc 'SHOW max_wal_size'").stdout.strip() == "2GB"
    with pytest.raises(psycopg2.OperationalError):
        connect(primary, "another")


def test_a_second_apply_changes_nothing(primary: Host, master: Master) -> None:
    assert master.apply(primary, "postgres").changed == {}


def test_the_replica_follows_through_a_cut_and_reboots(primary: Host, following: Host, master: Master) -> None:
    write(primary, "to the replica")
    assert arrives(following, "to the replica")
    assert master.apply(following).changed == {}
    following.cut()
    write(primary, "while it was cut off")
    following.mend()
    assert arrives(following, "while it was cut off")
    following.reboot()
    primary.reboot()
    write(primary, "after reboots")
    assert arrives(following, "after reboots")


def test_a_dump_is_restored_from_the_bucket(primary: Host, store: SeaweedFS) -> None:
    write(primary, "precious")
    done = primary.run(f"{BACKUP} run")
    assert (done.stdout, done.stderr) == ("", "")
    listed = primary.run(f"{BACKUP} list").stdout.split()
    assert [key.partition("/")[0] for key in listed] == ["globals", "process"]
    for key in listed:
        primary.run(f"{BACKUP} verify {key}")
    restored = (
        f"set -e; {BACKUP} fetch {listed[1]} >/tmp/dump; runuser -u postgres -- createdb restored;"
        "runuser -u postgres -- pg_restore --exit-on-error --dbname=restored /tmp/dump;"
        "runuser -u postgres -- psql -XAtc \"SELECT count(*) FROM note WHERE text = 'precious'\" restored"
    )
    assert primary.run(restored).stdout.strip() == "1"
    uploads = store.client().list_multipart_uploads(Bucket="backups")
    assert uploads.get("Uploads", []) == []


def test_old_dumps_are_deleted_and_nothing_else(primary: Host, store: SeaweedFS) -> None:
    client = store.client()
    for key in ("process/20200101T000000Z.dump", "process/notes.txt", "gone/20200101T000000Z.dump"):
        client.put_object(Bucket="backups", Key=f"database/{key}", Body=b"x")
    primary.run(f"{BACKUP} run")
    keys = {each["Key"] for each in client.list_objects_v2(Bucket="backups")["Contents"]}
    assert "database/process/20200101T000000Z.dump" not in keys
    assert {"database/process/notes.txt", "database/gone/20200101T000000Z.dump"} <= keys


def test_a_backup_that_fails_says_so_and_leaves_nothing(primary: Host, store: SeaweedFS) -> None:
    before = store.client().list_objects_v2(Bucket="backups")["KeyCount"]
    primary.run("runuser -u postgres -- psql -Xc 'ALTER DATABASE process RENAME TO renamed'")
    done = primary.run(f"{BACKUP} run", check=False)
    primary.run("runuser -u postgres -- psql -Xc 'ALTER DATABASE renamed RENAME TO process'")
    assert done.returncode == 1
    assert done.stderr.startswith("The backup of PostgreSQL failed: process: ")
    assert "does not exist" in done.stderr
    assert store.client().list_objects_v2(Bucket="backups")["KeyCount"] == before + 1  # what is common to all


def test_two_runs_do_not_meet(primary: Host) -> None:
    held = f"flock /run/lock/kingfisher-postgres-backup.lock {BACKUP} run"
    assert "another run holds the lock" in primary.run(held, check=False).stderr


def test_halted_and_restored_the_schedule_is_the_same(primary: Host, master: Master, pillar: dict[str, Any]) -> None:
    before = primary.read(CRON)
    assert BACKUP in before
    master.set_pillar(primary, {**pillar, "maintenance": {"halted": True}})
    assert master.apply(primary, "postgres").ids == {"postgres-backup-schedule"}
    assert not primary.exists(CRON)
    master.set_pillar(primary, pillar)
    master.apply(primary, "postgres")
    assert primary.read(CRON) == before


def test_a_mistake_in_the_configuration_stops_nothing(primary: Host, master: Master, pillar: dict[str, Any]) -> None:
    changed = copy.deepcopy(pillar)
    changed["postgres"]["hba"] = ["hostssl nonsense"]
    master.set_pillar(primary, changed)
    failed = master.apply(primary, "postgres", check=False).failed
    assert any("pg_hba.conf, line" in comment for comment, _ in failed.values())
    write(primary, "goes on")
    master.set_pillar(primary, pillar)
    master.apply(primary, "postgres")
    assert master.apply(primary, "postgres").changed == {}


def test_no_secret_is_seen(primary: Host, store: SeaweedFS) -> None:
    assert not primary.exists("/root/leaked")
    for secret in (SECRET, store.secret_key):
        assert primary.run(f"journalctl --no-pager | grep -F -- {secret}", check=False).stdout == ""
        found = primary.run(
            f"grep -rlF -- {secret} /etc /opt/kingfisher-postgres-backup /var/lib/kingfisher-salt /var/log/postgresql",
            check=False,
        ).stdout.split()
        assert found == ([SETTINGS] if secret == store.secret_key else [])
    assert (primary.root / SETTINGS.lstrip("/")).stat().st_mode & 0o777 == 0o600
    assert (primary.root / BACKUP.lstrip("/")).stat().st_mode & 0o777 == 0o700


def test_what_leaves_pillar_leaves_the_server_but_no_data(
    primary: Host, master: Master, pillar: dict[str, Any]
) -> None:
    changed = copy.deepcopy(pillar)
    for key in ("backup", "replica_ipv4", "replica_ipv6", "configuration"):
        del changed["postgres"][key]
    del changed["postgres"]["users"]["reader"]
    changed["postgres"]["users"]["process"]["password"] = "another"
    master.set_pillar(primary, changed)
    applied = master.apply(primary, "postgres")
    for path in (CRON, SETTINGS, str(Path(BACKUP).parent)):
        assert not primary.exists(path)
    assert "replication all 10." not in primary.read(HBA)
    assert "max_wal_size" not in primary.read("/etc/postgresql/17/main/conf.d/90-kingfisher.conf")
    comments = " ".join(state["comment"] for state in applied.states.values())
    assert "Role reader left pillar: it may not log in" in comments
    connect(primary, "another").close()
    assert arrives(primary, "first")
    assert master.apply(primary, "postgres").changed == {}


def test_a_pillar_with_mistakes_changes_nothing(primary: Host, master: Master) -> None:
    mistakes = {"users": {"a": {"groups": ["b"]}}, "backup": {"type": "script"}, "replica_ipv4": ["x"]}
    master.set_pillar(primary, {"postgres": mistakes})
    applied = master.apply(primary, "postgres", check=False)
    for part in (
        "postgres:backup:location is not set",
        "postgres:backup:databases is not set",
        "postgres:replica_ipv4 must be a list of IPv4 addresses, and x is none",
    ):
        assert part in str(applied.failed)
    assert applied.changed == {}


def test_a_replica_without_its_primary_changes_nothing(following: Host, master: Master) -> None:
    master.set_pillar(following, {"postgres": {"replication": {"prmary": "x"}}})
    applied = master.apply(following, check=False)
    for part in ("postgres:replication:primary is not set", "prmary is not a setting: did you mean primary?"):
        assert part in str(applied.failed)
    assert applied.changed == {}
