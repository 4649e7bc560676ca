"""A server process that answers before it is used, and that does not outlive whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TAIL = 4000  # characters of a log that are worth showing


class NotStartedError(RuntimeError):
    """The server ended, or did not answer in time. The message has the end of its log."""


class Process:
    """
    A program in a session of its own, with its output in a log.

    The kernel ends it when the thread that started it ends, however that happens.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        privileges: Sequence[str] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ):
        """
        :param env: variables added to this process' own
        :param privileges: options of setpriv(1), to run the program as someone else
        """
        self.argv = ["setpriv", "--pdeathsig", stop_signal.name[3:], *privileges, "--", *map(str, argv)]
        self.log = log
        self.env = {**os.environ, **(env or {})}
        self.cwd = cwd
        self.stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.argv} was not started")
        return self._popen.pid

    def start(self, answers: Callable[[], object], *, timeout: float = 60) -> None:
        """Start the program, and return once ``answers`` raises nothing."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        try:
            self._wait(answers, time.monotonic() + timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, timeout: float = 10) -> None:
        """Stop the program politely, then whatever is left of its session."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._popen = None

    def _wait(self, answers: Callable[[], object], deadline: float) -> None:
        while True:
            if self._popen and self._popen.poll() is not None:
                raise NotStartedError(f"{self._describe()} ended with {self._popen.returncode}:\n{self.tail()}")
            try:
                answers()
            except Exception as error:  # whatever a client raises while a server is not there yet
                if time.monotonic() > deadline:
                    raise NotStartedError(f"{self._describe()} does not answer ({error}):\n{self.tail()}") from error
                time.sleep(0.1)
            else:
                return

    def _describe(self) -> str:
        return Path(self.argv[self.argv.index("--") + 1]).name

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-TAIL:]
