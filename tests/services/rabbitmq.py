"""RabbitMQ, from Debian's package, with its management interface: a node of its own, with an epmd of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from tests.services.files import write_private
from tests.services.ports import free_ports
from tests.services.postgresql import PRIVILEGES, UNPRIVILEGED
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

# Not the one in /usr/sbin, which writes below /var whatever it is told.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# access(2), by which Erlang looks whether a directory can be written, heeds a user's capabilities with this alone.
HEEDED = "--securebits=+no_setuid_fixup"
CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
distribution.listener.interface = 127.0.0.1
distribution.listener.port_range.min = {distribution}
distribution.listener.port_range.max = {distribution}
default_user = {username}
default_pass = {password}
loopback_users = none
log.file = false
log.console = true
log.console.level = warning
collect_statistics_interval = 1000
disk_free_limit.absolute = 50MB
"""


class RabbitMQ:
    """
    A server at 127.0.0.1, with one administrator, whose messages outlive ``stop`` and ``start``.

    :param management: whether the management interface is there
    """

    host = "127.0.0.1"
    username = "operator"

    def __init__(self, directory: Path, *, management: bool = True):
        self.directory = directory
        self.port, self.management_port, self._distribution, epmd = free_ports(4)
        self.password = secrets.token_urlsafe(24)
        self.has_management = management
        privileges = (*PRIVILEGES, HEEDED) if os.geteuid() == 0 else ()
        environment = {
            "HOME": str(directory),  # for the cookie that nodes know each other by
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "logs"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "config"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(directory / "feature_flags"),
            # So that the script becomes the server. Else it stays its parent, and a signal goes round a corner.
            "RABBITMQ_ALLOW_INPUT": "1",
            # Few threads that wait by sleeping: tests run beside each other on two processors.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -start_epmd false +sbwt none +S 2:2",
        }
        self._epmd = Process(
            ["epmd", "-port", str(epmd), "-address", self.host], directory / "epmd.log", privileges=privileges
        )
        self._epmd_port = epmd
        self._process = Process(
            [PROGRAM],
            directory / "rabbitmq.log",
            env=environment,
            cwd=directory,
            privileges=privileges,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        """Return the address of the management interface."""
        return f"http://{self.host}:{self.management_port}"

    def amqp_url(self, vhost: str = "/", username: str | None = None, password: str | None = None) -> str:
        """Return an address with credentials in it, as applications take it."""
        user = f"{username or self.username}:{password or self.password}"
        return f"amqp://{user}@{self.host}:{self.port}/{quote(vhost, safe='')}"

    def url_file(self, path: Path, vhost: str = "/", username: str | None = None, password: str | None = None) -> Path:
        """Write such an address to a file that only its owner can read."""
        return write_private(path, self.amqp_url(vhost, username, password) + "\n")

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return what the management interface answers: ``ask("GET", "queues/%2F/name")``."""
        answer = requests.request(
            method, f"{self.url}/api/{path}", auth=(self.username, self.password), timeout=30, **options
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def add_vhost(self, name: str) -> None:
        """Create a virtual host, which the administrator may use."""
        self.ask("PUT", f"vhosts/{quote(name, safe='')}")
        self.allow(self.username, name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all of its queues."""
        self.ask("DELETE", f"vhosts/{quote(name, safe='')}")

    def add_user(self, name: str, password: str, tags: str = "") -> None:
        """Create a user. With the tag monitoring, it may read the management interface; without one, AMQP alone."""
        self.ask("PUT", f"users/{quote(name, safe='')}", json={"password": password, "tags": tags})

    def allow(
        self, name: str, vhost: str = "/", *, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Let a user use a virtual host."""
        path = f"permissions/{quote(vhost, safe='')}/{quote(name, safe='')}"
        self.ask("PUT", path, json={"configure": configure, "write": write, "read": read})

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.directory, UNPRIVILEGED)
        configuration = CONFIGURATION.format(
            amqp=self.port,
            management=self.management_port,
            distribution=self._distribution,
            username=self.username,
            password=self.password,
        )
        self._write("rabbitmq.conf", configuration)
        self._write("enabled_plugins", "[rabbitmq_management].\n" if self.has_management else "[].\n")
        self._epmd.start(lambda: socket.create_connection((self.host, self._epmd_port), 1).close())
        try:
            self._process.start(self._answers, timeout=120)
        except BaseException:
            self._epmd.stop()
            raise

    def stop(self) -> None:
        self._process.stop(timeout=30)
        self._epmd.stop()

    def kill(self) -> None:
        """End it as a power cut does."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError, ProcessLookupError):  # a test stopped it
            os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def _write(self, name: str, text: str) -> None:
        path = write_private(self.directory / name, text)
        if os.geteuid() == 0:
            shutil.chown(path, UNPRIVILEGED)

    def _answers(self) -> None:
        with socket.create_connection((self.host, self.port), 5) as connection:
            connection.settimeout(5)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            if not connection.recv(1):
                raise ConnectionError("it does not greet")
        if self.has_management:
            health = self.ask("GET", "health/checks/local-alarms")
            if health["status"] != "ok":
                raise ConnectionError(json.dumps(health))
