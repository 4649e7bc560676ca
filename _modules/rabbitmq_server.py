"""
Look after a RabbitMQ server on this host: its users, virtual hosts, permissions and policies.

:configuration: pillar ``rabbitmq``, which is described in docs/rabbitmq-server.md
"""

from salt.exceptions import CommandExecutionError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.rabbitmq_server import apply as rabbitmq_apply
    from kingfisher_salt.rabbitmq_server.definitions import Control

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "rabbitmq_server"


def __virtual__():
    if MISSING:
        return False, f"rabbitmq_server: {MISSING} is missing: salt 'ID' saltutil.sync_all"
    return __virtualname__


def configure(dry_run=False):
    """
    Make users, virtual hosts, permissions and policies those of pillar, and remove the user guest.

    Returns ``changes`` and ``notes``. What Salt made, and left pillar, is removed: a virtual host only if there is no
    message in it. What others made stays.

    dry_run
        Whether to change nothing, and to return what would change.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_server.configure dry_run=True
    """
    try:
        return rabbitmq_apply.apply(__salt__["config.get"]("rabbitmq") or {}, Control(), dry_run=dry_run)
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
