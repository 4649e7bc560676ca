"""The ssh keys of users, and whether users may log in."""

from salt.exceptions import CommandExecutionError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.roles import logins

    MISSING = None
except ImportError as e:
    MISSING = e.name


def __virtual__():
    return "kingfisher_login"


def keys(user):
    """
    Return the public keys in a user's authorized_keys: ``salt`` has those that Salt put there, ``others`` the rest.

    CLI Example:

    .. code-block:: bash

        salt 'kingfisher-main' kingfisher_login.keys root
    """
    text = _call(lambda: logins.read(user))
    return {"salt": logins.ours(text), "others": logins.others(text)}


def set_keys(user, keys, dry_run=False):
    """
    Make the keys that Salt put into a user's authorized_keys these. Other people's lines stay as they are.

    Returns ``old`` and ``new``, which are equal if nothing differs, and ``also``: keys that were removed, and are also
    among other people's lines, so that they still open this server.

    keys
        Public keys, a list.
    dry_run
        Whether to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'kingfisher-main' kingfisher_login.set_keys james keys='["ssh-ed25519 AAAA… James"]' dry_run=True
    """

    def run():
        before = logins.read(user)
        wanted = [key.strip() if isinstance(key, str) else key for key in keys]
        wanted = list(dict.fromkeys(wanted))
        if wrong := logins.problems(user, wanted, before):
            raise KingfisherError("; ".join(wrong))
        after = logins.wanted(before, wanted)
        if after != before and not dry_run:
            logins.write(user, after)
        removed = [key for key in logins.ours(before) if key not in wanted]
        also = [key for key in removed if key in logins.others(before)]
        return {"old": logins.ours(before), "new": wanted, "differs": after != before, "also": also}

    return _call(run)


def is_closed(user):
    """
    Return whether nobody may log in as a user: they left pillar, or there is no such user.

    CLI Example:

    .. code-block:: bash

        salt 'kingfisher-main' kingfisher_login.is_closed james
    """
    return _call(lambda: logins.is_closed(user))


def reopen(user):
    """
    Let a user who is in pillar again log in again.

    CLI Example:

    .. code-block:: bash

        salt 'kingfisher-main' kingfisher_login.reopen james
    """
    return _call(lambda: logins.reopen(user))


def _call(function):
    if MISSING:
        raise CommandExecutionError(f"kingfisher_login: {MISSING} is not there: salt 'ID' saltutil.sync_all")
    try:
        return function()
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
