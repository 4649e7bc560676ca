"""
The users, virtual hosts, permissions and policies of a RabbitMQ server, as they are in pillar ``rabbitmq``.

Passwords are read by the module, and never enter a state.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "rabbitmq_server"


def __virtual__():
    if "rabbitmq_server.configure" in __salt__:
        return __virtualname__
    return False, "rabbitmq_server: the module rabbitmq_server cannot be used: salt 'ID' saltutil.sync_all"


def configured(name, **kwargs):
    """
    Have those users, virtual hosts, permissions and policies that are in pillar, and no user guest.

    name
        Any name for this state.

    .. code-block:: yaml

        rabbitmq-definitions:
          rabbitmq_server.configured
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        done = __salt__["rabbitmq_server.configure"](dry_run=__opts__["test"])
    except CommandExecutionError as e:
        return {**ret, "result": False, "comment": str(e)}
    ret["changes"] = done["changes"]
    said = "The server is as pillar says."
    if done["changes"]:
        verb = "would have been" if __opts__["test"] else "has been"
        said = f"{', '.join(done['changes'])} {verb} changed."
        ret["result"] = None if __opts__["test"] else True
    return {**ret, "comment": "\n".join([f"{said[:1].upper()}{said[1:]}", *done["notes"]])}
