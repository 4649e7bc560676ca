"""
Spiders that are deployed, a crawl that is scheduled once, and a Scrapyd that is drained for a restart.

:configuration: pillar ``scrapyd``, as for the execution module of the same name

A restart that a state causes, without losing a crawl:

.. code-block:: yaml

    scrapyd-drained:
      scrapyd.drained:
        - timeout: 600
        - prereq:
          - service: scrapyd-restarted

    scrapyd-restarted:
      service.running:
        - name: scrapyd
        - watch:
          - file: /home/collect/scrapyd/scrapyd.conf

    scrapyd-resumed:
      scrapyd.resumed:
        - require:
          - service: scrapyd-restarted
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "scrapyd"

_ERRORS = (CommandExecutionError, SaltInvocationError)


def __virtual__():
    if "scrapyd.schedule" in __salt__:
        return __virtualname__
    return False, "scrapyd: its execution module cannot be used: salt 'ID' state.apply minion"


def deployed(name, checkout=None, revision="HEAD", egg=None, project=None, version=None, **configuration):
    """
    Deploy spiders, unless what is in use is the same. If what was uploaded does not work, the version before stays.

    name
        Any name for this state.
    checkout
        The git checkout. The default is ``scrapyd:checkout`` in pillar.
    revision
        The commit, tag or branch.
    egg
        An egg file, instead of a checkout.
    project
        The project. The default is that in pillar, else the only one.
    version
        The name of the version. The default is the time and the commit.

    .. code-block:: yaml

        kingfisher-collect-deployed:
          scrapyd.deployed:
            - checkout: /home/collect/kingfisher-collect
            - revision: main
            - require:
              - git: kingfisher-collect
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    wanted = {"checkout": checkout, "revision": revision, "egg": egg, "project": project, "version": version}
    wanted |= configuration
    try:
        plan = __salt__["scrapyd.deploy"](dry_run=True, **wanted)
        if plan["version"] == plan["previous"]:
            ret["comment"] = _noted(f"Version {plan['version']} of {plan['project']} is in use.", plan)
            return ret
        if __opts__["test"]:
            ret["result"] = None
            ret["changes"] = {"version": {"old": plan["previous"], "new": plan["version"]}}
            ret["comment"] = _noted(f"Version {plan['version']} of {plan['project']} would have been deployed.", plan)
            return ret
        done = __salt__["scrapyd.deploy"](**wanted)
        in_use = __salt__["scrapyd.versions"](project=done["project"], **configuration)[-1]
    except _ERRORS as e:
        return _failed(ret, e)
    ret["changes"] = {"version": {"old": done["previous"], "new": done["version"]}}
    for key in ("added", "removed"):
        if done[key]:
            ret["changes"][f"spiders {key}"] = done[key]
    if in_use != done["version"]:
        return _failed(ret, f"version {done['version']} was deployed, and version {in_use} is in use")
    ret["comment"] = _noted(f"Version {done['version']} of {done['project']} has been deployed.", done)
    return ret


def scheduled(
    name,
    spider,
    project=None,
    arguments=None,
    settings=None,
    priority=None,
    version=None,
    **configuration,
):
    """
    Schedule one crawl for this name, whatever the number of applies.

    name
        A name for the crawl. Another name is another crawl.
    spider
        The spider.
    project
        The project. The default is that in pillar, else the only one.
    arguments
        Spider arguments, a mapping, like note and crawl_time.
    settings
        Scrapy settings, a mapping.
    priority
        A number. Of the crawls that are pending, the one with the highest begins first.
    version
        The version of the project. The default is the one in use.

    .. code-block:: yaml

        kyrgyzstan-2026:
          scrapyd.scheduled:
            - spider: kyrgyzstan
            - arguments:
                note: Started by NAME.
                from_date: '2026-01-01'
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    wanted = {
        "spider": spider,
        "project": project,
        "arguments": arguments,
        "settings": settings,
        "priority": priority,
        "version": version,
        **configuration,
    }
    try:
        plan = __salt__["scrapyd.schedule_once"](name, dry_run=True, **wanted)
        if plan["state"]:
            ret["comment"] = f"It was scheduled before, as job {plan['job']}: {plan['state']}."
            return ret
        ret["changes"] = {"job": {"old": None, "new": plan["job"]}}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"A crawl of {spider} would have been scheduled, as job {plan['job']}."
            return ret
        done = __salt__["scrapyd.schedule_once"](name, **wanted)
    except _ERRORS as e:
        ret["changes"] = {}
        return _failed(ret, e)
    if not done["scheduled"]:
        ret["changes"] = {}
    ret["comment"] = f"A crawl of {spider} has been scheduled, as job {done['job']}: {done['log']}"
    return ret


def drained(name, timeout=300, grace=300, force=False, **configuration):
    """
    Stop all crawls, and remember those that did not come to their end. Use it with ``prereq``, before a restart.

    name
        Any name for this state.
    timeout
        For how long running crawls may come to their own end, in seconds.
    grace
        For how long those that were asked to stop may take to do so, in seconds.
    force
        Whether to end those uncleanly that do not stop.

    .. code-block:: yaml

        scrapyd-drained:
          scrapyd.drained:
            - prereq:
              - service: scrapyd
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        plan = __salt__["scrapyd.drain"](dry_run=True, **configuration)
        if plan["drained"]:
            ret["comment"] = f"It is drained since {plan['since']}, and {_crawls(plan['jobs'])} wait."
            return ret
        ret["changes"] = {"drained": {"old": False, "new": True}}
        if __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"{_crawls(plan['pending'] + plan['running'])} would have been stopped."
            return ret
        done = __salt__["scrapyd.drain"](timeout=timeout, grace=grace, force=force, **configuration)
    except _ERRORS as e:
        ret["changes"] = {}
        return _failed(ret, e)
    ret["changes"]["drained"]["new"] = done["drained"]
    if done["jobs"]:
        ret["changes"]["to be scheduled again"] = sorted(done["jobs"])
    if done["failed"]:
        return _failed(ret, "\n".join(done["failed"].values()))
    ret["comment"] = (
        f"It has been drained: {_crawls(done['finished'])} came to their end, and {_crawls(done['jobs'])} wait."
    )
    return ret


