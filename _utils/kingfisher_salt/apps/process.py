"""Run a program within a time, and keep no more of its output than is wanted."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

#: How long a program that was asked to end may take to do so, in seconds.
GRACE = 10
#: For how long to read what a program's own children still write after it has ended, in seconds.
_AFTERMATH = 1
_CHUNK = 65536


class StillRunningError(Exception):
    """The program did not end in time, and was ended."""


@dataclass(frozen=True)
class Output:
    """What a program said. ``cut`` is whether there was more of it."""

    code: int
    stdout: str
    stderr: str
    cut: bool


def run(command: Sequence[str], stdin: bytes, timeout: float, limit: int, options: dict[str, Any]) -> Output:
    """
    Run a program, and whatever it starts, for no longer than a time.

    :param timeout: in seconds
    :param limit: bytes to keep of standard output, and of standard error: the last ones
    :param options: what else :class:`subprocess.Popen` takes
    :raises OSError: if it cannot be started
    :raises StillRunningError: if it had to be ended
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    )
    kept = {process.stdout: _Tail(limit), process.stderr: _Tail(limit)}
    try:
        in_time = _talk(process, stdin, kept, time.monotonic() + timeout)
    finally:
        _end(process)
    if not in_time:
        raise StillRunningError
    out, err = kept.values()
    return Output(process.returncode, out.text(), err.text(), out.cut or err.cut)


class _Tail:
    """The last bytes of a stream."""

    def __init__(self, limit: int):
        self._limit = limit
        self._bytes = bytearray()
        self.cut = False

    def add(self, data: bytes) -> None:
        self._bytes += data
        if len(self._bytes) > 2 * self._limit:
            self._shorten()

    def text(self) -> str:
        self._shorten()
        return self._bytes.decode(errors="replace")

    def _shorten(self) -> None:
        if len(self._bytes) > self._limit:
            self.cut = True
            del self._bytes[: -self._limit]


def _talk(process: subprocess.Popen[bytes], stdin: bytes, kept: dict[Any, _Tail], deadline: float) -> bool:
    """Write to a program and read from it until it has ended. Returns whether that was in time."""
    waiting = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)  # type: ignore[union-attr]
        selector.register(process.stdin, selectors.EVENT_WRITE)  # type: ignore[arg-type]
        last_word = None
        while selector.get_map():
            if process.poll() is not None:
                last_word = last_word or time.monotonic() + _AFTERMATH
                if time.monotonic() > last_word:
                    break
            if time.monotonic() > deadline:
                return False
            for key, _ in selector.select(min(0.2, max(0, deadline - time.monotonic()))):
                if key.fileobj is process.stdin:
                    waiting = _write(key.fd, waiting)
                    ended = not waiting
                else:
                    data = os.read(key.fd, _CHUNK)
                    kept[key.fileobj].add(data)
                    ended = not data
                if ended:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    try:
        process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _write(descriptor: int, data: memoryview) -> memoryview:
    """Write what a program takes, and return the rest. A program that has stopped reading gets no more."""
    if not data:
        return data
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that is still running, politely at first, with whatever it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with suppress(OSError):
                stream.close()
