"""Secrets, looked for in every command line of a host, and in what it and the master tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fleet.hosts import Host
    from tests.fleet.salt_master import Applied, Master

#: Only root reads it. A secret in an argument of ours would be seen too.
SECRETS = "/root/secrets"
_LEAKED, _PROGRAM = "/root/leaked", "/root/watch.py"
_WATCH = f"""\
import glob, time
secrets = open("{SECRETS}", "rb").read().split()
while True:
    time.sleep(0.01)
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen = open(path, "rb").read()
            if any(secret in seen for secret in secrets):
                open("{_LEAKED}", "ab").write(seen)
        except OSError:
            pass
"""


def watch(host: Host, secrets: Iterable[str]) -> None:
    """Watch from now on, until the host goes down."""
    host.write(SECRETS, "\n".join(secrets) + "\n", mode=0o600)
    host.write(_PROGRAM, _WATCH)
    host.run(f"setsid python3 {_PROGRAM} >/dev/null 2>&1 </dev/null & true")


def seen(host: Host) -> str:
    """Return the command lines that had a secret."""
    return host.read(_LEAKED) if host.exists(_LEAKED) else ""


def told(host: Host, master: Master, applied: Applied) -> str:
    """Return journal, log, files that others may read, what an apply returned, and the master's job cache."""
    text = host.run(
        "journalctl --no-pager; cat /var/log/salt/minion;"
        " find /etc /home /opt /srv /tmp /var -xdev -type f -perm -o+r -newer /etc/hostname -size -2M"
        " -not -path '*/site-packages/*' -print0 | xargs -0 cat 2>/dev/null; true"
    ).stdout
    text += json.dumps(applied.states, default=str)
    for path in master.root.joinpath("var/cache/salt/master/jobs").rglob("*"):
        text += path.read_text(errors="replace") if path.is_file() else ""
    return text
