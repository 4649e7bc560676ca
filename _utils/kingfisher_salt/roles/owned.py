"""
Remember what states own on this server, so that what leaves pillar leaves the server too.

A small file holds, by role and by kind, the names of it. They are written before a role is set up, so that nothing is
forgotten if that is interrupted; what a role no longer has is removed first.
"""

from __future__ import annotations

import grp
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import manifest
from ..errors import KingfisherError

Names = dict[str, list[str]]


def gone(owned: Mapping[str, Names], role: str, wanted: Names) -> list[tuple[str, str]]:
    """Return what a role no longer has, by kind and name, in the order to remove it. What another has too stays."""
    others = {
        (kind, name) for other in owned.keys() - {role} for kind, names in owned[other].items() for name in names
    }
    kinds = sorted(owned.get(role, {}), key=lambda kind: (kind != "units", kind != "files", kind))
    return [
        (kind, name)
        for kind in kinds
        for name in owned[role][kind]
        if name not in wanted.get(kind, ()) and (kind, name) not in others
    ]


def prune(path: Path, role: str, wanted: Names, remove: Callable[[str, str], Any]) -> dict[str, str]:
    """
    Remove what a role no longer has, and remember what it is about to have.

    :param remove: removes one of a kind. If it fails, that is tried again the next time
    :returns: by name, why it could not be removed
    :raises KingfisherError: if nothing can be remembered
    """
    owned: dict[str, Names] = manifest.read(path)
    failed: dict[str, str] = {}
    left: Names = {kind: sorted(names) for kind, names in _made(owned, wanted).items() if names}
    going = gone(owned, role, wanted)
    if going:
        both = {kind: sorted({*owned[role].get(kind, ()), *left.get(kind, ())}) for kind in {*owned[role], *left}}
        _write(path, owned, role, both)
    for kind, name in going:
        try:
            remove(kind, name)
        except KingfisherError as e:
            failed[name] = str(e)
            left[kind] = sorted({*left.get(kind, ()), name})
    _write(path, owned, role, left)
    return failed


def remove_file(name: str) -> None:
    """
    Remove a file.

    :raises KingfisherError: if that fails
    """
    try:
        Path(name).unlink(missing_ok=True)
    except OSError as e:
        raise KingfisherError(f"{name} cannot be removed: {e.strerror}: remove it by hand, and apply again") from e


def remove_unit(name: str) -> None:
    """
    Stop a unit, and remove its file.

    :raises KingfisherError: if that fails
    """
    path = Path("/etc/systemd/system", name)
    if path.exists():
        _command("systemctl", "disable", "--now", "--quiet", path.name)
    remove_file(str(path))
    _command("systemctl", "daemon-reload")


def remove_membership(name: str) -> None:
    """
    Remove a user from a group.

    :param name: like james:adm
    :raises KingfisherError: if that fails
    """
    if _is_member(name):
        user, _, group = name.partition(":")
        _command("gpasswd", "--delete", user, group)


def _is_member(name: str) -> bool:
    user, _, group = name.partition(":")
    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return False


def _made(owned: Mapping[str, Names], wanted: Names) -> Names:
    """Return what is wanted without the memberships that no role gave: they were there before."""
    ours = {name for names in owned.values() for name in names.get("memberships", ())}
    return {
        kind: [name for name in names if kind != "memberships" or name in ours or not _is_member(name)]
        for kind, names in wanted.items()
    }


def _command(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise KingfisherError(f"{' '.join(argv)}: {said[-1]}: correct it, and apply again")


def _write(path: Path, owned: dict[str, Names], role: str, names: Names) -> None:
    after = {key: value for key, value in {**owned, role: names}.items() if value}
    try:
        if after or path.exists():
            manifest.write(path, after)
    except OSError as e:
        raise KingfisherError(f"{e.filename} cannot be written: {e.strerror}: make room, and apply again") from e
