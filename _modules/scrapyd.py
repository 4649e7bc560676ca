"""
Schedule and watch the crawls of a Scrapyd server, deploy spiders to it, and drain it before a restart.

:configuration: pillar ``scrapyd``. Every setting of it can be given as an argument instead, except for the password,
    and except to ``schedule``, whose other arguments are those of the spider. Without a username and password there,
    those in ~/.netrc are used. The settings are described in docs/scrapyd.md.
:depends: requests
"""

import logging
from pathlib import Path

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.scrapyd import cancel as scrapyd_cancel
    from kingfisher_salt.scrapyd import client as scrapyd_client
    from kingfisher_salt.scrapyd import config as scrapyd_config
    from kingfisher_salt.scrapyd import deploy as scrapyd_deploy
    from kingfisher_salt.scrapyd import drain as scrapyd_drain
    from kingfisher_salt.scrapyd import drainfile
    from kingfisher_salt.scrapyd import health as scrapyd_health
    from kingfisher_salt.scrapyd import jobs as scrapyd_jobs
    from kingfisher_salt.scrapyd import logs as scrapyd_logs
    from kingfisher_salt.scrapyd import reports as scrapyd_reports
    from kingfisher_salt.scrapyd import resume as scrapyd_resume
    from kingfisher_salt.scrapyd import schedule as scrapyd_schedule

    MISSING = None
except ImportError as e:
    MISSING = e.name

LOG = logging.getLogger(__name__)

__virtualname__ = "scrapyd"
__func_alias__ = {"log_": "log"}

#: The most lines of a log that are returned.
MAX_LINES = 10_000


def __virtual__():
    if MISSING:
        return False, f"scrapyd: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def schedule(
    spider,
    project=None,
    note=None,
    crawl_time=None,
    settings=None,
    priority=None,
    version=None,
    jobid=None,
    unless_running=True,
    dry_run=False,
    **arguments,
):
    """
    Schedule a crawl, unless one of the same spider and arguments is pending or running.

    Returns ``job``, ``project``, ``spider``, ``version``, ``arguments``, ``state`` (pending, running or finished),
    ``log`` (its address), ``scheduled`` (whether it was, just now) and, if it was not, ``reason``. While Scrapyd is
    drained, nothing is scheduled.

    spider
        The spider. If it is unknown, the nearest name is told.
    project
        The project. The default is that in pillar, else the only one.
    note
        A note for people, as a spider argument. It makes no difference to ``unless_running``.
    crawl_time
        The time of the crawl, like 2026-01-31T04:05:06, as a spider argument.
    settings
        Scrapy settings, a mapping.
    priority
        A number. Of the crawls that are pending, the one with the highest begins first. The default is 0.
    version
        The version of the project. The default is the one in use.
    jobid
        The job id. A crawl with a JOBDIR goes on where the job of the same id stopped.
    unless_running
        Whether not to schedule a second crawl of the same spider and arguments. If the arguments of one that runs
        cannot be read, they are taken for the same.
    dry_run
        Whether to check all of that, and to schedule nothing.

    All other arguments are spider arguments.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.schedule kyrgyzstan note='Started by NAME.'
        salt 'registry' scrapyd.schedule kyrgyzstan sample=1 settings='{"LOG_LEVEL": "INFO"}'
    """
    given = {**salt.utils.args.clean_kwargs(**arguments), "note": note, "crawl_time": crawl_time}

    def run(client, logs):
        request = _request(spider, project, version, jobid, priority, given, settings)
        return scrapyd_schedule.schedule(client, logs, request, unless_running=unless_running, dry_run=dry_run)

    return _call({}, run)


def schedule_once(
    name,
    spider,
    project=None,
    arguments=None,
    settings=None,
    priority=None,
    version=None,
    dry_run=False,
    **configuration,
):
    """
    Schedule one crawl for a name, whatever the number of calls. Its job id is made from the name.

    Returns what ``schedule`` does.

    name
        The name. Another name is another crawl.
    spider
        The spider.
    project
        The project. The default is that in pillar, else the only one.
    arguments
        Spider arguments, a mapping.
    settings
        Scrapy settings, a mapping.
    priority
        A number.
    version
        The version of the project. The default is the one in use.
    dry_run
        Whether to tell whether it would be scheduled, and to schedule nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.schedule_once first-crawl kyrgyzstan arguments='{"note": "Started by NAME."}'
    """

    def run(client, logs):
        request = _request(spider, project, version, None, priority, arguments or {}, settings)
        return scrapyd_schedule.schedule_once(client, logs, str(name), request, dry_run=dry_run)

    return _call(configuration, run)


