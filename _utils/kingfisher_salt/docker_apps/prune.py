"""Take down the applications that have left pillar. Only what is marked as ours is looked at."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..apps.application import LIMIT, PATH
from ..apps.process import Output, StillRunningError, run
from ..errors import KingfisherError
from . import pin, records
from .compose import COMPOSE_FILE
from .pin import PIN_FILE
from .records import Record

#: What we put into an application's directory.
FILES = (PIN_FILE, ".env", COMPOSE_FILE)
_WAIT = 600


def prune(state_directory: Path, apps: Mapping[str, Path], *, dry_run: bool) -> dict[str, Any]:
    """
    Take down what has left pillar, and mark what is in pillar as ours, before anything of it is written.

    Containers, networks and our files are removed. Volumes are kept, and so is a directory that has anything else.

    :param apps: the directory of each application in pillar
    :returns: changes (by application) and notes
    :raises KingfisherError: if anything could not be removed. What is left is found again
    """
    changes: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for record in records.every(state_directory):
        if str(apps.get(record.app)) == record.directory:
            continue
        if not dry_run:
            with records.one_at_a_time(state_directory, record.app):
                notes += _take_down(record)
        changes[record.app] = {"old": f"in {record.directory}", "new": "none"}
    for app, directory in apps.items():
        if not dry_run and records.read(state_directory, app) is None:
            records.new(state_directory, app, directory).write()
    return {"changes": changes, "notes": notes}


def _take_down(record: Record) -> list[str]:
    notes = []
    if record.project is not None and shutil.which("docker", path=PATH):
        label = f"label=com.docker.compose.project={record.project}"
        _remove("container", "rm", "--force", listed=("ps", "--all", "--quiet", "--filter", label))
        _remove("network", "rm", listed=("network", "ls", "--quiet", "--filter", label))
        volumes = _docker("volume", "ls", "--quiet", "--filter", label).stdout.split()
        if volumes:
            notes.append(
                f"the volumes of {record.app} are kept: {', '.join(volumes)}: remove them with docker volume rm, once "
                "nobody needs what they hold"
            )
        names = _docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", pin.kept(record.app, "*")).stdout
        for name in names.split():
            _docker("image", "rm", name)
    directory = Path(record.directory)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):  # it has what is not ours, or is gone
        directory.rmdir()
    if directory.exists():
        notes.append(f"{directory} is kept, since it has other files")
    record.remove()
    return notes


def _remove(*command: str, listed: tuple[str, ...]) -> None:
    if ids := _docker(*listed).stdout.split():
        _docker(*command, *ids)


def _docker(*words: str) -> Output:
    """
    Run Docker as root, without the directory of the application and its compose file, which may be gone.

    :raises KingfisherError: if that fails
    """
    try:
        output = run(["docker", *words], b"", _WAIT, LIMIT, {"env": {"PATH": PATH, "HOME": "/root"}})
    except (OSError, StillRunningError) as e:
        raise KingfisherError(f"docker {words[0]} cannot be run ({e}): correct it, and run this again") from e
    if output.code:
        said = (output.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise KingfisherError(f"docker {' '.join(words[:2])} failed: {said}: correct it, and run this again")
    return output
