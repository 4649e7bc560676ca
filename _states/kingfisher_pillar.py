"""Refuse a pillar that lacks something, or has a mistyped key, before anything is changed."""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "kingfisher_pillar"


def __virtual__():
    if "kingfisher_pillar.problems" in __salt__:
        return __virtualname__
    return False, "kingfisher_pillar: the module of this name is not there: salt 'ID' saltutil.sync_all"


def checked(name, required=None, optional=None, problems=None):
    """
    Check sections of pillar. The macro ``checked`` in salt/lib.jinja puts this first, and all else after it.

    Of several such states, the first to run checks for all of them, so that one message has all that is wrong. If
    nothing is, the minion refreshes the pillar that its functions get.

    name
        What needs these sections, for the message.
    required
        The sections that must be there, a list.
    optional
        The sections that are checked if they are there.
    problems
        What the states found wrong themselves, a list of sentences.

    .. code-block:: yaml

        postgres-pillar:
          kingfisher_pillar.checked:
            - name: postgres
            - required: [postgres]
            - order: first
            - failhard: True
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The pillar is complete."}
    tag = f"{__virtualname__}_|-"
    if any(other.startswith(tag) for other in __running__):
        ret["comment"] = "It was checked above, with the others."
        return ret
    checks = [low for low in __lowstate__ if low["state"] == __virtualname__]
    checks = checks or [{"name": name, "required": required, "optional": optional, "problems": problems}]
    wrong, names = [], []
    try:
        for low in checks:
            found = [str(problem) for problem in low.get("problems") or []]
            found += __salt__["kingfisher_pillar.problems"](
                list(low.get("required") or []), list(low.get("optional") or [])
            )
            if found:
                names.append(low["name"])
            wrong += [problem for problem in found if problem not in wrong]
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    if wrong:
        ret["result"] = False
        ret["comment"] = (
            f"Nothing was changed, since {', '.join(names)} cannot be set up with the pillar of {__grains__['id']}: "
            f"{'; '.join(wrong)}. Correct the files that pillar/top.sls names for it, and apply again."
        )
    elif not __opts__["test"]:
        # States have this pillar, but functions that are called later would have what the minion got when it started.
        __salt__["saltutil.refresh_pillar"]()
    return ret