def jobs(state=None, project=None, spider=None, limit=20, **configuration):
    """
    Return the jobs by state, and in ``total`` how many there are of each.

    state
        ``pending``, ``running`` or ``finished``, if not all.
    project
        The project, if not all.
    spider
        The spider, if not all.
    limit
        How many finished jobs to return at most: the newest.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.jobs
        salt 'registry' scrapyd.jobs state=finished spider=kyrgyzstan limit=100
    """
    _check_number("limit", limit)
    return _call(
        configuration,
        lambda client, _: scrapyd_jobs.listing(client, state=state, project=project, spider=spider, limit=int(limit)),
    )


def status(job=None, **configuration):
    """
    Return a job, with its state: pending, running, finished, or forgotten, which has a log and nothing else.

    job
        The job. Without it, returns how many jobs there are, and whether Scrapyd is drained.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.status
        salt 'registry' scrapyd.status 6487ec79947edab326d6db28a2d86511e8247444
    """

    def run(client, _):
        if job is not None:
            found = scrapyd_jobs.find(client, str(job), client.config.logs_directory)
            return scrapyd_jobs.show(client, found)
        answer = client.daemon_status()
        counts = {key: answer[key] for key in ("pending", "running", "finished")}
        drain_ = drainfile.read(client.config.drain_file)
        return {**counts, "drained": drain_.phase if drain_ else False, "server": client.config.place}

    return _call(configuration, run)


def log_(job, lines=50, **configuration):
    """
    Return the last lines of a job's log, as text.

    job
        The job.
    lines
        How many lines, at most 10,000. If they do not fit into 16 MiB, the first line says so.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.log 6487ec79947edab326d6db28a2d86511e8247444 lines=200
    """
    _check_number("lines", lines)
    count = min(int(lines), MAX_LINES)

    def run(client, logs):
        found = scrapyd_jobs.find(client, str(job), client.config.logs_directory)
        text = logs.last_lines(found.project, found.spider, found.id, count)
        if text is None:
            raise KingfisherError(_no_log(found))
        return text

    return _call(configuration, run)


def stats(job, **configuration):
    """
    Return the statistics that Scrapy wrote when a job ended, and its ``finish_reason``. Those of an earlier run of the
    same job, which a drain has stopped, are left alone.

    job
        The job.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.stats 6487ec79947edab326d6db28a2d86511e8247444
    """

    def run(client, logs):
        found = scrapyd_jobs.find(client, str(job), client.config.logs_directory)
        if found.state == "pending":
            raise KingfisherError(_no_log(found))
        for window in scrapyd_logs.WINDOWS:
            text = logs.tail(found.project, found.spider, found.id, window)
            if text is None:
                raise KingfisherError(_no_log(found))
            if (values := scrapyd_logs.stats(text)) is not None:
                return {
                    "job": found.id,
                    "project": found.project,
                    "spider": found.spider,
                    "state": found.state,
                    "log": client.log_url(found.project, found.spider, found.id),
                    "finish_reason": values.get("finish_reason"),
                    "stats": values,
                }
        why = "it has not ended" if found.state == "running" else "it was killed, or its LOG_LEVEL is above INFO"
        raise KingfisherError(f"the log of job {found.id} has no statistics: {why}: see scrapyd.log {found.id}")

    return _call(configuration, run)


def spiders(project=None, version=None, **configuration):
    """
    Return the spiders of a project.

    project
        The project. The default is that in pillar, else the only one.
    version
        The version. The default is the one in use.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.spiders
    """

    def run(client, _):
        name = scrapyd_jobs.the_project(client, project)
        if version is not None:
            scrapyd_jobs.check_version(client, name, str(version))
        return client.spiders(name, None if version is None else str(version))

    return _call(configuration, run)


def projects(**configuration):
    """
    Return the projects.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.projects
    """
    return _call(configuration, lambda client, _: client.projects())


def versions(project=None, version=None, **configuration):
    """
    Return the versions of a project. The last one is in use.

    project
        The project. The default is that in pillar, else the only one.
    version
        The version, if not all. Scrapyd lists 2.0 as 2_0.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.versions
    """

    def run(client, _):
        found = client.versions(scrapyd_jobs.the_project(client, project))
        wanted = None if version is None else scrapyd_deploy.sanitized(str(version))
        return [name for name in found if wanted in (None, name)]

    return _call(configuration, run)


