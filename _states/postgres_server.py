"""
The PostgreSQL server of this host, as it is in pillar ``postgres``: roles, databases, configuration, replication.

Its roles, databases, configuration and replication are those of pillar ``postgres``.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "postgres_server"


def __virtual__():
    if "postgres_server.configure" in __salt__:
        return __virtualname__
    return False, "postgres_server: the module postgres_server cannot be used: salt 'ID' saltutil.sync_all"


def configured(name, **kwargs):
    """
    Have those roles, databases, schemas and privileges that are in pillar.

    name
        Any name for this state.

    .. code-block:: yaml

        postgres-roles-and-databases:
          postgres_server.configured
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        done = __salt__["postgres_server.configure"](dry_run=__opts__["test"])
    except CommandExecutionError as e:
        return {**ret, "result": False, "comment": str(e)}
    ret["changes"] = done["changes"]
    said = "The server is as pillar says."
    if done["changes"]:
        verb = "would have been" if __opts__["test"] else "has been"
        said = f"{', '.join(done['changes'])} {verb} changed."
        ret["result"] = None if __opts__["test"] else True
    return {**ret, "comment": "\n".join([f"{said[:1].upper()}{said[1:]}", *done["notes"]])}


def reloaded(name, unit, files=(), **kwargs):
    """
    Have a configuration that PostgreSQL takes. If it changed, let PostgreSQL read it, and restart if only that helps.

    To be used with ``watch``. Without a change, a configuration that was refused before is still a failure, and one
    that was written and not read is read now.

    name
        Any name for this state.
    unit
        The systemd unit, like postgresql@17-main.
    files
        Paths of the configuration that Salt writes.

    .. code-block:: yaml

        postgres-reloaded:
          postgres_server.reloaded:
            - unit: postgresql@17-main
            - files:
              - /etc/postgresql/17/main/pg_hba.conf
            - watch:
              - file: postgres-configuration
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{unit} takes its configuration."}
    try:
        if not __salt__["postgres_server.is_loaded"](files):
            return mod_watch(name, unit)
        if not __opts__["test"]:
            __salt__["postgres_server.check_configuration"]()
    except CommandExecutionError as e:
        # A trial may come before there is a server.
        return ret if __opts__["test"] else {**ret, "result": False, "comment": str(e)}
    return ret


def mod_watch(name, unit, **kwargs):
    """
    Let PostgreSQL read its configuration, which changed. It is what ``reloaded`` does with ``watch``.

    name
        Any name for this state.
    unit
        The systemd unit, like postgresql@17-main.
    """
    ret = {"name": name, "result": True, "changes": {unit: {"old": None, "new": "reloaded"}}, "comment": ""}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"{unit} would have been reloaded, or restarted."}
    try:
        how = __salt__["postgres_server.reload"](unit)
    except CommandExecutionError as e:
        return {**ret, "result": False, "changes": {}, "comment": str(e)}
    return {**ret, "changes": {unit: {"old": None, "new": how}}, "comment": f"{unit} has been {how}."}


def replica(name, version, passfile, **kwargs):
    """
    Have a copy of the primary that follows it. A cluster that is no replica is never overwritten.

    name
        The data directory.
    version
        The version of PostgreSQL here, and there.
    passfile
        A file with the password, as libpq has it.

    .. code-block:: yaml

        /var/lib/postgresql/17/main:
          postgres_server.replica:
            - version: 17
            - passfile: /var/lib/postgresql/.pgpass
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is a replica."}
    try:
        changed = __salt__["postgres_server.make_replica"](name, version, passfile, dry_run=__opts__["test"])
    except CommandExecutionError as e:
        return {**ret, "result": False, "comment": str(e)}
    if not changed:
        return ret
    ret["changes"] = {name: {"old": None, "new": "replica"}}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"The primary would have been copied to {name}."}
    return {**ret, "comment": f"The primary has been copied to {name}."}


def no_replica(name, **kwargs):
    """
    Fail if a replica is here, which pillar does not say any more: only a person may make it a server of its own.

    name
        The data directory.

    .. code-block:: yaml

        /var/lib/postgresql/17/main:
          postgres_server.no_replica
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is no replica."}
    if __salt__["postgres_server.is_replica"](name):
        ret["result"] = False
        ret["comment"] = (
            f"{name} is a replica, and pillar has no postgres:replication: put it back, or make the replica a server "
            "of its own with pg_ctlcluster VERSION main promote"
        )
    return ret
