"""Check a server's pillar: every missing value, mistyped key and wrong type, in one message."""

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.roles import check as roles_check
    from kingfisher_salt.roles.schemas import SECTIONS

    MISSING = None
except ImportError as e:
    MISSING = e.name


def __virtual__():
    return "kingfisher_pillar"


def problems(required=None, optional=None):
    """
    Return what is wrong with the settings of this server, one sentence each. The list is empty if nothing is.

    required
        The sections that must be there, a list: like postgres, or python_apps:kingfisher_collect.
    optional
        The sections that are checked if they are there. Without both arguments, all that there are.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher_pillar.problems
    """
    if MISSING:
        raise CommandExecutionError(f"kingfisher_pillar: {MISSING} is not there: salt 'ID' saltutil.sync_all")
    required, optional = required or [], optional or []
    if unknown := sorted({*required, *optional} - SECTIONS.keys()):
        raise SaltInvocationError(f"{', '.join(unknown)}: no section of pillar that is known to roles/schemas.py")
    if not required and not optional:
        optional = list(SECTIONS)
    return roles_check.problems(lambda path: __salt__["config.get"](path, None), required, optional)
