"""
Look after the PostgreSQL server of this host: its roles, databases and privileges, replication and configuration.

:configuration: pillar ``postgres``, which is described in docs/postgres.md
"""

from contextlib import contextmanager
from pathlib import Path

from salt.exceptions import CommandExecutionError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.postgres import apply as postgres_apply
    from kingfisher_salt.postgres import server as postgres_cluster
    from kingfisher_salt.postgres.psql import Psql

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "postgres_server"
__func_alias__ = {"reload_": "reload"}


def __virtual__():
    if MISSING:
        return False, f"postgres_server: {MISSING} is missing: salt 'ID' saltutil.sync_all"
    return __virtualname__


def check():
    """
    Check that all roles that pillar names are in pillar. Fails with every problem.

    CLI Example:

    .. code-block:: bash

        salt 'registry' postgres_server.check
    """
    with _told():
        postgres_apply.check(_pillar())
    return True


def configure(dry_run=False):
    """
    Make roles, databases, schemas and privileges those of pillar.

    Returns ``changes`` and ``notes``. Roles that Salt made, and that left pillar, may not log in any more, and
    privileges are revoked. Nothing that may hold data is dropped. What others made stays.

    dry_run
        Whether to change nothing, and to return what would change.

    CLI Example:

    .. code-block:: bash

        salt 'registry' postgres_server.configure dry_run=True
    """
    with _told():
        return postgres_apply.apply(_pillar(), Psql(), dry_run=dry_run)


def reload_(unit):
    """
    Let PostgreSQL read its configuration, and restart it if only that helps. Returns ``reloaded`` or ``restarted``.

    A configuration with a mistake is refused, and PostgreSQL goes on with what it had.

    unit
        The systemd unit, like postgresql@17-main.

    CLI Example:

    .. code-block:: bash

        salt 'registry' postgres_server.reload postgresql@17-main
    """
    with _told():
        return postgres_cluster.reload(Psql(), unit)


def is_loaded(files):
    """
    Return whether PostgreSQL has read these files since they were written, and waits for no restart to heed them.

    files
        Paths of files of its configuration.

    CLI Example:

    .. code-block:: bash

        salt 'registry' postgres_server.is_loaded '[/etc/postgresql/17/main/pg_hba.conf]'
    """
    with _told():
        return postgres_cluster.is_loaded(Psql(), [Path(file) for file in files])


def check_configuration():
    """
    Check the configuration in the files, whether or not PostgreSQL has read them.

    Fails if PostgreSQL refuses it, with which it could not be started again.

    CLI Example:

    .. code-block:: bash

        salt 'registry' postgres_server.check_configuration
    """
    with _told():
        postgres_cluster.check_configuration(Psql())
    return True


def make_replica(data_directory, version, passfile, dry_run=False):
    """
    Copy the primary of pillar ``postgres:replication``, unless that was done.

    Returns whether there was anything to do.

    data_directory
        Where to. A cluster that is no replica is not overwritten.
    version
        The version of PostgreSQL here, and there.
    passfile
        A file with the password, as libpq has it.
    dry_run
        Whether to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'kingfisher-replica' postgres_server.make_replica /srv/postgresql 17 /root/.pgpass dry_run=True
    """
    with _told():
        replication = _pillar().get("replication") or {}
        return postgres_cluster.make_replica(
            Path(data_directory), int(version), replication, Path(passfile), dry_run=dry_run
        )


def is_replica(data_directory):
    """
    Return whether a data directory is a replica's. None if there is no cluster in it.

    data_directory
        Like /var/lib/postgresql/17/main.

    CLI Example:

    .. code-block:: bash

        salt 'registry' postgres_server.is_replica /var/lib/postgresql/17/main
    """
    return postgres_cluster.is_replica(Path(data_directory))


def _pillar():
    return __salt__["config.get"]("postgres") or {}


@contextmanager
def _told():
    """Turn the library's errors into Salt's."""
    try:
        yield
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
