"""
Run the deposit's own programs, and our script in its Python.

What is secret goes by standard input. Of the environment, what would lead them astray is left out.
"""

from __future__ import annotations

import json
import os
import pkgutil
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import KingfisherError
from .config import ROOT, Config

#: How PostgreSQL is told whose connections these are, so that they are found again.
APPLICATION = "kingfisher-salt deposit"
# Of Salt's own Python, and of another deposit.
_ASTRAY = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DJANGO_SETTINGS_MODULE")


class ToolError(KingfisherError):
    """A program of the deposit failed. ``said`` is the end of what it wrote."""

    def __init__(self, text: str, said: str) -> None:
        super().__init__(text)
        self.said = said


def script(config: Config, function: str, **payload: Any) -> Any:
    """
    Call a function of inside.py in the deposit's Python, and return what it returned.

    Script and payload go by standard input, so that neither the process list nor a file ever has them.

    :raises KingfisherError: if it raises its own ``Refused``, with that text, or fails in another way
    """
    source = pkgutil.get_data(__package__, "inside.py")
    assert source is not None
    asked = json.dumps({"function": function, "platform": config.platform, "payload": payload})
    answer = json.loads(
        _run(config, ["python3", "-"], config.timeout, {}, f"{source.decode()}\nmain({asked!r})\n").splitlines()[-1]
    )
    if "refused" in answer:
        raise KingfisherError(answer["refused"])
    return answer["result"]


def django(config: Config, *arguments: str, timeout: float = 0, environment: dict[str, str] | None = None) -> str:
    """
    Run django-admin, and return what it printed.

    :raises ToolError: if it fails
    """
    return _run(config, ["django-admin", *arguments], timeout or config.timeout, environment or {}, "")


def _run(config: Config, command: list[str], timeout: float, environment: dict[str, str], text: str) -> str:
    program = config.bin_directory / command[0]
    try:
        process = subprocess.Popen(
            [program, *command[1:]],
            env=_environment(config) | environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            **_person(config),
        )
    except OSError as e:
        raise KingfisherError(
            f"{ROOT}:bin_directory: {program} cannot be run ({e.strerror}): salt 'ID' state.apply swh.deposit, or "
            "correct the setting"
        ) from e
    with process:
        try:
            out, err = process.communicate(text, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise KingfisherError(
                f"{command[0]} of the deposit did not end within {timeout:g} s, and was stopped: look at the "
                f"database, or raise {ROOT}:timeout"
            ) from None
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        said = _last_line(err) or _last_line(out) or f"exit code {process.returncode}"
        raise ToolError(
            f"{command[0]} of the deposit failed ({said}): correct that, or {ROOT}:bin_directory or {ROOT}:platform",
            said,
        )
    return str(out)


def _environment(config: Config) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _ASTRAY}
    return kept | {
        "SWH_CONFIG_FILENAME": str(config.configuration_file),
        "DJANGO_SETTINGS_MODULE": config.settings_module,
        "PGAPPNAME": APPLICATION,
        "PGCONNECT_TIMEOUT": "10",
        # A lock that somebody else holds is an answer, not a reason to wait for ever.
        "PGOPTIONS": f"-c lock_timeout={int(config.lock_timeout * 1000)}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _person(config: Config) -> dict[str, Any]:
    """Return what Popen needs to run a program as the user in pillar, if there is one and this is root."""
    if not config.user:
        return {}
    found = _look_up(config.user)
    if os.geteuid() == found.pw_uid:
        return {}
    if os.geteuid():
        raise KingfisherError(f"{ROOT}:user: this must run as root, or as {config.user}: use sudo")
    groups = os.getgrouplist(config.user, found.pw_gid)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}


@contextmanager
def acting_as(user: str | None) -> Iterator[None]:
    """Let root be another user within the context, as PostgreSQL sees who connects to its socket."""
    if not user or os.geteuid():
        yield
        return
    os.seteuid(_look_up(user).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _look_up(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise KingfisherError(
            f"{ROOT}:user: there is no user {user} on this server: salt 'ID' state.apply swh.deposit, or correct the "
            "setting"
        ) from None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
