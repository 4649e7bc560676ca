"""
The functions of the execution module ``kingfisher``, for salt-ssh.

salt-ssh gives a server its pillar only with states, in a file that root alone reads. So a function is run by a state.
"""

from salt.exceptions import CommandExecutionError

_FUNCTIONS = (
    "archive",
    "archives",
    "coverage",
    "crawls",
    "incremental_status",
    "apply_crawls",
    "prune",
    "restore",
    "run_crawl",
    "verify",
)
_STATE = "kingfisher_function.run"


def _wrapped(function):
    def run(*args, **kwargs):
        kwargs = {name: value for name, value in kwargs.items() if not name.startswith("__")}
        # A state that fails is an exception in Salt 3008, with what it returned inside.
        try:
            ret = __salt__["state.single"](
                _STATE, f"kingfisher.{function}", args=list(args), kwargs=kwargs, test=False
            )
        except CommandExecutionError as e:
            ret = getattr(e, "parsed", None)
        for key in ("local", "return"):
            ret = ret[key] if isinstance(ret, dict) and key in ret else ret
        try:
            (state,) = ret.values()
        except (AttributeError, ValueError):
            raise CommandExecutionError(f"kingfisher.{function} could not be run: {ret}") from None
        if not state["result"]:
            __context__["retcode"] = 1
        return state["changes"]["ret"] if "ret" in state["changes"] else state["comment"]

    run.__name__ = function
    run.__doc__ = f"Run kingfisher.{function} on the server: see its own documentation."
    return run


for _function in _FUNCTIONS:
    globals()[_function] = _wrapped(_function)