def resumed(name, wait=60, **configuration):
    """
    Schedule what was drained, under its own job ids, and allow other crawls.

    name
        Any name for this state.
    wait
        For how long to wait for Scrapyd, which may be starting, in seconds.

    .. code-block:: yaml

        scrapyd-resumed:
          scrapyd.resumed:
            - require:
              - service: scrapyd
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        plan = __salt__["scrapyd.resume"](dry_run=True, **configuration)
        if plan["resumed"]:
            ret["comment"] = "It is not drained."
            return ret
        ret["changes"] = {"drained": {"old": True, "new": False}}
        if __opts__["test"]:
            ret["result"] = None
            ret["changes"] |= _again(plan)
            ret["comment"] = f"{_crawls(plan['scheduled'])} would have been scheduled."
            return ret
        done = __salt__["scrapyd.resume"](wait=wait, **configuration)
    except _ERRORS as e:
        ret["changes"] = {}
        return _failed(ret, e)
    ret["changes"]["drained"]["new"] = not done["resumed"]
    ret["changes"] |= _again(done)
    if done["failed"]:
        return _failed(ret, "\n".join(done["failed"].values()))
    ret["comment"] = f"{_crawls(done['scheduled'])} have been scheduled."
    return ret


def absent(name, project=None, version=None, job=None, wait=60, force=False, **configuration):
    """
    Delete a project, or a version of it, or cancel a job. Give a version, or a job, or neither for a whole project.

    name
        The project, unless it is given as such.
    project
        The project.
    version
        The version.
    job
        The job.
    wait
        For how long to wait for the end of a job, in seconds.
    force
        Whether to end a job uncleanly that does not stop.

    .. code-block:: yaml

        kingfisher:
          scrapyd.absent:
            - version: 1768449600-5c1f2e3a4b5d
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if version is not None and job is not None:
        return _failed(ret, "arguments version and job: give one of them")
    where = project or name
    try:
        if job is not None:
            return _cancelled(ret, str(job), wait, force, configuration)
        there = [name for name in __salt__["scrapyd.projects"](**configuration) if name == where]
        if there and version is not None:
            there = __salt__["scrapyd.versions"](project=where, version=version, **configuration)
        what = f"Project {where}" if version is None else f"Version {version} of {where}"
        if not there:
            ret["comment"] = f"{what} is absent."
            return ret
        function, given = ("scrapyd.delete_project", (where,)) if version is None else ("scrapyd.delete_version", ())
        wanted = configuration if version is None else {"version": str(version), "project": where, **configuration}
        __salt__[function](*given, dry_run=__opts__["test"], **wanted)
    except _ERRORS as e:
        return _failed(ret, e)
    ret["changes"] = {"project" if version is None else "version": {"old": there[0], "new": None}}
    ret["result"] = None if __opts__["test"] else True
    ret["comment"] = f"{what} {'would have been' if __opts__['test'] else 'has been'} deleted."
    return ret


def _cancelled(ret, job, wait, force, configuration):
    found = __salt__["scrapyd.jobs"](limit=0, **configuration)
    active = {entry["job"]: state for state in ("pending", "running") for entry in found[state]}
    if job not in active:
        ret["comment"] = f"Job {job} is neither pending nor running."
        return ret
    done = __salt__["scrapyd.cancel"](job, wait=wait, force=force, dry_run=__opts__["test"], **configuration)
    if done.get("failed"):
        return _failed(ret, "\n".join(done["failed"].values()))
    ret["changes"] = {"job": {"old": active[job], "new": None if __opts__["test"] else done["state"]}}
    ret["result"] = None if __opts__["test"] else True
    ret["comment"] = f"{done['comment'].replace('job', 'Job', 1)}."
    return ret


def _again(result):
    return {"scheduled": sorted(result["scheduled"])} if result["scheduled"] else {}


def _crawls(items):
    return "1 crawl" if len(items) == 1 else f"{len(items)} crawls"


def _noted(sentence, result):
    return "\n".join([sentence, *result["notes"]])


def _failed(ret, why):
    ret["result"] = False
    ret["comment"] = str(why)
    return ret
