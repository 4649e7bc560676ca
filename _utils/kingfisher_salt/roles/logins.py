"""
The ssh keys of users, as lines between two marks in ~/.ssh/authorized_keys. Other people's lines stay as they are.

All that is in a home is read and written as its user, so that root follows no path that the user can change.
"""

from __future__ import annotations

import pwd
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from ..errors import KingfisherError
from ..incremental import person

BEGIN = "# BEGIN managed by Salt: core. Edit users and ssh in pillar instead."
END = "# END managed by Salt"
_KEY = re.compile(r"(?:\S+ )?(?:ssh-[a-z0-9-]+|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) +[A-Za-z0-9+/]{40,}=* *.*")
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n(.*?)^{re.escape(END)}\n", re.MULTILINE | re.DOTALL)
#: Whose password nobody knows, and who has no other way in.
ROOT = "root"
_WRITE = """\
set -eu; umask 077; cd; mkdir -p .ssh; new=$(mktemp .ssh/.authorized_keys.XXXXXX); trap 'rm -f "$new"' EXIT
cat >"$new"; [ ! -e .ssh/authorized_keys ] || chmod --reference=.ssh/authorized_keys "$new"
mv "$new" .ssh/authorized_keys"""


def read(user: str) -> str:
    """
    Return a user's authorized_keys, which is empty if there is none.

    :raises KingfisherError: if there is no such user, or it cannot be read
    """
    done = _as(user, "[ ! -e .ssh/authorized_keys ] || cat .ssh/authorized_keys")
    return done.stdout


def wanted(text: str, keys: Sequence[str]) -> str:
    """Return authorized_keys with these keys between the marks, and all else as it was."""
    block = "".join(f"{line}\n" for line in (BEGIN, *keys, END)) if keys else ""
    if _BLOCK.search(text):
        return _BLOCK.sub(lambda _: block, text, count=1)
    if block and text and not text.endswith("\n"):
        text += "\n"
    return text + block


def ours(text: str) -> list[str]:
    """Return the keys between the marks."""
    found = _BLOCK.search(text)
    return _keys(found[1]) if found else []


def others(text: str) -> list[str]:
    """Return the keys that are not Salt's."""
    return _keys(_BLOCK.sub("", text))


def problems(user: str, keys: Sequence[Any], before: str) -> list[str]:
    """Return why these keys may not be put in place."""
    found = [
        f"ssh keys of {user}: {str(key)[:40]!r} is no public key like ssh-ed25519 AAAA… NAME, on one line"
        for key in keys
        if not isinstance(key, str) or not _KEY.fullmatch(key.strip()) or "\n" in key.strip()
    ]
    if user == ROOT and ours(before) and not keys and not others(before):
        found.append(
            "root would be left without a single ssh key, and its keys stay: put another into pillar ssh:root, or a "
            "line of your own into /root/.ssh/authorized_keys, and apply again"
        )
    return found


def write(user: str, text: str) -> None:
    """
    Replace a user's authorized_keys in one step.

    :raises KingfisherError: if that fails
    """
    _as(user, _WRITE, text)


def close(user: str) -> None:
    """
    Let nobody log in as a user who has left pillar, by key or password. Their cron jobs end too. Their home stays.

    :raises KingfisherError: if that fails
    """
    if _exists(user):
        _usermod("--expiredate", "1970-01-02", user)


def reopen(user: str) -> None:
    """
    Let a user log in again.

    :raises KingfisherError: if that fails
    """
    _usermod("--expiredate", "", user)


def is_closed(user: str) -> bool:
    """Return whether :func:`close` has been done, or there is no such user."""
    if not _exists(user):
        return True
    done = subprocess.run(["getent", "shadow", user], capture_output=True, text=True, check=False)
    fields = done.stdout.strip().split(":")
    return len(fields) > 7 and fields[7] == "1"


def _keys(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _usermod(*argv: str) -> None:
    done = subprocess.run(["usermod", *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise KingfisherError(f"usermod {argv[-1]}: {said[-1]}: correct it, and apply again")


def _as(user: str, script: str, text: str = "") -> subprocess.CompletedProcess[str]:
    if not _exists(user):
        raise KingfisherError(
            f"There is no user {user} on this server, whose keys are in pillar ssh:{user}: add {user} to pillar "
            "users, or remove the keys"
        )
    done = person.call(user, ["/bin/sh", "-c", f"cd; {script}"], text=text, errors="surrogateescape")
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise KingfisherError(f"~{user}/.ssh/authorized_keys: {said[-1]}: let {user} write there, and apply again")
    return done
