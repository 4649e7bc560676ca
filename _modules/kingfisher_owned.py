"""
What states own on this server: what has left pillar is removed.

:configuration: ``kingfisher_manifest_directory`` is where it is remembered, /var/lib/kingfisher-salt by default
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt import manifest
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.roles import logins
    from kingfisher_salt.roles import owned as roles_owned

    MISSING = None
except ImportError as e:
    MISSING = e.name


def __virtual__():
    return "kingfisher_owned"


def owned():
    """
    Return what states own on this server, by role and kind.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_owned.owned
    """
    return _call(lambda: manifest.read(_file()))


def prune(role, dry_run=False, **wanted):
    """
    Remove what a role no longer has, and remember what it is about to have. States call it.

    Returns ``removed``, by name, with its kind; and ``failed``, by name, with the reason.

    role
        The name of its SLS.
    dry_run
        Whether to tell what would be removed, and change nothing.
    wanted
        By kind (``files``, ``units``, ``users``, ``keys``, ``memberships``, ``aliases``,
        ``crawls``), the names of what it has.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_owned.prune kingfisher.archive files='[/etc/cron.d/kingfisher-archive]' dry_run=True
    """
    wanted = {kind: list(names or []) for kind, names in wanted.items() if not kind.startswith("__")}
    if unknown := sorted(wanted.keys() - _REMOVE.keys()):
        raise SaltInvocationError(f"{', '.join(unknown)}: must be of {', '.join(_REMOVE)}")

    def run():
        gone = roles_owned.gone(manifest.read(_file()), role, wanted)
        failed = {}
        if not dry_run:
            failed = roles_owned.prune(_file(), role, wanted, lambda kind, name: _REMOVE[kind](name))
        return {"removed": {name: kind for kind, name in gone if name not in failed}, "failed": failed}

    return _call(run)


def _file():
    return Path(__salt__["config.get"]("kingfisher_manifest_directory") or manifest.DIRECTORY, "owned.json")


def _remove_alias(name):
    __salt__["aliases.rm_alias"](name)


def _remove_crawls(directory):
    try:
        failed = __salt__["kingfisher.remove_crawls"](directory)["failed"]
    except CommandExecutionError as e:
        raise KingfisherError(str(e)) from e
    if failed:
        raise KingfisherError("; ".join(failed.values()))


def _remove_keys(user):
    try:
        before = logins.read(user)
    except KingfisherError:  # the user is not there anymore
        return
    if wrong := logins.problems(user, [], before):
        raise KingfisherError("; ".join(wrong))
    if (after := logins.wanted(before, [])) != before:
        logins.write(user, after)


if not MISSING:
    _REMOVE = {
        "units": roles_owned.remove_unit,
        "files": roles_owned.remove_file,
        "users": logins.close,
        "keys": _remove_keys,
        "memberships": roles_owned.remove_membership,
        "aliases": _remove_alias,
        "crawls": _remove_crawls,
    }


def _call(function):
    if MISSING:
        raise CommandExecutionError(f"kingfisher_owned: {MISSING} is not there: salt 'ID' saltutil.sync_all")
    try:
        return function()
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
