"""A server without a minion, reached by salt-ssh with config/, on another port as a user with sudo; and salt-call."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import BINARIES, CHECKOUT, Applied

SECRET = "s3cret-of-the-archive"
PILLAR = {
    "kingfisher_archive": {
        "bucket": "archive",
        "data_directory": "/srv",
        "logs_directory": "/srv",
        "s3": {
            "endpoint_url": "http://127.0.0.1:1",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": SECRET,
            "connect_timeout": 1,
            "attempts": 1,
        },
    },
    "users": {"james": {"sudo": ["(ALL) NOPASSWD: ALL"]}},
}


class SaltSSH:
    """The machine that runs salt-ssh, from the checkout with config/, and one server."""

    def __init__(self, host: Host, root: Path, key: Path):
        self.host, self.root = host, root
        configuration = yaml.safe_load((CHECKOUT / "config/master").read_text())
        (root / "known_hosts").touch()  # hosts come and go at the same addresses
        configuration |= {
            "root_dir": str(root / "var"),
            "pillar_roots": {"base": [str(root / "pillar")]},
            "known_hosts_file": str(root / "known_hosts"),
        }
        (root / "master").write_text(yaml.safe_dump(configuration))
        entry = yaml.safe_load((CHECKOUT / "config/roster").read_text())["registry"]
        entry |= {"host": host.address, "priv": str(key)}
        (root / "roster").write_text(yaml.safe_dump({"registry": entry}))
        (root / "pillar").mkdir()
        (root / "pillar/top.sls").write_text("base: {registry: [registry]}")
        (root / "pillar/registry.sls").write_text(yaml.safe_dump(PILLAR))

    def run(self, *arguments: str) -> Any:
        argv = [BINARIES / "salt-ssh", f"--config-dir={self.root}", f"--roster-file={self.root}/roster", "-i"]
        done = subprocess.run(
            [*argv, "--out=json", "--static", "registry", *arguments],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": "_utils"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)["registry"]


@pytest.fixture(scope="module")
def ssh(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SaltSSH]:
    """Return a server without Salt, whose sshd listens on another port for a user with sudo."""
    host = fleet.host("registry")
    host.run(
        "rm -r /opt/salt /etc/systemd/system/salt-minion.service; useradd --create-home --shell /bin/bash deploy;"
        "install -d -o deploy -m 700 ~deploy/.ssh; install -o deploy -m 600 ~/.ssh/authorized_keys ~deploy/.ssh;"
        "echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy;"
        "printf 'Port 22\\nPort 2223\\n' >/etc/ssh/sshd_config.d/port.conf; systemctl restart ssh"
    )
    yield SaltSSH(host, tmp_path_factory.mktemp("salt-ssh"), fleet.directory / "key")
    fleet.throw_away(host)


def test_states_are_applied(ssh: SaltSSH) -> None:
    first = Applied(ssh.run("state.apply"))
    assert first.failed == {}
    assert {"core-user-james", "minion-python-packages", "kingfisher-archive-cache-directory"} <= first.ids
    second = Applied(ssh.run("state.apply"))
    assert (second.failed, second.ids) == ({}, set())
    assert ssh.host.run("runuser -u james -- sudo -n id -un").stdout == "root\n"


def test_a_function_has_its_pillar_and_its_packages(ssh: SaltSSH) -> None:
    said = str(ssh.run("kingfisher.archive", "dry_run=True"))
    assert "kingfisher_archive:bucket: bucket archive: " in said
    assert "check kingfisher_archive:s3:endpoint_url and the network" in said


def test_no_secret_stays_on_the_server(ssh: SaltSSH) -> None:
    assert ssh.host.run(f"grep -rlsF {SECRET} /etc /home /tmp /var /srv /run || true").stdout == ""


def test_a_mistyped_key_changes_nothing(ssh: SaltSSH) -> None:
    wrong = {**PILLAR, "kingfisher_archive": {**PILLAR["kingfisher_archive"], "schedul": {}}, "users": {}}
    (ssh.root / "pillar/registry.sls").write_text(yaml.safe_dump(wrong))
    failed = Applied(ssh.run("state.apply")).failed
    (ssh.root / "pillar/registry.sls").write_text(yaml.safe_dump(PILLAR))
    ((comment, _),) = failed.values()
    assert "kingfisher_archive:schedul is not a setting: did you mean schedule?" in comment
    assert ssh.host.run("test -e /etc/sudoers.d/kingfisher-james", check=False).returncode == 0


def test_a_server_alone(fleet: Fleet) -> None:
    host = fleet.host("alone")
    tree = subprocess.run(["tar", "-chC", str(CHECKOUT), "salt"], check=True, capture_output=True).stdout
    subprocess.run([*host.ssh(), "tar -xC /srv"], check=True, input=tree)
    host.run("mkdir /srv/pillar; echo 'base: {\"*\": [all]}' >/srv/pillar/top.sls")
    host.write("/srv/pillar/all.sls", yaml.safe_dump({"users": PILLAR["users"]}))
    call = "salt-call --local --file-root=/srv/salt --pillar-root=/srv/pillar --out=json --log-level=quiet state.apply"
    first = Applied(json.loads(host.run(call).stdout)["local"])
    assert first.failed == {}
    assert "core-user-james" in first.ids
    assert Applied(json.loads(host.run(call).stdout)["local"]).ids == set()
    fleet.throw_away(host)
