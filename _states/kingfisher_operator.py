"""
The files with which a user of this machine deploys spiders.

:configuration: pillar ``kingfisher_operators``, as for the execution module ``kingfisher``
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "kingfisher_operator"


def __virtual__():
    if "kingfisher.configure_operator" in __salt__:
        return __virtualname__
    return False, "kingfisher_operator: the module kingfisher cannot be used: salt 'ID' state.apply minion"


def configured(name, **kwargs):
    """
    Have a user's entries in ~/.netrc and ~/.config/scrapy.cfg. In test mode, tell what differs.

    name
        The user.

    .. code-block:: yaml

        james:
          kingfisher_operator.configured: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if __opts__["test"] and name in __salt__["config.get"]("users", {}) and not __salt__["user.info"](name):
        ret["result"] = None
        ret["comment"] = f"{name} would have been given the entries that pillar has, once there is this user."
        return ret
    try:
        ret["changes"] = __salt__["kingfisher.configure_operator"](name, dry_run=__opts__["test"])
        if ret["changes"] and __opts__["test"]:
            ret["result"] = None
            ret["comment"] = f"{' and '.join(ret['changes'])} of {name} would have been changed."
            return ret
        left = __salt__["kingfisher.configure_operator"](name, dry_run=True) if ret["changes"] else {}
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    if left:
        ret["result"] = False
        ret["comment"] = f"{' and '.join(left)} of {name} was changed, and still differs"
    elif ret["changes"]:
        verb = "has" if len(ret["changes"]) == 1 else "have"
        ret["comment"] = f"{' and '.join(ret['changes'])} of {name} {verb} been changed."
    else:
        ret["comment"] = f"{name} has the entries that pillar has."
    return ret
