"""
Watch the jobs of the Data Registry across all systems, delete those that stalled, and restart their tasks.

Works through the application's own code, in its shell, so that its signals and cleanups run.

:configuration: pillar ``data_registry``. Every setting of it can be given as an argument instead. The other systems
    are reached with pillar ``scrapyd``, ``rabbitmq_queue``, ``pelican`` and ``kingfisher_process``. The settings are
    described in docs/data-registry.md.
:depends: requests, pika, psycopg2
"""

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.data_registry import config as registry_config
    from kingfisher_salt.data_registry import delete as registry_delete
    from kingfisher_salt.data_registry import log as registry_log
    from kingfisher_salt.data_registry import publications as registry_publications
    from kingfisher_salt.data_registry import registry as registry_registry
    from kingfisher_salt.data_registry import restart as registry_restart
    from kingfisher_salt.data_registry import trace as registry_trace
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.kingfisher_process import config as process_config
    from kingfisher_salt.pelican import config as pelican_config
    from kingfisher_salt.rabbitmq import config as rabbitmq_config
    from kingfisher_salt.rabbitmq import counts as rabbitmq_counts
    from kingfisher_salt.scrapyd import client as scrapyd_client
    from kingfisher_salt.scrapyd import config as scrapyd_config
    from kingfisher_salt.scrapyd import logs as scrapyd_logs

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "data_registry"
__func_alias__ = {"log_": "log"}


def __virtual__():
    if MISSING:
        return False, f"data_registry: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def jobs(status=None, source=None, stalled=False, limit=100, **configuration):
    """
    Return ``total`` and ``jobs``, the newest first: each with its publication, tasks, and for how many hours nothing
    has moved.

    status
        Only jobs of this status: PLANNED, WAITING, RUNNING or COMPLETED.
    source
        Only jobs of publications with this source.
    stalled
        Whether to return only those that are not over, and that did not move for ``stalled_hours``.
    limit
        How many jobs at most.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.jobs
        salt 'registry' data_registry.jobs stalled=True
        salt 'registry' data_registry.jobs status=RUNNING source=kyrgyzstan
    """
    options = {
        "status": _text("status", status),
        "source": _text("source", source),
        "stalled": stalled is True,
        "limit": int(_number("limit", limit, 1)),
    }
    return _call(configuration, lambda given: registry_trace.jobs(given.registry, **options))


def job(job, **configuration):
    """
    Return one trace of a job across all systems: its ``tasks``, ``context`` and ``links``, and what each other system
    says of it: ``scrapyd``, ``kingfisher_process``, ``pelican``, ``export`` (files and lock files) and ``queues``.

    A system that does not answer is shown with its ``error``.

    job
        The number of the job.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.job 123
    """
    number = _job(job)
    return _call(configuration, lambda given: registry_trace.job(given.registry, given.scrapyd, given.counts, number))


def freeze(publication, dry_run=False, **configuration):
    """
    Freeze a publication, so that no new jobs are made for it. Returns whether that ``changed`` anything.

    publication
        A source, or the number of a publication, which is needed if two have the same source.
    dry_run
        Whether to tell what would be changed, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.freeze kyrgyzstan
    """
    which = str(publication)
    return _call(
        configuration,
        lambda given: registry_publications.freeze(given.registry, which, frozen=True, dry_run=dry_run),
    )


def unfreeze(publication, dry_run=False, **configuration):
    """
    Unfreeze a publication. Returns whether that ``changed`` anything.

    publication
        A source, or the number of a publication, which is needed if two have the same source.
    dry_run
        Whether to tell what would be changed, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.unfreeze kyrgyzstan
    """
    which = str(publication)
    return _call(
        configuration,
        lambda given: registry_publications.freeze(given.registry, which, frozen=False, dry_run=dry_run),
    )


