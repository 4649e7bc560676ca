"""
Queues of RabbitMQ that are to be empty before something else is done, like a restart.

:configuration: pillar ``rabbitmq_queue``, as for the execution module of the same name
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "rabbitmq_queue"


def __virtual__():
    if "rabbitmq_queue.wait" in __salt__:
        return __virtualname__
    return False, "rabbitmq_queue: its execution module cannot be used: salt 'ID' state.apply minion"


def empty(name, timeout=300, settle=None, **configuration):
    """
    Wait until queues hold no message, and no consumer has one. Nothing is removed.

    name
        The queue, or a pattern in which * and ? stand for others.
    timeout
        For how long to wait, in seconds.
    settle
        As for ``rabbitmq_queue.idle``.

    .. code-block:: yaml

        data_registry_production_*:
          rabbitmq_queue.empty:
            - timeout: 3600
            - require_in:
              - service: worker
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    wanted = {"settle": settle, **configuration}
    try:
        before = __salt__["rabbitmq_queue.wait"](name, timeout=0, **wanted)
        if not before:
            ret["comment"] = "No message waits, and none is at a consumer."
            return ret
        if __opts__["test"]:
            ret["result"] = None
            ret["changes"] = _changes(before, {})
            ret["comment"] = f"It would have been waited for, for up to {timeout} s: {_told(before)}."
            return ret
        after = __salt__["rabbitmq_queue.wait"](name, timeout=timeout, **wanted)
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    ret["changes"] = {queue: change for queue, change in _changes(before, after).items() if queue not in after}
    if after:
        ret["result"] = False
        ret["comment"] = (
            f"After {timeout} s, messages are left: {_told(after)}: look at their consumers, or raise timeout"
        )
        return ret
    ret["comment"] = "The messages that waited have been consumed."
    return ret


def _changes(before, after):
    return {queue: {"old": counts, "new": after.get(queue, "empty")} for queue, counts in before.items()}


def _told(queues):
    return ", ".join(
        f"{queue} has {counts['ready']} ready and {counts['unacknowledged']} unacknowledged"
        for queue, counts in sorted(queues.items())
    )
