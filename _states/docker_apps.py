"""
Applications that run under Docker Compose: up, stopped, or taken down since they have left pillar.

:configuration: pillar ``docker_apps``, as for the execution module of the same name
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "docker_apps"

_ERRORS = (CommandExecutionError, SaltInvocationError)


def __virtual__():
    if "docker_apps.up" in __salt__:
        return __virtualname__
    return False, "docker_apps: its execution module cannot be used: salt 'ID' state.apply minion"


def running(name):
    """
    Pull images that are missing, migrate the database if they are new, and bring an application up.

    While ``maintenance:halted`` is set in pillar, its workers are stopped instead. Images that are here are not pulled
    again: ``docker_apps.update`` does that. If it is not well with other images than before, it is rolled back.

    name
        The application, as in pillar.

    .. code-block:: yaml

        registry:
          docker_apps.running:
            - watch:
              - file: /data/deploy/data-registry/.env
    """
    return _apply(name, "docker_apps.up", name)


def stopped(name, services=None):
    """
    Stop an application, or some of its services.

    name
        The application, as in pillar.
    services
        A list of services. The default is all of them.

    .. code-block:: yaml

        registry:
          docker_apps.stopped:
            - services: [exporter]
    """
    return _apply(name, "docker_apps.stop", name, services=services)


def pruned(name):
    """
    Take down the applications that have left pillar, with their networks and files. Volumes are kept.

    name
        Any name for this state.

    .. code-block:: yaml

        docker-apps-pruned:
          docker_apps.pruned
    """
    return _apply(name, "docker_apps.prune")


def mod_watch(name, sfun=None, **kwargs):
    """Say in test mode that what runs would change with its files. Otherwise, the state itself has seen to it."""
    if sfun == "running" and __opts__["test"]:
        return {
            "name": name,
            "result": None,
            "changes": {name: {"old": "as its files were", "new": "as its files will be"}},
            "comment": f"{name} would have been brought up again with its new files.",
        }
    return {"name": name, "result": True, "changes": {}, "comment": "What runs is as the files say."}


def _apply(name, function, *args, **kwargs):
    """Do what the function says it would, unless it would do nothing."""
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        done = __salt__[function](*args, dry_run=__opts__["test"], **kwargs)
    except _ERRORS as e:
        return ret | {"result": False, "comment": str(e)}
    ret["changes"] = done["changes"]
    notes = [*([done["comment"]] if "comment" in done else []), *done.get("notes", [])]
    ret["comment"] = " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes) or _said(done, __opts__["test"])
    if __opts__["test"] and ret["changes"]:
        ret["result"] = None
    return ret


def _said(done, test):
    if not done["changes"]:
        return "Every application of ours is in pillar."
    names = ", ".join(done["changes"])
    return f"{names} {'would have been' if test else 'has been'} taken down."
