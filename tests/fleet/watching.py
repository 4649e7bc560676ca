"""Secrets, looked for in every command line of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fleet.hosts import Host

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