def health(**configuration):
    """
    Return what is wrong, and the command that cures it.

    Returns ``healthy``; ``pending``, ``running`` and ``finished``, numbers; and ``problems``, each with ``problem``,
    ``says``, ``cure`` and, if it is about one, ``job``. The return code is 1 if there is any. A problem is: drained,
    stuck (pending, free slots, nothing starts), stalled (the log does not grow), gone (running without a process),
    forgotten (a process that Scrapyd does not know), lost (killed, or lost in a restart), disk, missing (a directory).

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.health
        salt 'registry' scrapyd.health stalled_minutes=10
    """
    result = _call(configuration, scrapyd_health.health)
    if not result["healthy"]:
        __context__["retcode"] = 1
    return result


def cancel(job, wait=60, force=False, dry_run=False, **configuration):
    """
    Cancel a job, and wait until it is over.

    A running crawl is asked to stop, once, so that it ends cleanly. Returns ``job``, ``before`` and ``state`` (its
    states), ``signals`` (those that were sent), ``seconds``, ``finish_reason`` and ``comment``. The return code is 1,
    and the sentence in ``failed``, if it is not over.

    job
        The job. If it is unknown, that is an error.
    wait
        For how long to wait for its end, in seconds.
    force
        Whether to send a crawl that does not end a second signal, for an unclean end, and then to kill it.
    dry_run
        Whether to tell its state, and to cancel nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.cancel 6487ec79947edab326d6db28a2d86511e8247444
        salt 'registry' scrapyd.cancel 6487ec79947edab326d6db28a2d86511e8247444 wait=600 force=True
    """
    _check_number("wait", wait)
    return _call(
        configuration,
        lambda client, logs: scrapyd_cancel.cancel(client, logs, str(job), wait=wait, force=force, dry_run=dry_run),
    )


def write_reports(project=None, dry_run=False, **configuration):
    """
    Write the end of each finished log, from the statistics on, to ``JOB_report.log`` beside it.

    Returns ``written``, ``deleted`` (reports whose logs are gone), ``unchanged``, a number, and ``failed``. Reports
    are said to be forty years older than their logs, so that Scrapyd's ``jobs_to_keep`` deletes no log in favour of
    one.

    project
        The project, if not all.
    dry_run
        Whether to tell what would be written, and to write nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.write_reports
    """
    return _call(
        configuration,
        lambda client, _: scrapyd_reports.write_reports(_logs_directory(client), project, dry_run=dry_run),
    )


def deploy(checkout=None, revision="HEAD", egg=None, project=None, version=None, dry_run=False, **configuration):
    """
    Deploy spiders from a git checkout, as they are committed, or from an egg file.

    If what was uploaded cannot list its spiders, it is deleted, so that the version before stays in use. Returns
    ``project``, ``version``, ``previous`` (the version that was in use), ``deployed`` (False if that is the same),
    ``spiders``, ``added``, ``removed`` and ``notes``.

    checkout
        The checkout. The default is ``scrapyd:checkout`` in pillar.
    revision
        The commit, tag or branch.
    egg
        An egg file, instead of a checkout.
    project
        The project, which may be a new one. The default is that in pillar, else the only one.
    version
        The name of the version. The default is the time and the commit, so that it sorts last, and is known again.
    dry_run
        Whether to build it, to tell whether it would be uploaded, and to upload nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.deploy /home/collect/kingfisher-collect
        salt 'registry' scrapyd.deploy revision=5c1f2e3
        salt 'registry' scrapyd.deploy egg=/root/kingfisher.egg project=kingfisher
    """
    source = {
        "checkout": _path("checkout", checkout),
        "revision": str(revision),
        "egg": _path("egg", egg),
    }
    return _call(
        configuration,
        lambda client, _: scrapyd_deploy.deploy(
            client,
            scrapyd_deploy.Source(**source),
            project=project,
            version=None if version is None else str(version),
            dry_run=dry_run,
        ),
    )


def delete_version(version, project=None, dry_run=False, **configuration):
    """
    Delete a version that no crawl uses. Returns what is left, and which version is ``in_use`` then.

    version
        The version.
    project
        The project. The default is that in pillar, else the only one.
    dry_run
        Whether to check that it can be deleted, and to delete nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.delete_version 1768449600-5c1f2e3a4b5d
    """
    return _call(
        configuration,
        lambda client, _: scrapyd_deploy.delete_version(client, str(version), project=project, dry_run=dry_run),
    )


