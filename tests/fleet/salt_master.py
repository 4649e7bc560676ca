"""A Salt master on this machine, for the minions in hosts."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.fleet import network
from tests.fleet.hosts import FailedError, Host
from tests.services.files import write_private
from tests.services.ports import free_ports
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

CHECKOUT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
CONFIGURATION = """\
interface: {address}
publish_port: {publish_port}
ret_port: {ret_port}
root_dir: {root}
file_roots: {{base: [{root}/states, {checkout}/salt]}}
pillar_roots: {{base: [{root}/pillar]}}
auto_accept: true
open_mode: true
worker_threads: 3
timeout: 30
gather_job_timeout: 30
keep_jobs_seconds: 86400
"""
MINION = """\
master: {address}
publish_port: {publish_port}
master_port: {ret_port}
master_alive_interval: 5
"""


class Master:
    """
    A master that accepts every minion on the bridge.

    Each host has a pillar of its own, and the states of salt/top.sls by its name.
    """

    def __init__(self, directory: Path | None = None, *, keep: bool = False):
        """:param keep: whether it outlives this process"""
        # Sockets have a path of 107 characters at most.
        self.root = directory or Path(tempfile.mkdtemp(prefix="fleet-master-", dir="/run"))
        self.configuration = self.root / "etc"
        publish_port, ret_port = free_ports(2)
        self._values = {"address": network.GATEWAY, "publish_port": publish_port, "ret_port": ret_port}
        self._process = Process(
            [BINARIES / "salt-master", "--config-dir", self.configuration], self.root / "master.log"
        )
        if keep:
            del self._process.argv[: self._process.argv.index("--") + 1]

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        for name in ("etc", "pillar", "states"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.configuration / "master").write_text(
            CONFIGURATION.format(root=self.root, checkout=CHECKOUT, **self._values)
        )
        (self.root / "pillar/top.sls").write_text("base:\n  '*':\n    - {{ grains.id }}\n")
        address = (network.GATEWAY, self._values["ret_port"])
        self._process.start(lambda: socket.create_connection(address, timeout=1).close())

    def stop(self) -> None:
        self._process.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def set_pillar(self, host: Host, pillar: dict[str, Any]) -> None:
        """Give a host its pillar, for the next time that it asks."""
        write_private(self.root / f"pillar/{host.name}.sls", yaml.safe_dump(pillar))

    def accept(self, host: Host) -> None:
        """Start the host's minion, and wait until it answers."""
        if not (self.root / f"pillar/{host.name}.sls").exists():
            self.set_pillar(host, {})
        host.write("/etc/salt/minion.d/master.conf", MINION.format(**self._values))
        host.run("systemctl enable --quiet --now salt-minion")
        deadline = time.monotonic() + 90
        while self.salt(host.name, "test.ping", "--timeout=3", check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The minion of {host.name} does not answer:\n{host.journal()}")

    def salt(self, target: str, *arguments: str, check: bool = True, timeout: float = 1200) -> Any:
        """Run ``salt TARGET ARGUMENTS``."""
        argv = [BINARIES / "salt", f"--config-dir={self.configuration}", *_options(arguments), target]
        done = subprocess.run(
            [*argv, *(argument for argument in arguments if not argument.startswith("--"))],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise FailedError(f"salt {target} {' '.join(arguments)}\n{done.stdout[-8000:]}\n{done.stderr[-2000:]}")
        return done

    def call(self, host: Host, function: str, *arguments: str, check: bool = True) -> Any:
        """Run a function in a host, and return what it returns."""
        done = self.salt(host.name, function, *arguments, "--out=json", "--static", check=check)
        return json.loads(done.stdout)[host.name]

    def apply(self, host: Host, *arguments: str, check: bool = True, test: bool = False) -> Applied:
        """Run ``state.apply``. Unless ``check`` is False, a state that fails is a failure of the test."""
        flags = ["test=True"] if test else []
        done = self.salt(
            host.name, "state.apply", *arguments, *flags, "--out=json", "--static", "--timeout=900", check=False
        )
        try:
            applied = Applied(json.loads(done.stdout)[host.name])
        except (ValueError, KeyError):
            raise FailedError(f"{host.name}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}") from None
        if check and applied.failed:
            raise FailedError(f"{host.name}: {applied.failed}")
        return applied


class Applied:
    """What ``state.apply`` returned."""

    def __init__(self, returned: Any):
        if not isinstance(returned, dict):
            raise FailedError(f"state.apply could not begin: {returned}")
        self.states: dict[str, dict[str, Any]] = {
            f"{state.get('__id__')}: {state.get('name')}": {**state, "function": key.split("_|-")}
            for key, state in sorted(returned.items(), key=lambda item: item[1].get("__run_num__", 0))
        }

    @property
    def failed(self) -> dict[str, Any]:
        return {
            name: (state["comment"], state.get("changes"))
            for name, state in self.states.items()
            if state["result"] is False
        }

    @property
    def changed(self) -> dict[str, Any]:
        return {name: state["changes"] for name, state in self.states.items() if state.get("changes")}

    @property
    def ids(self) -> set[str]:
        """Return the ids of states with changes."""
        return {name.partition(": ")[0] for name in self.changed}

    @property
    def predicted(self) -> set[str]:
        """Return the ids of states that test mode would have changed."""
        return {name.partition(": ")[0] for name, state in self.states.items() if state["result"] is None}

    @property
    def slowest(self) -> list[tuple[float, str]]:
        """Return seconds and names of states, the slowest first."""
        return sorted(((state.get("duration", 0) / 1000, name) for name, state in self.states.items()), reverse=True)


def _options(arguments: tuple[str, ...]) -> list[str]:
    return [argument for argument in arguments if argument.startswith("--")]
