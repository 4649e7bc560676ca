"""A Debian host: booted, talked to by ssh, cut off, killed, and thrown away."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.fleet import network

CGROUPS = Path("/sys/fs/cgroup")
MINION = """\
id: {name}
enable_fqdns_grains: false
"""


class FailedError(AssertionError):
    """A command failed in a host."""


class Host:
    """
    A machine with systemd, on top of an image that is never written to.

    What it writes is in a directory of its own: a layer. A layer can be kept as a snapshot, for other hosts to begin
    with.
    """

    def __init__(self, name: str, number: int, layers: list[Path], directory: Path, key: Path, *, keep: bool = False):
        """
        :param number: the last part of its address
        :param layers: the directories below its own, the base image last
        :param keep: whether it outlives this process
        """
        self.name = name
        self.number = number
        self.address = network.address(number)
        self.address6 = network.address6(number)
        self.layers = layers
        self.directory = directory / name
        self.root = self.directory / "root"
        self._upper, self._work = self.directory / "upper", self.directory / "work"
        self._key = key
        self._keep = keep
        self._popen: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    # Life

    def create(self) -> None:
        for path in (self.root, self._upper, self._work):
            path.mkdir(parents=True)
        (self.directory / "number").write_text(str(self.number))
        self._mount()
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.name}\n::1 localhost\n")
        self.write("/root/.ssh/authorized_keys", self._key.with_suffix(".pub").read_text(), mode=0o600)
        self.write("/etc/salt/minion.d/fleet.conf", MINION.format(name=self.name))

    def boot(self) -> None:
        """Start it. ``wait`` returns once it is up."""
        self._mount()
        network.plug(self.number)
        namespace = f"--network-namespace-path=/run/netns/{network.namespace(self.number)}"
        place = [f"--directory={self.root}", f"--machine={self.name}", namespace]
        argv = [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--timezone=off",  # else each boot sets the machine's own
            *place,
            "--capability=all",
            "--drop-capability=CAP_SYS_TIME",
            "--boot",
        ]
        if not self._keep:
            argv = ["setpriv", "--pdeathsig", "TERM", "--", *argv]  # it then lets the host go down
        with (self.directory / "console.log").open("ab") as console:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_SECCOMP": "0"},
                start_new_session=True,
            )

    def wait(self, timeout: float = 60) -> None:
        """Wait until it has booted."""
        deadline = time.monotonic() + timeout
        while self.run("systemctl is-system-running --wait", check=False).stdout.strip() not in {
            "running",
            "degraded",
        }:
            if time.monotonic() > deadline or (self._popen and self._popen.poll() is not None):
                console = (self.directory / "console.log").read_text(errors="replace")[-4000:]
                raise TimeoutError(f"{self.name} does not answer. The end of its console:\n{console}")
            time.sleep(0.2)

    def reboot(self) -> None:
        """Let it go down in good order, and boot it again."""
        self.run("systemctl reboot", check=False)
        self._ended(60)
        self.boot()
        self.wait()

    def power_off(self) -> None:
        """Let it go down in good order."""
        self.run("systemctl poweroff", check=False)
        self._ended(60)
        self._release()

    def kill(self) -> None:
        """Pull the plug. What was written and not synced may be there afterwards, unlike on real disks."""
        for pid in network.processes(self.number):  # its first process is among them, which takes all with it
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended(10)
        self._release()

    def destroy(self) -> None:
        """Remove all of it."""
        self.kill()
        _unmount(self.root)
        shutil.rmtree(self.directory, ignore_errors=True)

    def snapshot(self, directory: Path) -> list[Path]:
        """Keep what is on its disk as a layer for other hosts, and return their layers. It must not run."""
        if not directory.exists():
            _unmount(self.root)
            self._upper.rename(directory)
            for path in (self._upper, self._work):
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
            self.layers = [directory, *self.layers]
        return self.layers

    # Work

    def run(
        self, command: str, *, check: bool = True, timeout: float = 600, text: str | None = None, user: str = "root"
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command by ssh. Unless ``check`` is False, its failure is one of the test."""
        done = subprocess.run(
            [*self.ssh(user), command],
            capture_output=True,
            text=True,
            input=text or "",
            timeout=timeout,
            errors="replace",
        )
        if check and done.returncode:
            raise FailedError(f"{self.name}: {command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}")
        return done

    def ssh(self, user: str = "root") -> list[str]:
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "5",
            "ServerAliveInterval": "10",
            "ControlMaster": "auto",
            "ControlPath": f"/run/kingfisher-fleet-{self.number}-%r.ssh",
            "ControlPersist": "60",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", *flags, "-i", str(self._key), f"{user}@{self.address}"]

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file, whether or not the host runs."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def copy(self, source: Path, path: str) -> None:
        """Copy a directory of this machine into the host, without what Python left in it."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, self.root / path.lstrip("/"), ignore=ignored, dirs_exist_ok=True)

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def journal(self) -> str:
        """Return the end of the journal, or of the console when the host does not answer."""
        if self.is_up:
            with suppress(subprocess.TimeoutExpired):
                done = self.run("journalctl --no-pager --lines=200", check=False, timeout=20)
                if not done.returncode:
                    return done.stdout
        return (self.directory / "console.log").read_text(errors="replace")[-8000:]

    @property
    def is_up(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    # Misfortune

    def cut(self) -> None:
        """Cut its network."""
        self._hang_up()
        network.cut(self.number)

    def mend(self) -> None:
        network.mend(self.number)

    def fill(self, directory: str, size: str = "16M") -> None:
        """Put a directory on a small disk of its own, with nothing free, until ``empty``."""
        path = shlex.quote(directory)
        self.run(
            f"set -e; mkdir /tmp/disk; cp -a {path}/. /tmp/disk/; mount -t tmpfs -o size={size} tmpfs {path};"
            f" chown --reference=/tmp/disk {path}; chmod --reference=/tmp/disk {path};"
            f" cp -a /tmp/disk/. {path}/; rm -r /tmp/disk; cat /dev/zero >{path}/.full 2>/dev/null || true"
        )

    def empty(self, directory: str) -> None:
        """Let the small disk have room again."""
        self.run(f"rm {shlex.quote(directory)}/.full")

    def set_clock(self, offset: str, *units: str) -> None:
        """
        Let services live at another time, such as +40d or -1h. The clock of a host is this machine's own.

        They are restarted. ``offset`` is as faketime(1) has it.
        """
        self.run("test -e /usr/share/doc/libfaketime || apt-get install --yes --no-install-recommends libfaketime")
        library = self.run("find /usr/lib -name libfaketime.so.1").stdout.strip()
        for unit in units:
            drop_in = f"/run/systemd/system/{unit}.service.d/clock.conf"
            content = f'[Service]\\nEnvironment=LD_PRELOAD={library} "FAKETIME={offset}"\\n'
            self.run(f"mkdir -p {Path(drop_in).parent}; printf '{content}' >{drop_in}")
        self.run(f"systemctl daemon-reload; systemctl restart {' '.join(units)}")

    def with_docker(self) -> None:
        """Let the host make cgroups, and Docker work without IPv6 tables."""
        self.run("for d in /sys/fs/cgroup/*/; do mount -o remount,rw $d || mount -o remount,rw,bind $d; done; true")
        drop_in = "[Service]\\nEnvironment=DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1\\n"
        directory = "/etc/systemd/system/docker.service.d"
        self.run(f"mkdir -p {directory}; printf '{drop_in}' >{directory}/fleet.conf; systemctl daemon-reload")

    def _mount(self) -> None:
        if os.path.ismount(self.root):
            return
        lower = ":".join(map(str, self.layers))
        options = f"lowerdir={lower},upperdir={self._upper},workdir={self._work}"
        network.command("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))

    def _hang_up(self) -> None:
        subprocess.run([*self.ssh(), "-O", "exit"], capture_output=True)

    def _ended(self, timeout: float) -> None:
        self._hang_up()
        deadline = time.monotonic() + timeout
        while network.processes(self.number) or self.is_up:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not go down within {timeout:.0f} s")
            time.sleep(0.05)

    def _release(self) -> None:
        network.unplug(self.number)
        for cgroup in CGROUPS.glob(f"*/{self.name}*"):
            with suppress(OSError):
                cgroup.rmdir()


def _unmount(root: Path) -> None:
    if os.path.ismount(root):
        network.command("umount", str(root))
