"""Have the ssh keys of pillar in authorized_keys, and users who may log in."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "kingfisher_login"


def __virtual__():
    if "kingfisher_login.set_keys" in __salt__:
        return __virtualname__
    return False, "kingfisher_login: the module of this name is not there: salt 'ID' saltutil.sync_all"


def keys(name, keys):
    """
    Have these keys in a user's authorized_keys, between marks. Other people's lines stay as they are.

    name
        The user.
    keys
        Public keys, a list.

    .. code-block:: yaml

        core-keys-root:
          kingfisher_login.keys:
            - name: root
            - keys: [ssh-ed25519 AAAA… James]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} has the keys of pillar."}
    test = __opts__["test"]
    try:
        if test and not __salt__["user.info"](name):
            old, new, differs, also = [], keys, bool(keys), []
        else:
            done = __salt__["kingfisher_login.set_keys"](name, keys, dry_run=test)
            old, new, differs, also = done["old"], done["new"], done["differs"], done["also"]
    except CommandExecutionError as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    if differs:
        ret["result"] = None if test else True
        ret["changes"] = {"removed": [k for k in old if k not in new], "added": [k for k in new if k not in old]}
        ret["comment"] = f"The keys of {name} {'would have been' if test else 'have been'} changed."
    for key in also:
        ret["comment"] += f"\nStill there, outside of the lines that are Salt's: {key}."
    return ret


def opened(name):
    """
    Let a user log in who is in pillar again.

    name
        The user.

    .. code-block:: yaml

        core-user-james-opened:
          kingfisher_login.opened:
            - name: james
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} may log in."}
    test = __opts__["test"]
    try:
        if not __salt__["user.info"](name) or not __salt__["kingfisher_login.is_closed"](name):
            return ret
        ret["changes"] = {"login": {"old": "closed", "new": "open"}}
        if test:
            ret["result"] = None
            ret["comment"] = f"{name} would have been let in again."
            return ret
        __salt__["kingfisher_login.reopen"](name)
        ret["comment"] = f"{name} has been let in again."
    except CommandExecutionError as e:
        ret["result"] = False
        ret["changes"] = {}
        ret["comment"] = str(e)
    return ret
