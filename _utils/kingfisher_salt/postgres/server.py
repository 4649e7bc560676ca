"""The cluster of a host: reload it, and make it a replica."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from .psql import Psql, SqlError, literal, reason

_AS_POSTGRES = ("runuser", "-u", "postgres", "--")
_REFUSED = """
SELECT coalesce(json_agg(refused), '[]') FROM (
    SELECT 'pg_hba.conf' AS file, line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL
    UNION ALL
    SELECT given.sourcefile, given.sourceline, concat_ws(': ', name, error)
    FROM pg_file_settings AS given LEFT JOIN pg_settings USING (name)
    WHERE error IS NOT NULL AND pending_restart IS NOT TRUE
        AND error NOT LIKE 'parameter % cannot be changed without restarting the server'
) AS refused
"""
_LOADED = "SELECT extract(epoch FROM pg_conf_load_time()) AS seconds"
#: What a file sets, or set before, and only a restart changes.
_PENDING = """
SELECT name FROM pg_settings WHERE pending_restart
    AND (sourcefile IN (%s) OR name IN (SELECT name FROM pg_file_settings WHERE sourcefile IN (%s)))
"""


class ServerError(KingfisherError):
    """A cluster cannot be what pillar says."""


def check_configuration(psql: Psql) -> None:
    """
    Check what is in the files, whether or not PostgreSQL has read them.

    :raises ServerError: if it refuses the configuration, with which it could not be started again
    """
    # Looking at it marks what waits for a restart: a difference, and no mistake.
    found = psql.run(["DO $$ BEGIN PERFORM FROM pg_file_settings; END $$", _REFUSED], single=False)
    if refused := json.loads(found):
        first = refused[0]
        raise ServerError(
            f"{Path(first['file'] or '?').name}, line {first['line']}: {first['error']}: correct it in pillar "
            "postgres. PostgreSQL goes on with what it had, and cannot be started again"
        )


def is_loaded(psql: Psql, files: Sequence[Path]) -> bool:
    """Return whether PostgreSQL has read these files since they were written, and heeds all that they set."""
    loaded = psql.rows(_LOADED)[0]["seconds"]
    if any(file.exists() and file.stat().st_mtime > loaded for file in files):
        return False
    names = ", ".join(literal(str(file)) for file in files)
    return not (names and psql.rows(_PENDING % (names, names)))


def reload(psql: Psql, unit: str) -> str:
    """
    Let PostgreSQL read its configuration, and restart it if only that helps.

    :returns: ``reloaded`` or ``restarted``
    :raises ServerError: if it refuses the configuration. It goes on with what it had
    """
    check_configuration(psql)
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
    configuration = Path(f"/etc/postgresql/{version}/main/postgresql.conf")
    if found and configuration.exists():
        return False
    if dry_run:
        return True
    partial = None if found else _copy(data, version, replication, passfile)
    _introduce(data, version, configuration)
    if partial:
        partial.rename(data)
    return True


def _copy(data: Path, version: int, replication: Mapping[str, Any], passfile: Path) -> Path:
    """Copy the primary to a directory beside the data directory."""
    if data.exists():
        try:
            data.rmdir()
        except OSError as e:
            raise ServerError(f"{data} is not empty, and no PostgreSQL cluster: move it away") from e
    partial = _emptied(data.with_name(f"{data.name}.partial"))
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
    primary = replication["primary"]
    try:
        theirs = int(_ask(where, "SHOW server_version_num")) // 10000
    except SqlError as e:
        raise ServerError(
            f"{primary} cannot be copied ({e}): on the primary, set postgres:users:"
            f"{replication.get('user') or 'replica'} with replication: True, and this host's address in "
            "postgres:replica_ipv4 or replica_ipv6"
        ) from e
    if theirs != version:
        raise ServerError(
            f"{primary} has PostgreSQL {theirs}, and this host {version}: set postgres:version to {theirs}"
        )
    # Until the replica has read it, the primary keeps what it writes.
    _ask(where, f'CREATE_REPLICATION_SLOT "{slot}" PHYSICAL RESERVE_WAL', unless="already exists")
    options = ["--pgdata", str(partial), "--dbname", where, "--no-password", "--wal-method=stream"]
    _run(*_AS_POSTGRES, "pg_basebackup", *options, "--slot", slot, "--checkpoint=fast")
    (partial / "standby.signal").touch()
    shutil.chown(partial / "standby.signal", "postgres", "postgres")
    return partial


def _introduce(data: Path, version: int, configuration: Path) -> None:
    """
    Let Debian's tools know of a data directory, which has no configuration.

    They only know how to make one with its configuration: that of an empty cluster, which is then pointed elsewhere.
    """
    empty = data.with_name(f"{data.name}.empty")
    if not configuration.exists():
        if empty.exists():
            shutil.rmtree(empty)
        _run("pg_createcluster", str(version), "main", "--datadir", str(empty), "--locale=C.UTF-8")
    _run("pg_conftool", str(version), "main", "set", "data_directory", str(data))
    if empty.exists():
        shutil.rmtree(empty)


def _emptied(directory: Path) -> Path:
    """Return an empty directory that is PostgreSQL's alone."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700, parents=True)
    shutil.chown(directory, "postgres", "postgres")
    return directory


def _ask(where: str, statement: str, *, unless: str = "") -> str:
    """Return what a statement of the replication protocol says. What it complains of may be what is wanted."""
    options = ["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only"]
    ended = subprocess.run(
        [*_AS_POSTGRES, "psql", *options, "--dbname", f"{where} replication=true"],
        input=f"{statement};\n",
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if ended.stderr.strip() and not (unless and unless in ended.stderr):
        raise SqlError(reason(ended.stderr))
    return ended.stdout.strip()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _run(*argv: str) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    if ended.returncode:
        program = next(word for word in argv if word not in _AS_POSTGRES)
        raise ServerError(f"{program}: {reason(ended.stderr or ended.stdout)}")
