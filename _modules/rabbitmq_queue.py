"""
Look at RabbitMQ's queues, publish to them, and purge them with open eyes. Salt's own module ``rabbitmq`` manages
users, permissions and plugins.

:configuration: pillar ``rabbitmq_queue``. Every setting of it can be given as an argument instead, except for the
    password. The settings are described in docs/queues.md.
:depends: pika, requests
"""

from pathlib import Path

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.rabbitmq import config as rabbitmq_config
    from kingfisher_salt.rabbitmq import counts as rabbitmq_counts
    from kingfisher_salt.rabbitmq import peek as rabbitmq_peek
    from kingfisher_salt.rabbitmq import publish as rabbitmq_publish
    from kingfisher_salt.rabbitmq import purge as rabbitmq_purge
    from kingfisher_salt.rabbitmq import restore as rabbitmq_restore

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "rabbitmq_queue"
__func_alias__ = {"list_": "list"}

#: The most messages that peek returns.
MAX_COUNT = 50


def __virtual__():
    if MISSING:
        return False, f"rabbitmq_queue: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def list_(pattern=None, **configuration):
    """
    Return the queues, with ``ready``, ``unacknowledged``, ``consumers``, and the rates ``incoming``, ``delivered`` and
    ``acknowledged`` in messages a second. These are statistics of RabbitMQ's, and some seconds old.

    pattern
        A name, in which * and ? stand for others.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.list
        salt 'registry' rabbitmq_queue.list 'kingfisher_process_*'
    """
    return _call(configuration, lambda config: rabbitmq_counts.listing(config, _text("pattern", pattern)))


def publish(queue, message, exchange=None, dry_run=False, **configuration):
    """
    Publish a message, persistent and as JSON. It fails if no queue would receive it.

    queue
        The queue. With an exchange, it is the routing key, with or without EXCHANGE_ before it.
    message
        The message, as JSON.
    exchange
        The exchange. The default goes to the queue itself.
    dry_run
        Whether to check whether a queue would receive it, and to publish nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.publish exporter_init '{"job_id": 1, "collection_id": 2}' \
            exchange=data_registry_production
    """
    return _call(
        configuration,
        lambda config: rabbitmq_publish.publish(
            config, str(queue), message, exchange=_text("exchange", exchange), dry_run=dry_run
        ),
    )


def peek(queue, count=10, **configuration):
    """
    Return the first messages of a queue, which stay where they are. From then on, RabbitMQ tells consumers that they
    were delivered before (``redelivered``).

    queue
        The queue.
    count
        How many messages.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.peek data_registry_production_exporter_init count=3
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MAX_COUNT:
        raise SaltInvocationError(f"argument count must be a number from 1 to {MAX_COUNT}, not {count!r}")
    return _call(configuration, lambda config: rabbitmq_peek.peek(config, str(queue), count))


def purge(queue, confirm=None, dry_run=False, **configuration):
    """
    Remove the messages that wait in a queue, once they are in a file. **This affects all running jobs.**

    Returns how many were ``ready`` and are ``removed``, and the ``file`` for ``rabbitmq_queue.restore``. Messages that
    come meanwhile stay. Those that consumers have are not removed.

    queue
        The queue.
    confirm
        The name of the queue again.
    dry_run
        Whether to tell what would be removed, and to do nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.purge data_registry_production_exporter_init dry_run=True
        salt 'registry' rabbitmq_queue.purge data_registry_production_exporter_init \
            confirm=data_registry_production_exporter_init
    """
    return _call(
        configuration,
        lambda config: rabbitmq_purge.purge(config, str(queue), confirm=_text("confirm", confirm), dry_run=dry_run),
    )


def restore(file, doubtful=None, dry_run=False, **configuration):
    """
    Publish what a purge removed, to the same queue, in its order. If it is killed, run it again.

    file
        The file that the purge returned.
    doubtful
        What to do with messages that may be in the queue already, since a purge or restore was killed: ``publish`` or
        ``skip``. Without it, nothing is published if there are any.
    dry_run
        Whether to tell what would be published, and to do nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.restore /var/lib/kingfisher-rabbitmq/FILE.jsonl dry_run=True
    """
    if not isinstance(file, str) or not Path(file).is_absolute():
        raise SaltInvocationError(f"argument file must be an absolute path, not {file!r}")
    if doubtful not in (None, *rabbitmq_restore.DOUBTFUL):
        raise SaltInvocationError(f"argument doubtful must be publish or skip, not {doubtful!r}")
    return _call(
        configuration,
        lambda config: rabbitmq_restore.restore(config, Path(file), doubtful=doubtful, dry_run=dry_run),
    )


def idle(pattern=None, settle=None, **configuration):
    """
    Return whether no message is ready, and none is at a consumer. If it is not so, the return code is 1.

    pattern
        A name, in which * and ? stand for others. A pattern that no queue is like is an error.
    settle
        Seconds between a first look and a second. The default, 12, is longer than RabbitMQ's statistics may be old;
        with 0, there is one look, which misses what a consumer got just now.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.idle
        salt 'registry' rabbitmq_queue.idle 'data_registry_*'
    """
    seconds = _seconds("settle", settle, rabbitmq_counts.SETTLED)
    is_idle = not _call(configuration, lambda config: rabbitmq_counts.busy(config, _text("pattern", pattern), seconds))
    if not is_idle:
        __context__["retcode"] = 1
    return is_idle


def wait(pattern=None, timeout=300, settle=None, **configuration):
    """
    Wait until ``rabbitmq_queue.idle``, and return the queues that are not when the time is over: none, if all are.

    pattern
        A name, in which * and ? stand for others.
    timeout
        For how long to wait, in seconds.
    settle
        As for ``rabbitmq_queue.idle``.

    CLI Example:

    .. code-block:: bash

        salt 'registry' rabbitmq_queue.wait 'data_registry_*' timeout=3600
    """
    limit = _seconds("timeout", timeout, None)
    seconds = _seconds("settle", settle, rabbitmq_counts.SETTLED)
    busy = _call(configuration, lambda config: rabbitmq_counts.wait(config, _text("pattern", pattern), limit, seconds))
    if busy:
        __context__["retcode"] = 1
    return busy


def _call(configuration, function):
    """Read the settings, call the library, and turn its errors into Salt's."""
    arguments = salt.utils.args.clean_kwargs(**configuration)
    try:
        config = rabbitmq_config.load(__salt__["config.get"](rabbitmq_config.ROOT, {}), arguments)
        return function(config)
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e


def _text(name, value):
    if value is not None and not isinstance(value, str):
        raise SaltInvocationError(f"argument {name} must be text, not {value!r}")
    return value


def _seconds(name, value, default):
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise SaltInvocationError(f"argument {name} must be a number of seconds, 0 or more, not {value!r}")
    return value
