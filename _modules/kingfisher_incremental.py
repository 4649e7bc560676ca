"""
Run and watch the incremental crawls of Kingfisher Collect, and make the server's those of pillar.

:configuration: pillar ``python_apps:kingfisher_collect``. The settings are described in docs/incremental.md.
:depends: psycopg2
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError

try:
    import kingfisher_salt
    from kingfisher_salt.errors import KingfisherError, SettingsError
    from kingfisher_salt.incremental import by_hand, checkout, config, removal, status, sync

    LIBRARY = Path(kingfisher_salt.__file__).parent
    MISSING = None
except ImportError as e:
    MISSING = e.name

# Salt puts the functions of all files with this name together.
__virtualname__ = "kingfisher"


def __virtual__():
    return __virtualname__  # even if something is missing: see _modules/kingfisher.py


def run_crawl(identifier, dry_run=False):
    """
    Run an incremental crawl now, in the background: for example the first one, if it takes weeks.

    Returns ``pid`` and ``log``, as soon as it crawls. It goes on when Salt is restarted. Fails, with the reason, if
    the crawl is running already, or if running it would lose data.

    identifier
        The crawl's identifier.
    dry_run
        Whether to tell what would be run, and whether it would be refused, and to write nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.run_crawl DOMINICAN_REPUBLIC dry_run=True
        salt 'registry' kingfisher.run_crawl DOMINICAN_REPUBLIC
    """
    return _call(lambda: (by_hand.dry_run if dry_run else by_hand.start)(_place(), str(identifier)))


def incremental_status(identifier=None):
    """
    Return the incremental crawls, by identifier: the last run's result, rows and duration, and when the next one is.

    ``result`` is success, failed, alarm (rows dropped), refused, interrupted, running or never run. Of one that is
    running, ``phase``, ``pages``, ``items`` and ``log_silent_seconds`` tell how far it is, and ``overdue`` whether it
    has outlasted its day.

    identifier
        The crawl's identifier, if not all.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.incremental_status
    """
    return _call(lambda: status.status(_place(), identifier))


def apply_crawls(dry_run=False):
    """
    Make the server's incremental crawls those of pillar. ``state.apply kingfisher.collect`` does so, and more.

    Returns ``crawls``, by identifier, with what differs; ``shared``, with what differs of that which all crawls use;
    ``kept``, by identifier, with what stays of a crawl that is removed; ``failed``, by identifier, with what could not
    be done, or still differs; and ``notes``. The return code is 1 if anything failed.

    dry_run
        Whether to tell what differs, and to write nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.apply_crawls dry_run=True
    """

    def apply():
        wanted, notes = checkout.load_and_check(_pillar())
        wanted.cron["mailto"] = wanted.cron["mailto"] or __salt__["config.get"]("system_contacts:cron_admin", None)
        halted = __salt__["config.get"]("maintenance:halted", False) is True
        plan = sync.plan(wanted, LIBRARY, notes, halted=halted)
        if not dry_run:
            if notes:
                raise SettingsError("\n".join(notes))
            sync.apply(wanted, plan, LIBRARY)
        return plan.asdict()

    result = _call(apply)
    if result["failed"]:
        __context__["retcode"] = 1
    return result


def remove_crawls(directory, dry_run=False):
    """
    Remove all incremental crawls, and what they share, when ``python_apps:kingfisher_collect`` has left pillar.

    Returns the same as ``apply_crawls``. Data, logs and tables are kept. States call it.

    directory
        The directory of their programs, like /opt/kingfisher-incremental.
    dry_run
        Whether to tell what would be removed, and to remove nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.remove_crawls /opt/kingfisher-incremental dry_run=True
    """
    result = _call(lambda: removal.remove_all(Path(directory), dry_run=dry_run).asdict())
    if result["failed"]:
        __context__["retcode"] = 1
    return result


def _pillar():
    return __salt__["config.get"](config.ROOT, {})


def _place():
    """Return the settings that say where things are, though a crawl in pillar may be wrong."""
    place = checkout.place(_pillar())
    return place or checkout.load_and_check(_pillar())[0]


def _call(function):
    """Call the library, and turn its errors into Salt's."""
    if MISSING:
        raise CommandExecutionError(f"kingfisher: {MISSING} is not installed: salt 'ID' state.apply minion")
    try:
        return function()
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: let this user read it, and run this again") from e
