"""A Salt master, and a minion named registry, with all their state in one directory."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from tests.services.files import write_private
from tests.services.ports import free_ports
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

CHECKOUT = Path(__file__).parents[1]
TEMPLATES = CHECKOUT / "config" / "demo"
LONGEST_ROOT = 45  # the path of a socket below it has 107 characters at most
WRAPPER = """\
#!/bin/sh
exec "{program}" --config-dir="{configuration}" "$@"
"""


class Registry:
    """The two daemons, and the commands to talk to them in ``bin/``."""

    minion_id = "registry"

    def __init__(self, directory: Path, pillar: dict[str, Any], binaries: Path = Path(sys.executable).parent):
        self.bin = directory / "bin"
        self._directory = directory
        self._pillar = pillar
        self._binaries = binaries
        self._configuration = directory / "config"
        self._root = _short(directory / "salt")
        self._publish_port, self._ret_port = free_ports(2)
        self._master, self._minion = (
            Process([binaries / name, "--config-dir", self._configuration], directory / f"{name}.log")
            for name in ("salt-master", "salt-minion")
        )

    def run(self, command: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one of the commands in ``bin/``."""
        return subprocess.run([self.bin / command, *arguments], text=True, check=False, **options)

    def start(self) -> None:
        """Start both, accept the minion's key and wait until it answers."""
        self._write()
        try:
            self._master.start(lambda: socket.create_connection(("127.0.0.1", self._ret_port), timeout=1).close())
            self._minion.start((self._root / "etc/salt/pki/master/minions_pre" / self.minion_id).stat)
            self._ask("salt-key", "--yes", "--accept", self.minion_id)
            self._wait(60)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both, and the jobs that they started, which have sessions of their own."""
        self._minion.stop(timeout=1)
        self._master.stop()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if os.fsencode(self._configuration) in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
        if self._root.is_symlink():
            self._root.unlink()
            self._root.parent.rmdir()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _write(self) -> None:
        values = {
            "root": self._root,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "publish_port": self._publish_port,
            "ret_port": self._ret_port,
            "checkout": CHECKOUT,
            "pillar": self._directory / "pillar",
        }
        for folder in ("bin", "config", "pillar"):
            (self._directory / folder).mkdir()
        for name in ("master", "minion"):
            (self._configuration / name).write_text(Template((TEMPLATES / name).read_text()).substitute(values))
        for name, content in {"top": {"base": {self.minion_id: ["registry"]}}, "registry": self._pillar}.items():
            write_private(self._directory / "pillar" / f"{name}.sls", yaml.safe_dump(content))
        for name in ("salt", "salt-call", "salt-key", "salt-run"):
            wrapper = self.bin / name
            wrapper.write_text(WRAPPER.format(program=self._binaries / name, configuration=self._configuration))
            wrapper.chmod(0o755)

    def _ask(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(command, *arguments, capture_output=True)

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._ask("salt", "--timeout=2", self.minion_id, "test.ping").returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The minion does not answer:\n{self._minion.tail()}\n{self._master.tail()}")


def _short(directory: Path) -> Path:
    """Create a directory, and return a path to it that is short enough for the sockets in it."""
    directory.mkdir(parents=True)
    if len(str(directory)) <= LONGEST_ROOT:
        return directory
    link = Path(tempfile.mkdtemp(prefix="kingfisher-")) / "salt"
    link.symlink_to(directory)
    return link
