"""
The incremental crawls of Kingfisher Collect, as one state for the whole list.

:configuration: pillar ``python_apps:kingfisher_collect``, as for the execution module ``kingfisher``
"""

from importlib.util import find_spec

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "kingfisher_incremental"


def __virtual__():
    if "kingfisher.apply_crawls" in __salt__:
        return __virtualname__
    return False, "kingfisher_incremental: the module kingfisher cannot be used: salt 'ID' state.apply minion"


def crawls(name, **kwargs):
    """
    Have those incremental crawls that are in pillar: script, schedule, directories and database grants of each.

    A crawl that is no longer in pillar is removed. Its data, logs and tables are kept. In test mode,
    tell what differs.

    name
        Any name for this state.

    .. code-block:: yaml

        kingfisher-incremental-crawls:
          kingfisher_incremental.crawls: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if __opts__["test"] and not find_spec("psycopg2"):  # a trial on a new host, where the state minion changed nothing
        ret["result"] = None
        ret["comment"] = "The incremental crawls would have been compared with pillar, once psycopg2 is installed."
        return ret
    try:
        plan = __salt__["kingfisher.apply_crawls"](dry_run=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    ret["changes"] = {**plan["shared"], **plan["crawls"]}
    if __opts__["test"] and ret["changes"]:
        ret["result"] = None
    return _told(ret, plan)


def _told(ret, plan):
    """Fill in the comment, and the result that there is if anything failed."""
    would = ret["result"] is None
    sentences = []
    if not ret["changes"]:
        sentences.append("The incremental crawls are those of pillar.")
    counts = {"added": 0, "changed": 0, "removed": 0}
    for change in plan["crawls"].values():
        kind = "added" if change["old"] is None else "removed" if change["new"] is None else "changed"
        counts[kind] += 1
    sentences += [
        f"{count} crawl{'s' * (count > 1)} {_verb(count, would)} {kind}." for kind, count in counts.items() if count
    ]
    if ret["changes"] and plan["shared"]:
        sentences.append(f"{_list(plan['shared'])} {_verb(len(plan['shared']), would)} changed.")
    sentences += [f"Of {key}, these are kept: {', '.join(paths)}." for key, paths in plan["kept"].items()]
    sentences += [*plan["notes"], *plan["failed"].values()]
    ret["comment"] = "\n".join(sentences)
    if plan["failed"]:
        ret["result"] = False
    return ret


def _verb(count, would):
    if would:
        return "would have been"
    return "has been" if count == 1 else "have been"


def _list(names):
    text = " and ".join(sorted(names))
    return f"{text[:1].upper()}{text[1:]}"
