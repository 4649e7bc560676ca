"""
Let a user of this machine deploy spiders: ~/.netrc and ~/.config/scrapy.cfg.

:configuration: pillar ``kingfisher_operators``. The settings are described in docs/incremental.md.
"""

from salt.exceptions import CommandExecutionError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.operators import config
    from kingfisher_salt.operators.configure import configure

    MISSING = None
except ImportError as e:
    MISSING = e.name

# Salt puts the functions of all files with this name together.
__virtualname__ = "kingfisher"


def __virtual__():
    return __virtualname__  # even if something is missing: see _modules/kingfisher.py


def configure_operator(user, dry_run=False):
    """
    Put the entries of pillar into a user's files, and leave all else in them as it is.

    Returns what differed, by file, without passwords.

    user
        The user.
    dry_run
        Whether to tell what differs, and to write nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.configure_operator james dry_run=True
    """
    if MISSING:
        raise CommandExecutionError(f"kingfisher: {MISSING} is not installed: salt 'ID' state.apply minion")
    try:
        servers = config.load(__salt__["config.get"](config.ROOT, {}), str(user))
        return configure(str(user), servers, dry_run=dry_run)
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
