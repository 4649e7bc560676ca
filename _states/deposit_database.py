"""Look after the database of a Software Heritage deposit server, where it is on the server's own host."""

from shutil import which

from salt.exceptions import CommandExecutionError

__virtualname__ = "deposit_database"


def __virtual__():
    # In a trial on a new host, the state minion has not installed what the module needs.
    if "deposit.database_password" in __salt__ or __opts__["test"]:
        return __virtualname__
    return False, "deposit_database: the module deposit cannot be used: salt 'ID' state.apply minion"


def password(name, **kwargs):
    """
    Give the database's role the password that is in pillar, unless it opens the server already.

    name
        The role, which is that of ``deposit:server:config:private:db:user``.

    .. code-block:: yaml

        swhdeposit:
          deposit_database.password
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"The password of {name} is that in pillar."}
    if __opts__["test"] and not which("psql"):
        comment = f"PostgreSQL is not there yet: the password of {name} would have been set."
        return {**ret, "result": None, "comment": comment}
    try:
        changed = __salt__["deposit.database_password"](dry_run=__opts__["test"])
    except CommandExecutionError as e:
        return {**ret, "result": False, "comment": str(e)}
    if not changed:
        return ret
    ret["changes"] = {"password": {"old": "**", "new": "**"}}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"The password of {name} would have been set."}
    return {**ret, "comment": f"The password of {name} has been set."}
