"""An application, and its commands: what they are run with, and what becomes of them."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from .process import Output, StillRunningError, run

#: Bytes of a command's output that are kept: the last ones.
LIMIT = 1_000_000
#: Characters of what a command said that are worth repeating.
_MESSAGE_LIMIT = 300
#: Where its programs are looked for, Docker among them.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: How long Docker may take to remove a container, in seconds.
_REMOVE_WAIT = 60
# As terminals are told to change colors.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CREDENTIALS = re.compile(r"(://[^\s:/@]*):[^\s@]*@")


class ApplicationError(KingfisherError):
    """A command of an application could not be run, failed, or did not end in time."""


@dataclass(frozen=True)
class Application:
    """One application. Times are in seconds."""

    name: str
    root: str
    manage: tuple[str, ...] | None
    directory: Path | None
    service: str
    user: str | None
    timeout: float
    #: What the words of a command are given to, in its container.
    program: tuple[str, ...] = ("python", "manage.py")

    def run(self, *words: str, stdin: str = "", timeout: float | None = None, limit: int = LIMIT) -> Output:
        """
        Run a command, and return what it said.

        What is secret, or long, belongs into ``stdin``: everybody on the server can read the words.

        :param words: the command and its arguments, like ``remove``, ``12``
        :param timeout: for how long it may take, if not as long as the setting says
        :param limit: how many bytes of output to keep
        :raises ApplicationError: if it cannot be run, its exit code is not 0, or it does not end in time
        """
        output = self.attempt(*words, stdin=stdin, timeout=timeout, limit=limit)
        if output.code:
            raise ApplicationError(f"{self._ended(words, output)}: correct it, and run this again")
        return output

    def attempt(self, *words: str, stdin: str = "", timeout: float | None = None, limit: int = LIMIT) -> Output:
        """
        Run a command like :meth:`run`, and return what it said, whatever its exit code.

        :raises ApplicationError: if it cannot be run, or does not end in time
        """
        if any("\0" in word for word in words):
            raise ApplicationError(f"{self.name}: {_short(shlex.join(words))} has a NUL character: leave it out")
        seconds = timeout or self.timeout
        container = f"kingfisher-{self.service}-{uuid.uuid4().hex[:12]}"
        command = [*self._program(container), *words]
        options = self.options()
        try:
            return run(command, stdin.encode(), seconds, limit, options)
        except StillRunningError:
            self._remove(container, options)
            raise ApplicationError(
                f"{self.name}: {_short(shlex.join(words))} did not end within {seconds:g} s, and was stopped: look "
                f"at its log, or raise {self.root}:timeout, and run this again"
            ) from None
        except BaseException as e:
            if not isinstance(e, OSError):
                self._remove(container, options)
                raise
            raise ApplicationError(self._not_started(e)) from e

    @property
    def place(self) -> str:
        """Return where its commands are run, for messages."""
        if self.manage:
            return f"{shlex.join(self.manage)} ({self.root}:manage)"
        return f"docker compose in {self.directory} ({self.root}:directory)"

    def said(self, output: Output) -> str:
        """Return the last line that a command said, without colors and credentials."""
        for text in (output.stderr, output.stdout):
            lines = [line.strip() for line in plain(text).splitlines() if line.strip()]
            if lines:
                return _short(without_credentials(lines[-1]))
        return "it said nothing"

    def _ended(self, words: tuple[str, ...], output: Output) -> str:
        how = f"with exit code {output.code}" if output.code > 0 else f"by signal {-output.code}"
        return f"{self.name}: {_short(shlex.join(words))} was ended {how}: {self.said(output)}"

    def _program(self, container: str) -> list[str]:
        if self.manage:
            return list(self.manage)
        # With a name, so that what does not end can be removed.
        compose = ["docker", "compose", "run", "--rm", "-T", "--name", container, self.service]
        return [*compose, *self.program]

    def _remove(self, container: str, options: dict[str, Any]) -> None:
        """Remove the container of a command that was stopped, which goes on without the program that began it."""
        if self.manage:
            return
        with suppress(OSError, StillRunningError):
            run(["docker", "rm", "--force", container], b"", _REMOVE_WAIT, LIMIT, options)

    def options(self) -> dict[str, Any]:
        """
        Return what :mod:`subprocess` needs to run a program as the application's user.

        :raises ApplicationError: if there is no such user or directory, or this process may not act as that user
        """
        entry = self._user()
        options: dict[str, Any] = {
            "cwd": self.directory or "/",
            "env": {
                "HOME": entry.pw_dir,
                "USER": entry.pw_name,
                "LOGNAME": entry.pw_name,
                "SHELL": "/bin/sh",
                "PATH": PATH,
                "LANG": "C.UTF-8",
            },
        }
        if os.geteuid() == entry.pw_uid:
            return options
        if os.geteuid():
            raise ApplicationError(
                f"{self.name}'s commands are to be run as {entry.pw_name} ({self.root}:user): run this as root, or as "
                f"{entry.pw_name}"
            )
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return {**options, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}

    def _user(self) -> pwd.struct_passwd:
        """Return the user of the settings, else the owner of the directory, else whoever runs this."""
        if self.user:
            try:
                return pwd.getpwnam(self.user)
            except KeyError:
                raise ApplicationError(f"{self.root}:user: there is no user {self.user} on this server") from None
        try:
            uid = self.directory.stat().st_uid if self.directory else os.geteuid()
        except OSError as e:
            raise ApplicationError(
                f"{self.name}'s directory {self.directory} ({self.root}:directory): {e.strerror}: correct it, or set "
                f"{self.root}:manage to a command that runs without Docker"
            ) from e
        try:
            return pwd.getpwuid(uid)
        except KeyError:
            raise ApplicationError(
                f"the owner of {self.directory}, {uid}, is no user of this server: set {self.root}:user"
            ) from None

    def _not_started(self, error: OSError) -> str:
        what = "the command" if self.manage else "Docker"
        return f"{self.name}: {error.filename or what}: {error.strerror}: correct {self.place}"


def plain(text: str) -> str:
    """Return what a program wrote, without what tells a terminal to change colors or to clear lines."""
    return _ESCAPES.sub("", text)


def without_credentials(text: str) -> str:
    """Return a text without the passwords of the addresses in it."""
    return _CREDENTIALS.sub(r"\1:**@", text)


def _short(text: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[: _MESSAGE_LIMIT - 3]}..."
