"""The demo's fleet: hosts with a master, which stay until ``make fleet-down``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import yaml

from tests.fleet import fleet as fleets
from tests.fleet.salt_master import BINARIES, CHECKOUT, Master

ROOT = Path("/run/kingfisher-demo-fleet")
HOSTS = ("registry", "docs")


def up() -> None:
    if ROOT.exists():
        sys.exit("The demo's fleet is up already: make fleet-down")
    ROOT.mkdir(mode=0o711)
    fleet, master = fleets.Fleet(keep=True), Master(ROOT, keep=True)
    fleet.start()
    master.start()
    (ROOT / "pid").write_text(str(master.pid))
    for name in HOSTS:
        host = fleet.host(name)
        master.set_pillar(host, pillar(name))
        master.accept(host)
    salt = f"{BINARIES}/salt --config-dir={master.configuration}"
    print("Bare hosts, with a minion each. Look around, and make them what pillar says:")
    for name, host in fleet.hosts.items():
        print(f"\n  ssh -i {fleet.directory}/key -o StrictHostKeyChecking=no root@{host.address}    # {name}")
        print(f"  {salt} {name} state.apply")
    print(f"\nTheir pillar is in {ROOT}/pillar. To end it: make fleet-down")


def down() -> None:
    with suppress(OSError, ValueError):
        pid = int((ROOT / "pid").read_text())
        if os.fsencode(str(ROOT)) in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    fleets.clear()
    shutil.rmtree(ROOT, ignore_errors=True)


def pillar(name: str) -> dict[str, object]:
    """Return the example pillar of a host."""
    path = CHECKOUT / f"pillar/{name}.sls"
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down", action="store_true")
    if reason := fleets.why_not():
        sys.exit(f"The fleet cannot be booted here: {reason}")
    down() if parser.parse_args().down else up()


if __name__ == "__main__":
    main()
