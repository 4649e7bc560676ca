"""Run an execution function, for salt-ssh: see _wrapper/kingfisher.py."""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "kingfisher_function"


def __virtual__():
    return __virtualname__


def run(name, args=None, kwargs=None):
    """
    Run a function, whose return is ``ret`` in ``changes``.

    name
        The function, like kingfisher.archive.
    args
        Its arguments, a list.
    kwargs
        Its keyword arguments, a mapping.

    .. code-block:: yaml

        archive-dry-run:
          kingfisher_function.run:
            - name: kingfisher.archive
            - kwargs:
                dry_run: True
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    if __opts__["test"] and not (kwargs or {}).get("dry_run"):
        ret["result"] = None
        ret["comment"] = f"{name} would have been run."
        return ret
    try:
        ret["changes"] = {"ret": __salt__[name](*(args or []), **(kwargs or {}))}
    except (CommandExecutionError, SaltInvocationError) as e:
        ret["result"] = False
        ret["comment"] = str(e)
    if __context__.get("retcode"):
        ret["result"] = False
    return ret
