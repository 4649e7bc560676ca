"""PostgreSQL of pillar: a primary with backups of both kinds, and the role kingfisher-replica, which follows it."""

from __future__ import annotations

import copy
import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from tests.fleet import network
from tests.fleet.fleet import SUITE, Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Applied, Master
from tests.fleet.watching import seen, watch
from tests.services.seaweedfs import REGION, SeaweedFS

SECRET = "h1dden-postgres"
BACKUP = "/opt/kingfisher-postgres-backup/backup"
CRON = "/etc/cron.d/kingfisher-postgres-backup"
SETTINGS = "/etc/kingfisher-postgres-backup.json"
PGBACKREST = "/etc/pgbackrest/pgbackrest.conf"
REPOSITORY = "/srv/backups/pgbackrest"
BY_PGBACKREST = {"type": "pgbackrest", "stanza": "main", "repo_type": "posix", "repo_path": REPOSITORY}
VERSION = {"trixie": "17", "bookworm": "15"}[SUITE]
ETC = f"/etc/postgresql/{VERSION}/main"


class Server:
    """A host with PostgreSQL, and its pillar."""

    def __init__(self, host: Host, master: Master, pillar: dict[str, Any], secrets: list[str]):
        self.host, self.master, self.pillar, self.secrets = host, master, pillar, secrets
        self.original = copy.deepcopy(pillar)

    def apply(self, *, test: bool = False, check: bool = True) -> Applied:
        self.master.set_pillar(self.host, self.pillar)
        return self.master.apply(self.host, "postgres", test=test, check=check)

    def first_apply(self) -> Applied:
        """Apply to a bare host what a trial predicted, which touched nothing, and watch all processes meanwhile."""
        self.master.set_pillar(self.host, self.pillar)
        self.master.accept(self.host)
        self.master.call(self.host, "saltutil.sync_all")  # which an apply of one SLS does not
        watch(self.host, self.secrets)
        self.run("touch /run/before")
        trial = self.apply(test=True)
        touched = "find /etc /home /opt /root /srv /usr /var/lib /var/log -newer /run/before -type f"
        assert self.run(f"{touched} ! -path '/var/log/journal/*' ! -name minion") == ""
        applied = self.apply()
        predicted = {
            name.partition(": ")[0]
            for name, state in trial.states.items()
            if state["result"] is None or state["changes"]
        }
        assert applied.ids == predicted
        assert SECRET not in json.dumps([applied.states, trial.states])
        return applied

    def restore(self) -> None:
        """Have the pillar that it began with."""
        self.pillar = copy.deepcopy(self.original)
        self.apply()

    def run(self, command: str, *, check: bool = True) -> str:
        return self.host.run(command, check=check).stdout

    def sql(self, query: str, database: str = "process", options: str = "") -> str:
        command = f"runuser -u postgres -- psql -XAt {options} {database}"
        return self.host.run(command, text=query).stdout.strip()

    def connect(self, user: str = "process", password: str = SECRET, **options: Any) -> Any:
        """Connect from another host: this machine."""
        given = {"dbname": "process", "sslmode": "require", "connect_timeout": 10, **options}
        connection = psycopg2.connect(host=self.host.address, user=user, password=password, **given)
        connection.autocommit = True
        return closing(connection)

    def ask(self, query: str, user: str = "process", password: str = SECRET) -> Any:
        with self.connect(user, password) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else None

    def write(self, text: str) -> None:
        self.ask(f"CREATE TABLE IF NOT EXISTS note (text text); INSERT INTO note VALUES ('{text}')")

    def cron(self, word: str = "") -> tuple[int, str]:
        """Run the line of cron.d that has a word, as cron does, and return how it ended and what it would mail."""
        (line,) = [line for line in self.host.read(CRON).splitlines() if line[:1].isdigit() and word in line]
        *_, user, command = line.split(None, 6)[:7]
        clean = f"env -i HOME=/ LOGNAME={user} SHELL=/bin/sh PATH=/usr/bin:/bin /bin/sh -c {shlex.quote(command)}"
        done = self.host.run(f"cd /; runuser -u {user} -- {clean}", check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def store(fleet: Fleet) -> Iterator[SeaweedFS]:
    """Return a store that hosts reach."""
    directory = fleet.directory / "store"
    directory.mkdir()
    with SeaweedFS(directory, address=network.GATEWAY) as store:
        store.client().create_bucket(Bucket="backups")
        yield store


@pytest.fixture(scope="module")
def replica_host(fleet: Fleet) -> Iterator[Host]:
    host = fleet.host("kingfisher-replica")
    yield host
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def primary(fleet: Fleet, master: Master, replica_host: Host, store: SeaweedFS) -> Iterator[Server]:
    identity = store.identities["archive"]  # which may do what docs/archive.md says, and no more
    pillar = {
        "postgres": {
            "data_directory": "/srv/postgresql/main",
            "replica_ipv4": [replica_host.address],
            "replica_ipv6": [replica_host.address6],
            "hba": [f"hostssl process {user} {network.GATEWAY}/32 scram-sha-256" for user in ("process", "reader")],
            "configuration": {"context": {"content": "max_wal_size = 2GB"}, "settings": {"wal_keep_size": 64}},
            "groups": ["readers"],
            "users": {
                "process": {"password": SECRET},
                "reader": {"password": f"{SECRET}-3", "groups": ["readers"]},
                "replica": {"password": f"{SECRET}-2", "replication": True},
            },
            "databases": {
                "process": {"user": "process", "privileges": {"public": {"readers": None}}},
                "other": {"user": "process"},
            },
            "backup": {
                "type": "script",
                "location": "backups/database",
                "databases": ["process"],
                "retention_days": 30,
                "s3": {
                    "endpoint_url": store.endpoint_url,
                    "region": REGION,
                    "access_key_id": identity.access_key,
                    "secret_access_key": identity.secret_key,
                },
            },
        }
    }
    host = fleet.host("primary")
    server = Server(host, master, pillar, [SECRET, identity.secret_key])
    server.first_apply()
    server.write("first")
    yield server
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def replica(primary: Server, replica_host: Host, master: Master) -> Server:
    """Return the replica, once it follows."""
    pillar = {
        "postgres": {
            "hba": [f"hostssl process reader {network.GATEWAY}/32 scram-sha-256"],
            "replication": {"primary": primary.host.address, "password": f"{SECRET}-2"},
        }
    }
    server = Server(replica_host, master, pillar, [SECRET])
    server.first_apply()
    return server


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def followed(primary: Server, replica: Server, text: str) -> None:
    """Write at the primary, and wait until the replica has it."""
    primary.write(text)
    eventually(lambda: arrived(replica, text))


def arrived(replica: Server, text: str) -> bool:
    command = "runuser -u postgres -- psql -XAt process"
    done = replica.host.run(command, text=f"SELECT count(*) FROM note WHERE text = '{text}'", check=False)
    return done.stdout == "1\n"


def keys(store: SeaweedFS) -> set[str]:
    return {each["Key"] for each in store.client().list_objects_v2(Bucket="backups").get("Contents", [])}


def test_the_server_is_where_and_as_pillar_says(primary: Server) -> None:
    wanted = {"data_directory": "/srv/postgresql/main", "max_wal_size": "2GB", "wal_keep_size": "64MB", "ssl": "on"}
    assert {name: primary.sql(f"SHOW {name}") for name in wanted} == wanted
    assert primary.sql("SHOW server_version").startswith(f"{VERSION}.")
    assert primary.apply().changed == {}


def test_users_may_do_what_pillar_says_from_where_it_says(primary: Server) -> None:
    assert ("first",) in primary.ask("SELECT text FROM note")
    assert ("first",) in primary.ask("SELECT text FROM note", "reader", f"{SECRET}-3")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        primary.ask("INSERT INTO note VALUES ('x')", "reader", f"{SECRET}-3")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        primary.ask("CREATE TABLE another (text text)", "reader", f"{SECRET}-3")
    for refused in ({"password": "another"}, {"sslmode": "disable"}, {"dbname": "other"}, {"user": "replica"}):
        with pytest.raises(psycopg2.OperationalError):
            primary.connect(**refused)


def test_a_dump_by_cron_is_restored_from_the_bucket(primary: Server, store: SeaweedFS) -> None:
    primary.write("precious")
    assert primary.cron() == (0, "")
    listed = primary.run(f"{BACKUP} list").split()
    assert {key.partition("/")[0] for key in listed} == {"globals", "process"}
    for key in listed:
        primary.run(f"{BACKUP} verify {key}")
    primary.run(f"{BACKUP} fetch {listed[-1]} >/srv/process.dump; runuser -u postgres -- createdb restored")
    primary.run("runuser -u postgres -- pg_restore --exit-on-error --dbname=restored </srv/process.dump")
    assert primary.sql("SELECT text FROM note WHERE text = 'precious'", "restored") == "precious"
    primary.run("runuser -u postgres -- dropdb restored")
    assert store.client().list_multipart_uploads(Bucket="backups").get("Uploads", []) == []


def test_old_dumps_are_deleted_and_nothing_else(primary: Server, store: SeaweedFS) -> None:
    for key in ("process/20200101T000000Z.dump", "process/notes.txt", "gone/20200101T000000Z.dump"):
        store.client().put_object(Bucket="backups", Key=f"database/{key}", Body=b"x")
    assert primary.cron() == (0, "")
    assert "database/process/20200101T000000Z.dump" not in keys(store)
    assert {"database/process/notes.txt", "database/gone/20200101T000000Z.dump"} <= keys(store)


def test_a_backup_that_fails_says_why_and_leaves_those_before(primary: Server, store: SeaweedFS) -> None:
    assert primary.cron() == (0, "")
    before = keys(store)

    def fails(reason: str) -> None:
        code, said = primary.cron()
        assert (code, said.startswith("The backup of PostgreSQL failed: process: ")) == (1, True)
        assert reason in said
        assert "Traceback" not in said

    primary.run(f"systemctl stop postgresql@{VERSION}-main")
    fails("No such file or directory")
    primary.run(f"systemctl start postgresql@{VERSION}-main")
    store.stop()
    fails("check postgres:backup:s3:endpoint_url and the network")
    store.start()
    settings = primary.host.read(SETTINGS)
    primary.host.write(SETTINGS, settings.replace(store.identities["archive"].secret_key, "another"), mode=0o600)
    fails("check the credentials in postgres:backup:s3")
    primary.host.write(SETTINGS, settings.replace("backups/", "nowhere/"), mode=0o600)
    fails("give the user the four permissions in docs/postgres.md")
    primary.host.write(SETTINGS, settings, mode=0o600)
    held = f"flock /run/lock/kingfisher-postgres-backup.lock {BACKUP} run"
    assert "another run holds the lock" in primary.host.run(held, check=False).stderr
    assert keys(store) == before
    full = primary.host.run(f"{BACKUP} fetch {primary.run(f'{BACKUP} list').split()[-1]} >/dev/full", check=False)
    assert (full.returncode, full.stderr) == (1, "backup fetch failed: [Errno 28] No space left on device\n")


def test_halted_and_restored_the_schedule_is_the_same(primary: Server) -> None:
    before = primary.run(f"stat -c '%a %U' {CRON}; cat {CRON}")
    primary.pillar["maintenance"] = {"halted": True}
    assert primary.apply().ids == {"postgres-backup-schedule"}
    assert not primary.host.exists(CRON)
    primary.pillar["maintenance"] = {"halted": False}
    primary.apply()
    assert primary.run(f"stat -c '%a %U' {CRON}; cat {CRON}") == before
    primary.restore()


def test_the_replica_follows_through_all_that_happens(primary: Server, replica: Server) -> None:
    followed(primary, replica, "to the replica")
    assert ("first",) in replica.ask("SELECT text FROM note", "reader", f"{SECRET}-3")
    replica.host.cut()
    primary.write("while it was cut off")
    replica.host.mend()
    followed(primary, replica, "after the cut")
    assert arrived(replica, "while it was cut off")
    replica.host.reboot()
    followed(primary, replica, "after its reboot")
    primary.host.reboot()
    followed(primary, replica, "after a reboot of the primary")
    primary.host.kill()
    assert arrived(replica, "first")
    primary.host.boot()
    primary.host.wait()
    followed(primary, replica, "after a power cut of the primary")
    for server in (primary, replica):
        server.master.accept(server.host)
        assert server.apply().changed == {}


def test_a_cluster_with_data_never_becomes_a_replica(primary: Server, replica: Server) -> None:
    replication = {"primary": replica.host.address, "password": f"{SECRET}-2"}
    primary.pillar["postgres"]["replication"] = replication
    assert "holds a PostgreSQL cluster that is no replica" in str(primary.apply(check=False).failed)
    assert "first" in primary.sql("SELECT text FROM note")
    primary.restore()
    del replica.pillar["postgres"]["replication"]
    assert "is a replica, and pillar has no postgres:replication" in str(replica.apply(check=False).failed)
    replica.restore()
    followed(primary, replica, "it still follows")


def test_a_mistake_in_the_configuration_stops_nothing(primary: Server) -> None:
    primary.pillar["postgres"]["hba"].append("hostssl nonsense")
    assert "pg_hba.conf, line" in str(primary.apply(check=False).failed)
    assert "pg_hba.conf, line" in str(primary.apply(check=False).failed)  # though nothing changes any more
    primary.pillar = copy.deepcopy(primary.original)
    primary.pillar["postgres"]["configuration"]["settings"] |= {"max_connections": 90, "work_mem": "nonsense"}
    assert "90-kingfisher.conf, line" in str(primary.apply(check=False).failed)
    primary.write("goes on")
    primary.restore()


def test_a_configuration_that_was_written_and_not_read_is_read(primary: Server) -> None:
    primary.pillar["postgres"]["configuration"]["settings"] |= {"max_connections": 90, "wal_keep_size": 80}
    primary.master.set_pillar(primary.host, primary.pillar)
    primary.master.call(primary.host, "state.sls_id", "postgres-configuration", "postgres")  # as if killed after it
    assert primary.sql("SHOW wal_keep_size") == "64MB"
    assert primary.apply(test=True).predicted == {"postgres-reloaded"}
    assert primary.apply().ids == {"postgres-reloaded"}
    assert (primary.sql("SHOW wal_keep_size"), primary.sql("SHOW max_connections")) == ("80MB", "90")
    assert primary.apply().changed == {}
    primary.pillar["postgres"]["configuration"]["settings"]["max_connections"] = 80
    primary.master.set_pillar(primary.host, primary.pillar)
    primary.master.call(primary.host, "state.sls_id", "postgres-configuration", "postgres")
    primary.run(f"systemctl reload postgresql@{VERSION}-main")  # and here before the restart
    assert primary.apply().ids == {"postgres-reloaded"}
    assert primary.sql("SHOW max_connections") == "80"
    primary.restore()


def test_no_secret_is_seen(primary: Server, replica: Server) -> None:
    found = "grep -rlsF -f /root/secrets /etc /opt /root /run /srv /tmp /usr/local /var --exclude-dir=salt | sort"
    assert primary.run(found).split() == [SETTINGS, "/root/secrets"]
    assert replica.run(found).split() == ["/root/secrets", "/var/lib/postgresql/.kingfisher-replication"]
    for server in (primary, replica):
        readable = "find $(grep -rlsF -f /root/secrets /var/cache/salt /etc/salt) -maxdepth 0 -perm /077"
        assert server.run(f"{readable} 2>/dev/null || true") == ""
        assert server.run("journalctl --no-pager | grep -F -f /root/secrets || true") == ""
        assert seen(server.host) == ""
    assert primary.run(f"stat -c '%a %U' {SETTINGS} {BACKUP}") == "600 root\n700 root\n"
    assert replica.run("stat -c '%a %U' /var/lib/postgresql/.kingfisher-replication") == "600 postgres\n"


def test_pgbackrest_restores_what_was_written_after_its_backup(primary: Server) -> None:
    primary.pillar["postgres"]["backup"] = BY_PGBACKREST
    primary.apply()
    assert not primary.host.exists(SETTINGS)
    assert not primary.host.exists(BACKUP)
    assert primary.apply(test=True).predicted == set()
    assert primary.apply().changed == {}
    primary.write("in the full backup")
    assert primary.cron("type=full") == (0, "")
    assert primary.cron("type=diff") == (0, "")
    primary.write("in the archive alone")
    last = primary.sql("SELECT pg_walfile_name(pg_switch_wal())")
    eventually(lambda: primary.sql(f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver") == "t")
    primary.run(f"mv {REPOSITORY} {REPOSITORY}.away")  # as a disk that is not mounted
    code, said = primary.cron("type=full")
    assert (bool(code), "ERROR: [055]: unable to load info file" in said) == (True, True)
    primary.run(f"mv {REPOSITORY}.away {REPOSITORY}")

    primary.run("install -d -o postgres -g postgres -m 0700 /srv/restored")
    primary.run("cd /; runuser -u postgres -- pgbackrest --stanza=main --pg1-path=/srv/restored restore")
    control = f"cd /; runuser -u postgres -- /usr/lib/postgresql/{VERSION}/bin/pg_ctl --pgdata=/srv/restored --wait"
    options = f"config_file={ETC}/postgresql.conf data_directory=/srv/restored port=5433 archive_mode=off"
    words = " ".join(f"-c {option}" for option in f"{options} listen_addresses= external_pid_file=".split())
    primary.run(f"{control} --log=/tmp/restored.log --options='{words}' start >/dev/null || cat /tmp/restored.log")
    assert "in the archive alone" in primary.sql("SELECT text FROM note", options="-p 5433")
    primary.run(f"{control} stop")


def test_what_leaves_pillar_leaves_the_server_but_no_data(primary: Server) -> None:
    postgres = primary.pillar["postgres"]
    for key in ("backup", "replica_ipv4", "replica_ipv6", "configuration"):
        del postgres[key]
    del postgres["users"]["reader"], postgres["databases"]["other"]
    postgres["databases"]["process"]["privileges"] = {}
    postgres["users"]["process"]["password"] = "another"
    postgres["hba"].pop()
    with primary.connect("reader", f"{SECRET}-3") as connection, connection.cursor() as cursor:
        applied = primary.apply()
        with pytest.raises(psycopg2.OperationalError):  # its sessions end
            cursor.execute("SELECT 1")
    assert not [path for path in (CRON, SETTINGS, BACKUP, PGBACKREST) if primary.host.exists(path)]
    assert primary.sql("SHOW archive_mode") == "off"
    assert "replication all 10." not in primary.host.read(f"{ETC}/pg_hba.conf")
    assert primary.sql("SHOW max_wal_size") == "1GB"
    said = " ".join(state["comment"] for state in applied.states.values())
    assert "Role reader left pillar: it may not log in" in said
    assert "Database other left pillar, and is kept" in said
    assert primary.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'reader'") == "f"
    assert primary.sql("SELECT has_table_privilege('readers', 'note', 'SELECT')") == "f"
    with pytest.raises(psycopg2.OperationalError):
        primary.connect()
    assert ("first",) in primary.ask("SELECT text FROM note", password="another")
    assert primary.apply().changed == {}
    primary.restore()
    assert ("first",) in primary.ask("SELECT text FROM note", "reader", f"{SECRET}-3")


def test_a_server_that_leaves_pillar_goes_on_as_its_package_configures_it(primary: Server) -> None:
    primary.restore()
    primary.host.write(PGBACKREST, "[theirs]\n")
    assert primary.apply().changed == {}
    assert primary.host.read(PGBACKREST) == "[theirs]\n"
    primary.pillar["postgres"]["backup"] = BY_PGBACKREST
    primary.apply()
    assert primary.sql("SHOW archive_mode") == "on"
    primary.pillar = {}
    assert primary.apply(test=True).predicted == primary.apply().ids
    assert primary.run("find /etc /opt /var/lib/postgresql -name '*kingfisher*' ! -path '/etc/salt/*'") == ""
    assert not primary.host.exists(PGBACKREST)
    assert (primary.sql("SHOW archive_mode"), primary.sql("SHOW max_wal_size")) == ("off", "1GB")
    assert "first" in primary.sql("SELECT text FROM note")
    assert primary.apply().changed == {}
    primary.restore()


def test_a_pillar_with_mistakes_changes_nothing(primary: Server, replica: Server) -> None:
    mistakes = {"users": {"a": {"groups": ["b"]}}, "backup": {"type": "script"}, "replica_ipv4": ["x"]}
    primary.pillar["postgres"] = mistakes
    applied = primary.apply(check=False)
    for part in (
        "postgres:backup:location is not set",
        "postgres:backup:databases is not set",
        "postgres:replica_ipv4 must be a list of IPv4 addresses, and x is none",
    ):
        assert part in str(applied.failed)
    assert applied.changed == {}
    primary.pillar = copy.deepcopy(primary.original)
    replica.pillar["postgres"]["replication"] = {"prmary": "x"}
    applied = replica.apply(check=False)
    for part in ("postgres:replication:primary is not set", "prmary is not a setting: did you mean primary?"):
        assert part in str(applied.failed)
    assert applied.changed == {}
    replica.pillar = copy.deepcopy(replica.original)


def test_a_replica_is_promoted_when_the_primary_is_gone(primary: Server, replica: Server) -> None:
    followed(primary, replica, "the last of the primary")
    primary.host.power_off()
    replica.run(f"pg_ctlcluster {VERSION} main promote")
    replica.pillar = copy.deepcopy(primary.original)
    for key in ("data_directory", "backup"):
        del replica.pillar["postgres"][key]
    replica.apply()
    replica.write("the first of its own")
    assert arrived(replica, "the last of the primary")
    assert replica.apply().changed == {}