def delete_job(job, freeze=False, force=False, wait=60, dry_run=False, **configuration):
    """
    Delete a job, and with it its crawl in Scrapyd, its collection in Kingfisher Process, its dataset in Pelican and
    its export.

    Every other system is asked first: if one does not answer, nothing is changed. If this is killed, or something is
    not gone yet, run it again. Returns ``deleted``; ``waiting``, what is not gone yet; and ``done``. The return code
    is 1 until all is gone.

    job
        The number of the job.
    freeze
        Whether to freeze its publication at first, because the next job would stall, too.
    force
        Whether to end a crawl uncleanly that does not stop when asked.
    wait
        For how long to wait for the crawl to stop, and then for the rest to go, in seconds.
    dry_run
        Whether to ask every system, to tell what would go, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.delete_job 123 dry_run=True
        salt 'registry' data_registry.delete_job 123 freeze=True
    """
    number = _job(job)
    options = {"freeze": freeze is True, "force": force is True, "wait": _number("wait", wait), "dry_run": dry_run}

    def run(given):
        logs = scrapyd_logs.Logs(given.scrapyd)
        chosen = registry_delete.Options(**options)
        return registry_delete.delete(given.registry, given.scrapyd, logs, number, chosen)

    result = _call(configuration, run)
    if not dry_run and not result["done"]:
        __context__["retcode"] = 1
    return result


def restart_task(job, task, force=False, dry_run=False, **configuration):
    """
    Restart a task of a job. Returns what was ``done``.

    collect and process cannot be restarted: delete the job. pelican removes the dataset, and plans its task and those
    after it. exporter and flattener are told to begin again.

    job
        The number of the job.
    task
        pelican, exporter or flattener.
    force
        Whether to do so though messages wait in the task's queue, or may be at its worker, or its lock file is fresh.
    dry_run
        Whether to check all of that, to tell what would be done, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.restart_task 123 flattener dry_run=True
        salt 'registry' data_registry.restart_task 123 flattener
    """
    number = _job(job)

    def run(given):
        tools = registry_restart.Tools(given.counts, given.pelican)
        return registry_restart.restart(given.registry, tools, number, str(task), force=force is True, dry_run=dry_run)

    return _call(configuration, run)


def log_(job, task="collect", lines=100, **configuration):
    """
    Return the last lines of the log of a job's task, as text: the crawl's from Scrapyd, others from their containers.

    job
        The number of the job.
    task
        collect, process, pelican, exporter or flattener.
    lines
        How many lines, at most 10,000. If they do not fit into 16 MiB, the first line says so.

    CLI Example:

    .. code-block:: bash

        salt 'registry' data_registry.log 123
        salt 'registry' data_registry.log 123 task=flattener lines=500
    """
    number, count = _job(job), int(_number("lines", lines))

    def run(given):
        logs = scrapyd_logs.Logs(given.scrapyd)
        others = {"process": lambda: given.process().app, "pelican": lambda: given.pelican().app}
        return registry_log.log(given.registry, given.scrapyd, logs, others, number, task=str(task), lines=count)

    return _call(configuration, run)


class _Given:
    """What the pillar gives. Only what a function needs is looked at."""

    def __init__(self, arguments):
        pillar = __salt__["config.get"](registry_config.ROOT, {})
        self.registry = registry_registry.Registry(registry_config.load(pillar, arguments))

    @property
    def scrapyd(self):
        pillar = __salt__["config.get"](scrapyd_config.ROOT, {})
        return scrapyd_client.Client(scrapyd_config.load(pillar, {}))

    def counts(self, names):
        if not names:
            return {}
        pillar = __salt__["config.get"](rabbitmq_config.ROOT, {})
        return rabbitmq_counts.queue_counts(rabbitmq_config.load(pillar, {}), names)

    def process(self):
        return process_config.load(__salt__["config.get"](process_config.ROOT, {}), {})

    def pelican(self):
        return pelican_config.load(__salt__["config.get"](pelican_config.ROOT, {}), {})


def _call(configuration, function):
    """Read the settings, call the library, and turn its errors into Salt's."""
    arguments = salt.utils.args.clean_kwargs(**configuration)
    try:
        return function(_Given(arguments))
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: let this user read it, and run this again") from e


def _job(value):
    if isinstance(value, bool) or not str(value).isdecimal() or not 0 < int(value) < 2**63:
        raise SaltInvocationError(f"argument job must be the number of a job, not {value!r}: see data_registry.jobs")
    return int(value)


def _number(name, value, minimum=0):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < minimum:
        raise SaltInvocationError(f"argument {name} must be a number, {minimum} or more, not {value!r}")
    return value


def _text(name, value):
    if value is not None and not isinstance(value, str):
        raise SaltInvocationError(f"argument {name} must be text, not {value!r}")
    return value
