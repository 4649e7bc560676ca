"""Run a crawl now, in a session of its own, so that it goes on when whoever started it has gone."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from ..errors import KingfisherError
from . import installed, person, record
from .config import Config
from .status import status

#: For how long to wait, to tell what keeps a run from beginning. In seconds.
BEGINNING = 10.0
_OUTPUT = "by-hand.txt"


def dry_run(config: Config, identifier: str) -> dict[str, Any]:
    """
    Return what a run would do: ``command``, ``crawl_directory``, ``rows``, and ``result``, with the ``reason``.

    :raises KingfisherError: if it cannot be found out
    """
    status(config, identifier)
    script = config.installed(identifier) / installed.SCRIPT
    ended = person.call(config.user, [script, "--dry-run"])
    if ended.returncode:
        raise KingfisherError(
            (ended.stderr.strip() or f"{script} ended with exit code {ended.returncode}").splitlines()[-1]
        )
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


def start(config: Config, identifier: str) -> dict[str, Any]:
    """
    Start a run, and return its ``pid``, and its ``log`` and ``phase`` if it has begun to crawl by now.

    :raises KingfisherError: if it ended at once, with what it said
    """
    status(config, identifier)
    state = config.state(identifier)
    script = config.installed(identifier) / installed.SCRIPT
    before = record.read(state).get("started")
    # The shell opens the file, as the user. With the session of its own, no hangup reaches it.
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$1" >"$2" 2>&1', "sh", script, state / _OUTPUT],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        **person.options(config.user),
    )
    until = time.monotonic() + BEGINNING
    while time.monotonic() < until:
        code = process.poll()
        last = record.read(state)
        if code:
            raise KingfisherError(_said(config, identifier, code))
        is_new = last.get("pid") == process.pid or last.get("started") != before
        if code == 0 or (is_new and last.get("phase") == "crawling"):
            break
        time.sleep(0.1)
    told = {
        "identifier": identifier,
        "pid": process.pid,
        "follow": f"salt 'ID' kingfisher.incremental_status identifier={identifier}",
    }
    return {**told, **{name: last[name] for name in ("log", "phase", "result") if name in last}}


def _said(config: Config, identifier: str, code: int) -> str:
    path = config.state(identifier) / _OUTPUT
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            said = file.read(1 << 16).decode(errors="replace").strip()
    except OSError:
        said = ""
    return said or f"{identifier} ended at once, with exit code {code}, and said nothing: see {path}"
