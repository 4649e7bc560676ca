"""The cluster of a host: reload it, and make it a replica."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from .psql import Psql, SqlError, literal

_AS_POSTGRES = ("runuser", "-u", "postgres", "--")
_NEEDS_RESTART = "setting could not be applied"
_LOADED = "SELECT pg_conf_load_time()"


class ServerError(KingfisherError):
    """A cluster cannot be what pillar says."""


def reload(psql: Psql, unit: str) -> str:
    """
    Let PostgreSQL read its configuration, and restart it if only that helps.

    :returns: ``reloaded`` or ``restarted``
    :raises ServerError: if it refuses the configuration. It goes on with what it had
    """
    refused = psql.rows(
        "SELECT 'pg_hba.conf' AS file, line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL "
        "UNION ALL SELECT sourcefile, sourceline, error FROM pg_file_settings "
        f"WHERE error IS NOT NULL AND error <> {literal(_NEEDS_RESTART)}"
    )
    if refused:
        first = refused[0]
        raise ServerError(
            f"{Path(first['file'] or '?').name}, line {first['line']}: {first['error']}: correct it in pillar "
            "postgres. PostgreSQL goes on with what it had"
        )
    before = psql.rows(_LOADED)
    _run("systemctl", "reload", unit)
    # It reads them some time after the signal.
    deadline = time.monotonic() + 10
    while psql.rows(_LOADED) == before and time.monotonic() < deadline:
        time.sleep(0.2)
    waiting = psql.rows("SELECT 1 FROM pg_settings WHERE pending_restart")
    if not waiting:
        return "reloaded"
    _run("systemctl", "restart", unit)
    return "restarted"


def is_replica(data: Path) -> bool | None:
    """Return whether a data directory is a replica's. None if there is no cluster in it."""
    if not (data / "PG_VERSION").exists():
        return None
    return (data / "standby.signal").exists()


def make_replica(
    data: Path, version: int, replication: Mapping[str, Any], passfile: Path, *, dry_run: bool = False
) -> bool:
    """
    Copy the primary into the data directory, and let Debian's tools know of it, unless that was done.

    A copy that did not come to its end is begun anew.

    :returns: whether there was anything to do
    :raises ServerError: if there is a cluster that is no replica, or the primary cannot be copied
    """
    found = is_replica(data)
    if found is False:
        raise ServerError(
            f"{data} holds a PostgreSQL cluster that is no replica, and is not overwritten: move it away, or remove "
            "postgres:replication"
        )
    etc = Path(f"/etc/postgresql/{version}/main")
    if found and (etc / "postgresql.conf").exists():
        return False
    if dry_run:
        return True
    if not found:
        _copy(data, replication, passfile)
    if not (etc / "postgresql.conf").exists():
        # It takes what is in the directory for its own.
        _run("pg_createcluster", str(version), "main", "--datadir", str(data))
    _run("systemctl", "daemon-reload")
    return True


def _copy(data: Path, replication: Mapping[str, Any], passfile: Path) -> None:
    partial = data.with_name(f"{data.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    shutil.chown(data.parent, "postgres", "postgres")
    if data.exists():
        try:
            data.rmdir()
        except OSError as e:
            raise ServerError(f"{data} is not empty, and no PostgreSQL cluster: move it away") from e
    slot = replication.get("primary_slot_name") or "replica1"
    where = " ".join(
        f"{key}='{value}'"
        for key, value in {
            "host": _escaped(replication["primary"]),
            "port": replication.get("port") or 5432,
            "user": _escaped(replication.get("user") or "replica"),
            "passfile": passfile,
            "sslmode": replication.get("sslmode") or "require",
            "connect_timeout": 10,
        }.items()
    )
    primary = Psql((*_AS_POSTGRES, "psql", "--no-password"))
    try:
        # Until the replica has read it, the primary keeps what it writes.
        _slot(primary, f"{where} replication=true", slot)
        options = ["--pgdata", str(partial), "--dbname", where, "--no-password", "--wal-method=stream"]
        _run(*_AS_POSTGRES, "pg_basebackup", *options, "--slot", slot, "--checkpoint=fast")
    except KingfisherError as e:
        raise ServerError(
            f"{replication['primary']} cannot be copied ({e}): on the primary, set postgres:users:"
            f"{replication.get('user') or 'replica'} with replication: True, and this host's address in "
            "postgres:replica_ipv4 or replica_ipv6"
        ) from e
    (partial / "standby.signal").touch()
    shutil.chown(partial / "standby.signal", "postgres", "postgres")
    partial.rename(data)


def _slot(primary: Psql, where: str, slot: str) -> None:
    ended = subprocess.run(
        [*primary.command, "--no-psqlrc", "--quiet", "--dbname", where],
        input=f'CREATE_REPLICATION_SLOT "{slot}" PHYSICAL RESERVE_WAL;\n',
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    said = ended.stderr.strip()
    if said and "already exists" not in said:
        raise SqlError(said.splitlines()[0])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _run(*argv: str) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or [f"ended with {ended.returncode}"]
        program = next(word for word in argv if word not in _AS_POSTGRES)
        raise ServerError(f"{program}: {said[-1]}")
