"""
Migrations, collections and clients of a Software Heritage deposit server, and deposits that are to be loaded again.

:configuration: pillar ``deposit``, as for the execution module of the same name
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "deposit"

_ERRORS = (CommandExecutionError, SaltInvocationError)


def __virtual__():
    # In a trial on a new host, the state minion has not installed what the module needs.
    if "deposit.reschedule" in __salt__ or __opts__["test"]:
        return __virtualname__
    return False, "deposit: its execution module cannot be used: salt 'ID' state.apply minion"


def migrated(name, **configuration):
    """
    Apply the migrations that are pending.

    name
        Any name for this state.

    .. code-block:: yaml

        deposit-migrated:
          deposit.migrated:
            - require:
              - file: /etc/softwareheritage/deposit/server.yml
            - watch_in:
              - service: swh-deposit
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if _is_to_be_installed(ret, configuration):
        return ret
    try:
        plan = __salt__["deposit.migrations"](**configuration)
        if not plan["pending"]:
            ret["comment"] = f"All {len(plan['applied'])} migrations are applied."
            return ret
        if __opts__["test"]:
            ret["result"] = None
            ret["changes"] = {"applied": plan["pending"]}
            ret["comment"] = f"{len(plan['pending'])} migrations would have been applied."
            return ret
        done = __salt__["deposit.migrate"](**configuration)
    except _ERRORS as e:
        return _failed(ret, e)
    ret["changes"] = {"applied": done["applied"]} if done["applied"] else {}
    ret["comment"] = f"{len(done['applied'])} migrations have been applied."
    return ret


def collection_present(name, **configuration):
    """
    Create a collection.

    name
        The collection.

    .. code-block:: yaml

        hal:
          deposit.collection_present
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    test = __opts__["test"]
    if _is_to_be_installed(ret, configuration):
        return ret
    try:
        done = __salt__["deposit.collection_create"](name, dry_run=test, **configuration)
    except _ERRORS as e:
        return _failed(ret, e)
    if not done["created"]:
        ret["comment"] = f"Collection {name} is present."
        return ret
    ret["result"] = None if test else True
    ret["changes"] = {"collection": {"old": None, "new": name}}
    ret["comment"] = f"Collection {name} {_done(test)} created."
    return ret


def client_present(name, collections=None, password_file=None, password_env=None, **fields):
    """
    Create a client, or change what differs. What is not given is left as it is.

    The password is that of ``clients`` in pillar, unless an argument says where else it is. It is compared with the
    hash that the server has.

    name
        The name of the client.
    collections
        The collections that it may deposit into, a name or a list. They are created if missing.
    password_file
        A file that has the password, with mode 0600.
    password_env
        A variable, in the environment of the minion or of salt-call, that has the password.

    All other arguments are first_name, last_name, email, is_active, provider_url, domain, and settings.

    .. code-block:: yaml

        hal:
          deposit.client_present:
            - collections: [hal]
            - provider_url: https://hal.science/
            - domain: hal.science
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    test = __opts__["test"]
    if _is_to_be_installed(ret, fields):
        return ret
    wanted = {"collections": collections, "password_file": password_file, "password_env": password_env, **fields}
    try:
        found = _client(name, fields)
        if found:
            done = __salt__["deposit.client_update"](name, pillar_password=True, dry_run=test, **wanted)
        else:
            done = __salt__["deposit.client_create"](name, dry_run=test, **wanted)
    except _ERRORS as e:
        return _failed(ret, e)
    active = fields.get("is_active", found["is_active"] if found else True)
    note = "" if active else " It is not active, and cannot deposit."
    if found and not done["changes"]:
        ret["comment"] = f"Client {name} is as it should be.{note}"
        return ret
    ret["result"] = None if test else True
    ret["changes"] = done["changes"] if found else {"client": {"old": None, "new": name}, **done["changes"]}
    ret["comment"] = f"Client {name} {_done(test)} {'changed' if found else 'created'}.{note}"
    return ret


