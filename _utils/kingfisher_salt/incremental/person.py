"""Do as the user of the crawls, whose directories root must not trust, and whose programs root must not run."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from .config import ROOT


class NoSuchUserError(KingfisherError):
    """The user of the crawls is not on this server, or not yet."""


def entry(user: str) -> pwd.struct_passwd:
    """
    Return what the system knows of a user.

    :raises NoSuchUserError: if there is no such user
    """
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise NoSuchUserError(
            f"{ROOT}:user: there is no user {user} on this server: salt 'ID' state.apply kingfisher.collect"
        ) from None


def options(user: str) -> dict[str, Any]:
    """
    Return what :mod:`subprocess` needs to run a program as a user, with no more of an environment than cron gives.

    :raises KingfisherError: if there is no such user, or this process may not run programs as that user
    """
    found = entry(user)
    environment = {
        "HOME": found.pw_dir,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/sh",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    given = {"env": environment, "cwd": "/", "stdin": subprocess.DEVNULL, "umask": 0o022}
    if os.geteuid() == found.pw_uid:
        return given
    if os.geteuid():
        raise KingfisherError(f"{ROOT}:user: this must run as root, or as {user}: use sudo")
    groups = os.getgrouplist(user, found.pw_gid)
    return {**given, "user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}


def call(
    user: str, command: Sequence[str | Path], *, text: str | None = None, errors: str = "replace", **more: Any
) -> subprocess.CompletedProcess[str]:
    """
    Run a program as a user, and return what it said, whether it succeeded or not. Line ends are left as they are.

    :param text: its standard input
    :param errors: what becomes of bytes that are not text. With surrogateescape, a file can be given back as it was.
    """
    given = {**options(user), **more}
    if text is not None:
        del given["stdin"]
        given["input"] = text.encode(errors=errors)
    ended = subprocess.run([str(word) for word in command], capture_output=True, check=False, **given)
    said, wrong = ended.stdout.decode(errors=errors), ended.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(ended.args, ended.returncode, said, wrong)


def on_each(user: str, command: Sequence[str], paths: Iterable[Path]) -> None:
    """
    Run a program as a user, once for all of these paths.

    :raises KingfisherError: if it fails
    """
    text = "\0".join(map(str, paths))
    if text:
        ended = call(user, ["xargs", "-0", *command, "--"], text=text)
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            raise KingfisherError(f"{user} cannot do this: {said[0]}: let {user} write there, and run this again")
