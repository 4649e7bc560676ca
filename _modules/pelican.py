"""
Look after the datasets and the exchange rates of Pelican backend.

:configuration: pillar ``pelican``. Every setting of it can be given as an argument instead, except for the database's
    password. The settings are described in docs/pelican.md.
:depends: psycopg2
"""

from pathlib import Path

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.fit import fit
    from kingfisher_salt.pelican import config as pelican_config
    from kingfisher_salt.pelican import datasets as pelican_datasets
    from kingfisher_salt.pelican import exchange_rates as pelican_rates

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "pelican"


def __virtual__():
    if MISSING:
        return False, f"pelican: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def datasets(name=None, unfinished=False, limit=100, **configuration):
    """
    Return the newest datasets, by id, as the database has them.

    Each has ``name``, ``collection`` (of Kingfisher Process), ``phase``, ``state``, ``size``, ``checked`` (how many of
    them, in the first phase), ``age_hours`` and ``unchanged_hours`` (since its phase or state changed); and, if it has
    any, ``ancestor`` (the dataset that it is compared with) and ``filtered_from``.

    name
        Part of the name.
    unfinished
        Whether to leave out those that are checked, or deleted.
    limit
        How many, at most.

    CLI Example:

    .. code-block:: bash

        salt 'registry' pelican.datasets
        salt 'registry' pelican.datasets name=kyrgyzstan unfinished=True
    """
    _check_number("limit", limit)
    return _call(
        configuration,
        lambda config: pelican_datasets.datasets(
            config, name=None if name is None else str(name), unfinished=bool(unfinished), limit=limit
        ),
    )


def remove(dataset, include_filtered=False, force=False, dry_run=False, **configuration):
    """
    Remove a dataset, with Pelican backend's own command, and look whether it has gone.

    If this is killed, it can be run again. Returns ``dataset``, ``name``, ``before`` (its phase and state),
    ``datasets`` (all that go), ``rows`` (how many, by table), ``filtered_left`` (datasets that were filtered from it,
    and stay), ``removed`` and ``comment``.

    dataset
        Its id.
    include_filtered
        Whether to remove datasets that were filtered from it, too.
    force
        Whether to remove one that is not checked. Its workers must have ended.
    dry_run
        Whether to tell what would go, and to remove nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' pelican.remove 123 dry_run=True
        salt 'registry' pelican.remove 123
    """
    number = _id("dataset", dataset)
    return _call(
        configuration,
        lambda config: pelican_datasets.remove(
            config, number, include_filtered=include_filtered, force=force, dry_run=dry_run
        ),
    )


def exchange_rates(**configuration):
    """
    Return what there is of exchange rates.

    Returns ``count``, ``first``, ``latest``, ``behind_days`` (since the latest), ``missing_days`` (how many between
    the first and the latest), ``missing`` (the first 20 gaps) and ``sequence``: the ``next`` id, the ``highest`` one,
    and whether that is ``correct``. The return code is 1 if it is not, or if there are none.

    CLI Example:

    .. code-block:: bash

        salt 'registry' pelican.exchange_rates
    """
    result = _call(configuration, pelican_rates.exchange_rates)
    if not result["count"] or not result["sequence"]["correct"]:
        __context__["retcode"] = 1
    return result


def export_exchange_rates(path, dry_run=False, **configuration):
    """
    Write the exchange rates to a file, in the format of psql's ``copy``, with mode 0600.

    Returns ``file``, ``count``, ``latest``, ``bytes``, ``sha256`` and ``comment``. A file that is there is replaced in
    one step.

    path
        The file, an absolute path.
    dry_run
        Whether to tell how many there are, and to write nothing.

    CLI Example:

    .. code-block:: bash

        salt 'old' pelican.export_exchange_rates /root/exchange_rates.csv
    """
    file = _path("path", path)
    return _call(configuration, lambda config: pelican_rates.export(config, file, dry_run=dry_run))


def import_exchange_rates(path, sha256=None, force=False, dry_run=False, **configuration):
    """
    Add the exchange rates of a file, all or none, and set the ID sequence.

    The file is one that ``export_exchange_rates`` wrote, or psql, with the columns valid_on, rates, created, modified.
    A day that is there with the same rates stays as it is, so a second import adds nothing. Returns ``file``,
    ``count``, ``added``, ``replaced``, ``unchanged``, ``sequence`` and ``comment``.

    path
        The file, an absolute path.
    sha256
        That of the whole file, as ``export_exchange_rates`` returned it.
    force
        Whether the file's rates replace others of the same day. Otherwise, nothing is imported if there are any.
    dry_run
        Whether to check all of that, and to import nothing.

    CLI Example:

    .. code-block:: bash

        salt 'new' pelican.import_exchange_rates /root/exchange_rates.csv dry_run=True
        salt 'new' pelican.import_exchange_rates /root/exchange_rates.csv
    """
    file = _path("path", path)
    return _call(
        configuration,
        lambda config: pelican_rates.import_(
            config, file, sha256=None if sha256 is None else str(sha256), force=force, dry_run=dry_run
        ),
    )


def _call(configuration, function):
    """Read the settings, call the library, and turn its errors into Salt's."""
    arguments = salt.utils.args.clean_kwargs(**configuration)
    try:
        config = pelican_config.load(__salt__["config.get"](pelican_config.ROOT, {}), arguments)
        return fit(function(config), how="use a smaller limit")
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: correct it, and run this again") from e


def _id(name, value):
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 31:
        raise SaltInvocationError(f"argument {name} must be the number of a {name}, not {value!r}")
    return int(text)


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SaltInvocationError(f"argument {name} must be a whole number, 1 or more, not {value!r}")


def _path(name, value):
    if not isinstance(value, str) or not Path(value).is_absolute() or "\0" in value:
        raise SaltInvocationError(f"argument {name} must be an absolute path, not {value!r}")
    return Path(value)