def client_absent(name, **configuration):
    """
    Delete a client or, since deposits name the client who made them, deactivate one who has deposited.

    name
        The name of the client.

    .. code-block:: yaml

        hal:
          deposit.client_absent
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    test = __opts__["test"]
    if _is_to_be_installed(ret, configuration):
        return ret
    try:
        found = _client(name, configuration)
        if not found:
            ret["comment"] = f"There is no client {name}."
            return ret
        if not found["deposits"]:
            __salt__["deposit.client_delete"](name, dry_run=test, **_settings(configuration))
            ret["changes"] = {"client": {"old": name, "new": None}}
            ret["comment"] = f"Client {name} {_done(test)} deleted."
        elif found["is_active"]:
            __salt__["deposit.client_update"](name, is_active=False, dry_run=test, **_settings(configuration))
            ret["changes"] = {"is_active": {"old": True, "new": False}}
            ret["comment"] = f"Client {name} {_done(test)} deactivated, since {found['deposits']} deposits name it."
        else:
            ret["comment"] = f"Client {name} is deactivated, since {found['deposits']} deposits name it."
            return ret
    except _ERRORS as e:
        ret["changes"] = {}
        return _failed(ret, e)
    ret["result"] = None if test else True
    return ret


def rescheduled(name, deposits=None, status=None, since=None, **configuration):
    """
    Load deposits again that failed, and repair those that are verified without a task that is due.

    A deposit that is done is left alone: this state has no way to tell whether it was done before or after. Use the
    function ``deposit.reschedule`` for it.

    name
        Any name for this state.
    deposits
        A list of ids.
    status
        Instead of ids: ``failed``, for all that failed.
    since
        With ``status``: only deposits that were complete or received since then, like 2026-01-31.

    .. code-block:: yaml

        loader-fixed:
          deposit.rescheduled:
            - deposits: [1234, 1235]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if status not in (None, "failed"):
        return _failed(ret, f"argument status must be failed, not {status!r}: deposit.reschedule takes others")
    wanted = {"deposit": deposits, "status": status, "since": since, **configuration}
    try:
        plan = __salt__["deposit.reschedule"](dry_run=True, **wanted)
        ids = [int(number) for number, entry in plan["deposits"].items() if _is_due(entry)]
        failed = {
            k: v for k, v in plan["failed"].items() if plan["deposits"][k].get("before") not in ("loading", "done")
        }
        if not ids or __opts__["test"]:
            found = {number: plan["deposits"][str(number)] for number in ids}
        else:
            done = __salt__["deposit.reschedule"](deposit=ids, **configuration)
            found, failed = done["deposits"], failed | done["failed"]
    except _ERRORS as e:
        return _failed(ret, e)
    ret["changes"] = {
        f"deposit {number}": {"old": entry["before"], "new": "verified, and its task due"}
        for number, entry in found.items()
        if entry["outcome"] == "rescheduled"
    }
    if failed:
        return _failed(ret, "\n".join(failed.values()))
    if not ret["changes"]:
        ret["comment"] = "No deposit is to be rescheduled."
        return ret
    ret["result"] = None if __opts__["test"] else True
    ret["comment"] = f"{len(ret['changes'])} deposits {_done(__opts__['test'])} rescheduled."
    return ret


def _is_due(entry):
    return entry["outcome"] == "rescheduled" and entry["before"] != "done"


def _is_to_be_installed(ret, configuration):
    """Whether this is a trial on a host that other states make a server first. The return then says so."""
    default = __salt__["config.get"]("deposit:configuration_file") or "/etc/softwareheritage/deposit/server.yml"
    file = str(configuration.get("configuration_file") or default)
    if not __opts__["test"] or Path(file).exists():
        return False
    ret["result"] = None
    ret["comment"] = f"{file} is not there yet: this would have been looked at once the server is installed."
    return True


def _client(name, configuration):
    clients = __salt__["deposit.client_list"](**_settings(configuration))
    return next((client for client in clients if client["username"] == name), None)


def _settings(given):
    """Return the arguments that are settings, and not fields of a client."""
    fields = ("first_name", "last_name", "email", "is_active", "provider_url", "domain", "password")
    return {key: value for key, value in given.items() if key not in fields}


def _done(test):
    return "would have been" if test else "has been"


def _failed(ret, why):
    ret["result"] = False
    ret["comment"] = str(why)
    return ret