def delete_project(project, dry_run=False, **configuration):
    """
    Delete a project that has no pending or running crawls, with all its versions. Logs are kept.

    project
        The project.
    dry_run
        Whether to check that it can be deleted, and to delete nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.delete_project kingfisher
    """
    return _call(configuration, lambda client, _: scrapyd_deploy.delete_project(client, project, dry_run=dry_run))


def drain(timeout=300, grace=300, force=False, dry_run=False, **configuration):
    """
    Stop all crawls before a restart or a move, and write those that did not come to their end to the drain file.

    From then on, ``schedule`` refuses, until ``resume``. What others schedule meanwhile is stopped, too. If this is
    killed, it can be run again. Returns ``drained``; ``since``; ``jobs``, which will be scheduled again; ``finished``,
    which came to their own end; and ``failed``. The return code is 1 if anything failed.

    timeout
        For how long running crawls may come to their own end, in seconds. (That for requests to Scrapyd is in pillar.)
    grace
        For how long those that were asked to stop may take to do so, in seconds.
    force
        Whether to end those uncleanly that do not stop.
    dry_run
        Whether to tell what is pending and running, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.drain timeout=3600
    """
    _check_number("timeout", timeout)
    _check_number("grace", grace)
    options = {"timeout": timeout, "grace": grace, "force": force, "dry_run": dry_run}
    return _call(
        configuration,
        lambda client, logs: scrapyd_drain.drain(client, logs, scrapyd_drain.Options(**options)),
    )


def resume(drop=None, wait=60, dry_run=False, **configuration):
    """
    Schedule what ``drain`` has stopped, under its own job ids, and then allow other crawls.

    If this is killed, it can be run again: no crawl is lost or doubled. Returns ``resumed``; ``scheduled``, by job,
    with what becomes of it; and ``failed``, by job: those stay in the drain file. The return code is 1 if any did.

    drop
        A job that is not to be scheduled again, or a list of them.
    wait
        For how long to wait for Scrapyd, which may be starting, in seconds.
    dry_run
        Whether to tell what would be scheduled, and to schedule nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' scrapyd.resume
    """
    _check_number("wait", wait)
    dropped = [str(job) for job in (drop if isinstance(drop, list) else [] if drop is None else [drop])]
    return _call(
        configuration,
        lambda client, logs: scrapyd_resume.resume(client, logs, drop=dropped, wait=wait, dry_run=dry_run),
    )


def _call(configuration, function):
    """Read the settings, call the library, and turn its errors into Salt's."""
    arguments = salt.utils.args.clean_kwargs(**configuration)
    try:
        config = scrapyd_config.load(__salt__["config.get"](scrapyd_config.ROOT, {}), arguments)
        client = scrapyd_client.Client(config)
        result = function(client, scrapyd_logs.Logs(client))
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: let this user read it, and run this again") from e
    if isinstance(result, dict) and result.get("failed"):
        __context__["retcode"] = 1
        for sentence in result["failed"].values():
            LOG.error(sentence)
    return result


def _request(spider, project, version, jobid, priority, arguments, settings):
    for name, value in (("arguments", arguments), ("settings", settings)):
        if value is not None and not isinstance(value, dict):
            raise KingfisherError(f"argument {name} must be a mapping, not {value!r}")
    if priority is not None:
        _check_number("priority", priority, minimum=None)
    texts = scrapyd_schedule.texts(arguments, "argument")
    if "crawl_time" in texts:
        scrapyd_schedule.check_crawl_time(texts["crawl_time"])
    return scrapyd_schedule.Request(
        spider=str(spider),
        project=project,
        version=None if version is None else str(version),
        job=None if jobid is None else str(jobid),
        priority=priority,
        arguments=texts,
        settings=scrapyd_schedule.texts(settings or {}, "setting"),
    )


def _check_number(name, value, minimum=0):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (minimum is not None and value < minimum):
        raise SaltInvocationError(f"argument {name} must be a number{', 0 or more' * (minimum == 0)}, not {value!r}")


def _path(name, value):
    if value is None:
        return None
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise SaltInvocationError(f"argument {name} must be an absolute path, not {value!r}")
    return Path(value)


def _logs_directory(client):
    if not client.config.logs_directory:
        raise KingfisherError("scrapyd:logs_directory is not set: set it to Scrapyd's logs_dir, which must be here")
    return client.config.logs_directory


def _no_log(job):
    if job.state == "pending":
        return f"job {job.id} is pending, and has no log of this run yet: wait until it runs"
    return f"job {job.id} of {job.spider} has no log: Scrapyd keeps as many as its jobs_to_keep says"
