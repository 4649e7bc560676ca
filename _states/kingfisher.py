"""
Archive the crawls of Kingfisher Collect, as a state.

:configuration: pillar ``kingfisher_archive``, as for the execution module of the same name
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "kingfisher"


def __virtual__():
    if "kingfisher.archive" in __salt__:
        return __virtualname__
    return False, "kingfisher: its execution module cannot be used: salt 'ID' state.apply minion"


def archived(name, source=None, limit=None, refresh=False, **settings):
    """
    Archive the crawls that are worth it. In test mode, tell which those are.

    name
        Any name for this state.
    source
        The source to consider, or a list of them, if not all.
    limit
        How many crawls to archive at most.
    refresh
        Whether to look at every crawl, log and archive again, whatever is remembered of them.

    Any setting of pillar ``kingfisher_archive`` can be given here instead, except for secrets.

    .. code-block:: yaml

        everything-archived:
          kingfisher.archived:
            - source: kyrgyzstan
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    wanted = {"source": source, "limit": limit, **settings}
    try:
        plan = __salt__["kingfisher.archive"](dry_run=True, refresh=refresh, **wanted)
        planned = {
            crawl_id: entry["destination"]
            for crawl_id, entry in plan["crawls"].items()
            if entry["decision"] == "archive" and crawl_id not in plan["failed"]
        }
        if __opts__["test"]:
            ret["changes"] = _moved(planned)
            return _told(ret, len(planned), plan["failed"], None if planned else True)
        if not planned:
            return _told(ret, 0, plan["failed"], True)
        done = __salt__["kingfisher.archive"](refresh=refresh, **wanted)
        moved = {
            crawl_id: entry["destination"]
            for crawl_id, entry in done["crawls"].items()
            if entry.get("result") == "archived"
        }
        ret["changes"] = _moved(moved)
        left = __salt__["kingfisher.archive"](dry_run=True, **wanted)["crawls"] if moved else {}
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    still = {crawl_id: f"{crawl_id} was archived, and is still on disk" for crawl_id in moved if crawl_id in left}
    return _told(ret, len(moved), {**still, **done["failed"]}, True)


def _moved(destinations):
    return {crawl_id: {"old": "on disk", "new": destination} for crawl_id, destination in destinations.items()}


def _told(ret, count, failed, result):
    """Fill in the comment, and the result that there is if nothing failed."""
    crawls = "1 crawl" if count == 1 else f"{count} crawls"
    if not count:
        sentence = "There is nothing to archive."
    elif result is None:
        sentence = f"{crawls} would have been archived."
    else:
        sentence = f"{crawls} {'has' if count == 1 else 'have'} been archived."
    ret["result"] = False if failed else result
    ret["comment"] = "\n".join([sentence, *failed.values()]) if count or not failed else "\n".join(failed.values())
    return ret
