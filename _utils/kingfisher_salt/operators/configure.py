"""Put an operator's entries into the operator's files, as the operator, whose directories root must not trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from ..incremental import person
from . import ini, netrc
from .config import ROOT, Server

NETRC, SCRAPY = ".netrc", ".config/scrapy.cfg"

# What is not UTF-8 in a file of somebody else's is none of our business.
_AS_IT_IS = "surrogateescape"
# A file in a repository of dotfiles is a symlink, which stays one.
_READ = 'test ! -e "$1" || { stat -Lc %a -- "$1" && cat -- "$1"; }'
_WRITE = """
set -eu
umask 077
target=$(readlink -m -- "$1")
mkdir -p -- "$(dirname -- "$target")"
new=$(mktemp -- "$target.XXXXXX")
trap 'rm -f -- "$new"' EXIT
cat >"$new"
chmod -- "$2" "$new"
mv -- "$new" "$target"
"""


def configure(user: str, servers: list[Server], *, dry_run: bool) -> dict[str, Any]:
    """
    Return what differs, by file, without passwords, and write it unless it is a dry run.

    :raises KingfisherError: if a file cannot be read or written, or has entries that ours would get in the way of
    """
    try:
        home = Path(person.entry(user).pw_dir)
    except person.NoSuchUserError:
        raise KingfisherError(f"{ROOT}:{user}: there is no such user on this server: add the user first") from None
    changes: dict[str, Any] = {}
    for name, edit, wanted in ((NETRC, _netrc, "600"), (SCRAPY, _scrapy, None)):
        path = home / name
        mode, before = _read(user, path)
        try:
            after, changed = edit(before, servers)
        except KingfisherError as e:
            raise KingfisherError(f"{path} {e}") from e
        if mode and wanted and mode != wanted and (before or changed):
            changed["mode"] = {"old": mode, "new": wanted}
        if changed:
            changes[f"~/{name}"] = changed
            if not dry_run:
                _write(user, path, after, wanted or mode or "644")
    return changes


def _netrc(text: str, servers: list[Server]) -> tuple[str, dict[str, Any]]:
    changes = {}
    for server in servers:
        if server.username and server.password:
            text, kind = netrc.edit(text, server.machine, server.username, server.password)
            if kind:
                shown = f"login {server.username}, password **"
                changes[server.machine] = {"old": None if kind == "added" else shown, "new": shown}
    return text, changes


def _scrapy(text: str, servers: list[Server]) -> tuple[str, dict[str, Any]]:
    changes = {}
    for server in servers:
        options = {"url": server.url, "project": server.project}
        text, old = ini.edit(text, f"deploy:{server.name}", options)
        if old:
            changes[f"deploy:{server.name}"] = {"old": old, "new": {name: options[name] for name in old}}
    return text, changes


def _read(user: str, path: Path) -> tuple[str | None, str]:
    """Return the mode and the text of a file. They are None and empty if there is none."""
    ended = person.call(user, ["/bin/sh", "-c", _READ, "sh", path], errors=_AS_IT_IS)
    if ended.returncode:
        raise KingfisherError(
            f"{path} cannot be read by {user}: {_last(ended.stderr)}: correct that, and run this again"
        )
    mode, _, text = ended.stdout.partition("\n")
    return mode or None, text


def _write(user: str, path: Path, text: str, mode: str) -> None:
    ended = person.call(user, ["/bin/sh", "-c", _WRITE, "sh", path, mode], text=text, errors=_AS_IT_IS)
    if ended.returncode:
        raise KingfisherError(
            f"{path} cannot be written by {user}: {_last(ended.stderr)}: correct that, and run this again"
        )


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["nothing was said"])[-1]
