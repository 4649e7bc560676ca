"""
Look after the collections of Kingfisher Process.

:configuration: pillar ``kingfisher_process``. Every setting of it can be given as an argument instead, except for the
    database's password. The settings are described in docs/kingfisher-process.md.
:depends: psycopg2
"""

from pathlib import Path

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.fit import fit
    from kingfisher_salt.kingfisher_process import change as process_change
    from kingfisher_salt.kingfisher_process import collections as process_collections
    from kingfisher_salt.kingfisher_process import config as process_config
    from kingfisher_salt.kingfisher_process import status as process_status

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "kingfisher_process"


def __virtual__():
    if MISSING:
        return False, f"kingfisher_process: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def collections(source=None, unfinished=False, limit=100, **configuration):
    """
    Return the newest collections, by id, as the database has them.

    Each has ``source``, ``data_version``, ``steps``, ``files``, ``steps_left`` (by name), the times ``opened``,
    ``closed``, ``completed`` and ``deleted`` (UTC), if it has come to that; ``hours`` (since it was closed, else
    opened); ``children`` (those made from it, like the compiled collection); and ``waits_for``.

    source
        The source, like kyrgyzstan.
    unfinished
        Whether to leave out those that are completed, cancelled or being deleted.
    limit
        How many, at most.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_process.collections source=kyrgyzstan
        salt 'registry' kingfisher_process.collections unfinished=True
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise SaltInvocationError(f"argument limit must be a whole number, 1 or more, not {limit!r}")
    return _call(
        configuration,
        lambda config: process_collections.collections(
            config, source=None if source is None else str(source), unfinished=bool(unfinished), limit=limit
        ),
    )


def status(collection, **configuration):
    """
    Return how a collection is.

    Returns what ``collections`` does; ``errors``, which Kingfisher Process noted of it; and ``collectionstatus``, what
    its own command of that name says, or ``problem``, if that command fails.

    collection
        Its id.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_process.status 123
    """
    number = _id(collection)
    return _call(configuration, lambda config: process_status.status(config, number))


def stuck(**configuration):
    """
    Return the unfinished collections that were opened or closed longer than ``stuck_hours`` ago.

    Returns ``stuck``, each with ``collection``, ``source``, ``data_version``, ``hours``, ``waits_for`` and ``cure``;
    ``stuck_hours``; and ``notes``. The oldest are first. The return code is 1 if there are any.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_process.stuck
        salt 'registry' kingfisher_process.stuck stuck_hours=2
    """
    result = _call(configuration, process_status.stuck)
    if result["stuck"]:
        __context__["retcode"] = 1
    return result


def cancel(collection, dry_run=False, **configuration):
    """
    Have the workers skip all that is left to do for a collection. Its rows stay, until it is deleted.

    Returns ``collection``, ``source``, ``data_version``, ``cancelled`` (whether it was, just now) and ``comment``.

    collection
        Its id.
    dry_run
        Whether to check that it can be, and to cancel nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_process.cancel 123
    """
    number = _id(collection)
    return _call(configuration, lambda config: process_change.cancel(config, number, dry_run=dry_run))


def delete(collection, dry_run=False, **configuration):
    """
    Delete a collection, and those made from it, and look whether they have gone.

    If this is killed, it can be run again. Returns ``collection``, ``source``, ``data_version``, ``collections`` (all
    that go), ``rows`` (how many, by table), ``deleted`` and ``comment``.

    collection
        Its id.
    dry_run
        Whether to tell what would go, and to delete nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_process.delete 123 dry_run=True
        salt 'registry' kingfisher_process.delete 123
    """
    number = _id(collection)
    return _call(configuration, lambda config: process_change.delete(config, number, dry_run=dry_run))


def load(directory, source, note, compile=True, force=False, replace=False, dry_run=False, **configuration):  # noqa: A002 - as it is typed
    """
    Load a directory into a new collection. The workers do the rest.

    Returns ``collection``, ``compiled_collection``, ``source``, ``data_version`` (the time of the oldest file, UTC),
    ``files``, ``loaded`` and ``comment``.

    directory
        The directory, on this server.
    source
        The source: a spider, if Kingfisher Process knows Scrapyd.
    note
        A note for people: who loads it, and why.
    compile
        Whether to make compiled releases, too.
    force
        Whether to take a source that is no spider.
    replace
        Whether to delete an open collection of the same source and time before: one that a load has left which was
        interrupted.
    dry_run
        Whether to check all of that, and to load nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_process.load /home/collect/scrapyd/data/kyrgyzstan/20260101_000000 \
            source=kyrgyzstan note='Debugging by NAME.' dry_run=True
    """
    if not isinstance(directory, str) or not Path(directory).is_absolute() or "\0" in directory:
        raise SaltInvocationError(f"argument directory must be an absolute path, not {directory!r}")
    for name, value in (("source", source), ("note", note)):
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise SaltInvocationError(f"argument {name} must be one line of text, not {value!r}")
    options = {"compile_": compile, "force": force, "replace": replace, "dry_run": dry_run}
    return _call(configuration, lambda config: process_change.load(config, Path(directory), source, note, **options))


def _call(configuration, function):
    """Read the settings, call the library, and turn its errors into Salt's."""
    arguments = salt.utils.args.clean_kwargs(**configuration)
    try:
        config = process_config.load(__salt__["config.get"](process_config.ROOT, {}), arguments)
        return fit(function(config), how="use a smaller limit")
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: correct it, and run this again") from e


def _id(value):
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 31:
        raise SaltInvocationError(f"argument collection must be the number of a collection, not {value!r}")
    return int(text)
