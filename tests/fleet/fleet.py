"""Several hosts on one network. Several fleets can be on one machine: each has a directory, locked while it lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.fleet import network
from tests.fleet.hosts import Host
from tests.fleet.image import image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

FLEETS = Path("/var/tmp/kingfisher-fleet")
# Fleets come and go one at a time.
LOCK = Path("/run/kingfisher-fleet.lock")
NUMBERS = range(10, 250)
#: The Debian of hosts that ask for no other.
SUITE = os.environ.get("FLEET_SUITE", "trixie")
PROGRAMS = ("debootstrap", "systemd-nspawn", "ip", "iptables", "ssh", "ssh-keygen", "setpriv")


def why_not() -> str:
    """Return why this machine cannot boot hosts, or an empty string."""
    if os.geteuid():
        return "only root can boot hosts"
    if not Path("/etc/debian_version").exists():
        return "hosts are booted on Debian"
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"{', '.join(missing)} is not installed: run requirements/system"
    return ""


class Fleet:
    """Hosts by name. Leaving it takes them all down, and removes what they wrote."""

    def __init__(self, *, keep: bool = False):
        """:param keep: whether hosts outlive this process, until ``clear(all_fleets=True)``"""
        self.hosts: dict[str, Host] = {}
        self._keep = keep
        self.directory = Path()
        self._life: IO[str] | None = None

    def host(self, name: str, *, suite: str = SUITE, layers: list[Path] | None = None, boot: bool = True) -> Host:
        """Create a host, and boot it."""
        layers = layers or [image(suite)]
        with _one_at_a_time():
            taken = {int(path.read_text()) for path in FLEETS.glob("*/*/number")}
            number = next(number for number in NUMBERS if number not in taken)
            host = Host(name, number, layers, self.directory, self.directory / "key", keep=self._keep)
            self.hosts[name] = host
            host.create()
        if boot:
            host.boot()
            host.wait()
        return host

    def throw_away(self, host: Host) -> None:
        self.hosts.pop(host.name).destroy()

    def snapshot(self, host: Host, name: str) -> list[Path]:
        """Take a host down in good order, and return the layers to begin another with."""
        host.power_off()
        return host.snapshot(self.directory / f"{name}.layer")

    def start(self) -> None:
        with _one_at_a_time():
            _clear_dead()
            network.up()
            FLEETS.mkdir(mode=0o711, exist_ok=True)
            self.directory = Path(tempfile.mkdtemp(dir=FLEETS))
            self.directory.chmod(0o711)
            self._life = (self.directory / "life").open("w")
            fcntl.flock(self._life, fcntl.LOCK_EX)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / "key"], check=True)
            if self._keep:
                (self.directory / "keep").touch()

    def stop(self) -> None:
        with _one_at_a_time():
            _remove(self.directory)
            if self._life:
                self._life.close()
            _clear_dead()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def clear() -> None:
    """Remove the fleets that were kept, and those whose process has died."""
    with _one_at_a_time():
        for keep in FLEETS.glob("*/keep"):
            keep.unlink()
        _clear_dead()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _clear_dead() -> None:
    for life in FLEETS.glob("*/life"):
        with life.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not (life.parent / "keep").exists():
                _remove(life.parent)
    with suppress(OSError):  # another fleet is there
        if FLEETS.exists():
            FLEETS.rmdir()
        network.down()


def _remove(directory: Path) -> None:
    for number in directory.glob("*/number"):
        Host(number.parent.name, int(number.read_text()), [], directory, directory / "key").destroy()
    shutil.rmtree(directory)
