"""A host with Docker, a registry of its own, and an application that is made of a few small programs."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Any

from tests.fleet import network
from tests.fleet.hosts import FailedError

if TYPE_CHECKING:
    from tests.fleet.hosts import Host
    from tests.fleet.salt_master import Master

UID = 1234
SECRET = "h1dden-'\"$HOME\\n %s #`id`"  # all that a parser may trip over
REFERENCE = "127.0.0.1:5000/example:latest"
DIRECTORY = "/data/deploy/example-app"
DATA = "/data/storage/example"
COMPOSE = """\
x-shared: &shared
  env_file: .env
  user: "{{ pillar.docker.uid }}:{{ pillar.docker.uid }}"
  image: {{ entry.images.example | json }}
  restart: unless-stopped
  stop_grace_period: 0s
  volumes:
    - {{ entry.host_dir }}:/data
    - kept:/kept
services:
  web:
    <<: *shared
    command: [web]
    ports: ["{{ entry.port }}:8000"]
  worker:
    <<: *shared
    command: [sleep, "100000"]
    restart: always
  cron:
    <<: *shared
    profiles: [cron]
volumes:
  kept: {}
"""
REGISTRY = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: "127.0.0.1:5000"}
"""
# The version is part of the image, as is what is wrong with it.
PROGRAMS = {
    "web": "echo ready; exec httpd -f -p 8000 -h /www",
    "migrate": 'echo "$0 $(cat /www/version) $SECRET"; echo "$(cat /www/version)" >>/data/migrations',
}
MAKE = """
set -e
rm -rf /tmp/image; mkdir -p /tmp/image/bin /tmp/image/www /tmp/image/tmp
cp /bin/busybox /tmp/image/bin
for name in sh sleep httpd wget cat echo env test id; do ln -s busybox /tmp/image/bin/$name; done
"""


def pillar(**settings: Any) -> dict[str, Any]:
    """Return the pillar of the application, with other settings. None removes one."""
    app = {
        "target": "example-app",
        "source": "salt://example.yaml",
        "images": {"example": REFERENCE},
        "port": 8000,
        "host_dir": DATA,
        "service": "cron",
        "migrate": "migrate",
        "workers": ["worker"],
        "health": {"url": "http://127.0.0.1:8000/version", "timeout": 6},
        "env": {"SECRET": SECRET, "DEBUG": False},
        "cron": {"tidy": {"command": "echo tidy", "minute": 7}},
        **settings,
    }
    app = {name: value for name, value in app.items() if value is not None}
    return {"docker": {"user": "deployer", "uid": UID}, "docker_apps": {"example": app}}


class DockerHost:
    """The host, as tests talk to it."""

    def __init__(self, host: Host, master: Master):
        self.host = host
        self.master = master
        self.pillar: dict[str, Any] = {}
        (master.root / "states/example.yaml").write_text(COMPOSE)

    def registry(self) -> None:
        """Run an image registry on the host."""
        self.host.write("/etc/docker/registry/config.yml", REGISTRY)
        options = "-o Dpkg::Options::=--force-confold --yes --quiet --no-install-recommends"
        self.host.run(f"apt-get update --quiet; apt-get install {options} docker-registry busybox-static")

    def push(self, version: str, **programs: str) -> None:
        """Make a version of the application, and push it to the registry as the newest."""
        files = "".join(
            f"cat >/tmp/image/bin/{name} <<'EOF'\n#!/bin/sh\n{text}\nEOF\nchmod +x /tmp/image/bin/{name}\n"
            for name, text in {**PROGRAMS, **programs}.items()
        )
        push = f"""
            echo {version} >/tmp/image/www/version
            tar -C /tmp/image -c . | docker import - {REFERENCE} >/dev/null
            docker push --quiet {REFERENCE} >/dev/null
            docker image rm {REFERENCE} >/dev/null
        """
        # What is local stays what was pulled: pushing changes nothing but the registry.
        before = f"docker tag {REFERENCE} before:latest 2>/dev/null || true"
        after = f"docker tag before:latest {REFERENCE} 2>/dev/null && docker image rm before:latest >/dev/null || true"
        self.host.run("\n".join([before, MAKE, files, textwrap.dedent(push), after]))

    def give(self, pillar: dict[str, Any]) -> None:
        """Give the host its pillar, for the next apply."""
        self.pillar = pillar
        self.master.set_pillar(self.host, pillar)

    def settle(self) -> None:
        """Have the application up with the pillar of this file, and not held, if a test left it otherwise."""
        if self.pillar != pillar():
            self.give(pillar())
            self.apply(check=False)
        status = self.call("status", "example")
        if status["problems"] or status["held_since"]:
            self.push(f"settled-{os.urandom(4).hex()}")
            self.call("update", "example")

    def apply(self, *, test: bool = False, check: bool = True) -> Any:
        return self.master.apply(self.host, "docker_apps", test=test, check=check)

    def call(self, function: str, *arguments: str, check: bool = True) -> Any:
        """Run a function. Without --retcode-passthrough, salt ends well even if it failed."""
        returned = self.master.call(self.host, f"docker_apps.{function}", *arguments, check=check)
        if check and isinstance(returned, str) and returned.startswith("ERROR"):
            raise FailedError(f"docker_apps.{function} {arguments}: {returned}")
        return returned

    def kill_minion(self) -> None:
        """Kill the minion with what it runs, and wait for the one that systemd starts."""
        connected = f"ss --no-header --tcp state established dst {network.GATEWAY} sport gt 1023"
        self.host.run(
            "before=$(systemctl show --property=MainPID --value salt-minion);"
            "systemctl kill --signal=KILL salt-minion;"
            "until [ $(systemctl show --property=MainPID --value salt-minion) -gt $before ]; do sleep 0.1; done;"
            f"until [ $({connected} | wc -l) -ge 2 ]; do sleep 0.1; done",
            timeout=60,
        )
        self.master.accept(self.host)

    def version(self) -> str:
        """Return the version that answers."""
        read = "busybox wget -q -O - http://127.0.0.1:8000/version"
        return self.host.run(f"for i in $(seq 50); do {read} && exit; sleep 0.2; done; exit 1").stdout.strip()

    def services(self) -> list[str]:
        """Return the services that run, of the application."""
        format_ = '{{.Label "com.docker.compose.service"}}'
        names = self.host.run(f"docker ps --filter label=com.docker.compose.project=example-app --format '{format_}'")
        return sorted(names.stdout.split())

    def containers(self) -> list[str]:
        return sorted(self.host.run("docker ps --all --quiet --no-trunc").stdout.split())

    def migrations(self) -> list[str]:
        return self.host.run(f"cat {DATA}/migrations", check=False).stdout.split()
