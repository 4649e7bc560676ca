"""Remove what a role no longer has: its pillar entry has gone."""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "kingfisher_owned"
_KINDS = ("files", "units", "users", "keys", "memberships", "aliases", "crawls")
_KEPT = {
    "users": "{} may no longer log in; the home is kept, and sessions that are open go on: loginctl terminate-user {}",
    "memberships": "sessions that are open keep {} until they end",
    "crawls": "data, logs and tables of the crawls are kept",
}


def __virtual__():
    if "kingfisher_owned.prune" in __salt__:
        return __virtualname__
    return False, "kingfisher_owned: the module of this name is not there: salt 'ID' saltutil.sync_all"


def only(name, files=None, units=None, users=None, keys=None, memberships=None, aliases=None, crawls=None):
    """
    Have no more than this of what a role had before. The macro ``owned`` in salt/lib.jinja makes it.

    name
        The role.
    files
        Paths of files, which are removed.
    units
        Names of units in /etc/systemd/system, which are stopped, disabled and removed.
    users
        Names of users, who may no longer log in. Their homes are kept.
    keys
        Names of users, whose ssh keys that Salt put there are removed.
    memberships
        Users and groups, like james:adm. The user is removed from the group, unless it was in it before.
    aliases
        Names in /etc/aliases, which are removed.
    crawls
        Directories of the programs of incremental crawls, which are removed with their schedule and grants.

    .. code-block:: yaml

        kingfisher-archive-owned:
          kingfisher_owned.only:
            - name: kingfisher.archive
            - files: [/etc/cron.d/kingfisher-archive]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    wanted = dict(zip(_KINDS, (files, units, users, keys, memberships, aliases, crawls), strict=True))
    wanted = {kind: names for kind, names in wanted.items() if names}
    try:
        found = __salt__["kingfisher_owned.prune"](name, dry_run=__opts__["test"], **wanted)
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
        return ret
    ret["changes"] = {thing: {"old": kind, "new": None} for thing, kind in found["removed"].items()}
    if not ret["changes"] and not found["failed"]:
        ret["comment"] = "Nothing of it has left pillar."
        return ret
    if __opts__["test"]:
        ret["result"] = None
    sentences = []
    if found["removed"]:
        sentences.append(
            f"{', '.join(found['removed'])} {'would have been' if __opts__['test'] else 'has been'} removed, being "
            "no longer in pillar."
        )
    sentences += [_KEPT[k].format(thing, thing) + "." for thing, k in found["removed"].items() if k in _KEPT]
    sentences += found["failed"].values()
    if found["failed"]:
        ret["result"] = False
    ret["comment"] = "\n".join(sentences)
    return ret
