"""A Software Heritage deposit server, from bare Debian."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet import network
from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Applied, Master
from tests.services.deposit import DepositServer
from tests.services.postgresql import PostgreSQL

ROOT = Path(__file__).parents[2]
SECRETS = {"client": "cl1ent-secret", "database": "d4tabase-secret", "key": "k3y-secret", "broker": "br0ker-secret"}
SERVICES = ["deposit.socket", "deposit.service", "deposit-worker@checker", "deposit-worker@loader"]


def make_pillar(scheduler: str) -> dict[str, Any]:
    """Return the example, with secrets, and with services that there are."""
    pillar = yaml.safe_load((ROOT / "pillar/deposit.sls").read_text())
    deposit = pillar["deposit"]
    deposit["clients"]["hal"]["password"] = SECRETS["client"]
    deposit["clients"]["checker"]["password"] = SECRETS["client"]
    server = deposit["server"]
    server["broker"] = f"amqp://deposit:{SECRETS['broker']}@127.0.0.1:5672/"
    server["config"] |= {
        "scheduler": {"cls": "remote", "url": scheduler},
        "storage": {"cls": "memory"},
        "storage_metadata": {"cls": "memory"},
    }
    server["config"]["private"] |= {"secret_key": SECRETS["key"]}
    server["config"]["private"]["db"]["password"] = SECRETS["database"]
    return pillar


class Deposit:
    """The host, and how its first states went."""

    def __init__(self, host: Host, master: Master, scheduler: str):
        self.host, self.master = host, master
        self.pillar = make_pillar(scheduler)
        host.run(
            "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update;"
            "apt-get -qq install --no-install-recommends rabbitmq-server >/dev/null;"
            f"rabbitmqctl -q add_user deposit {SECRETS['broker']};"
            "rabbitmqctl -q set_permissions deposit '.*' '.*' '.*'"
        )
        master.set_pillar(host, self.pillar)
        master.accept(host)
        before = self.files()
        self.predicted = master.apply(host, test=True)
        self.trial_changed = set(self.files() ^ before)
        self.first = self.apply()

    def apply(self, **options: Any) -> Applied:
        self.master.set_pillar(self.host, self.pillar)
        return self.master.apply(self.host, **options)

    def call(self, function: str, *arguments: str) -> Any:
        return self.master.call(self.host, function, *arguments)

    def files(self) -> set[str]:
        listed = "find /etc /opt /srv -type f -not -path '/etc/salt/*' -not -path '/opt/salt/*' -printf '%p %s %T@\\n'"
        return set(self.host.run(listed).stdout.splitlines())

    def upload(self) -> dict[str, Any]:
        """Deposit a small archive with Software Heritage's own client, from this machine's port."""
        self.host.run("cd /tmp && echo hello >README && tar czf a.tgz README")
        command = (
            "/opt/swh-deposit/bin/swh deposit upload --url http://127.0.0.1:5006/1 --username hal --format json"
            " --password $(cat) --archive /tmp/a.tgz --name a --author A --create-origin https://hal.example.com/a"
        )
        return json.loads(self.host.run(command, text=SECRETS["client"]).stdout)


@pytest.fixture(scope="module")
def scheduler(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> Iterator[str]:
    """Return the address of a scheduler that hosts can reach."""
    assert fleet.directory.exists()
    with DepositServer(tmp_path_factory.mktemp("deposit"), postgresql, address=network.GATEWAY) as server:
        yield server.scheduler_url


@pytest.fixture(scope="module")
def deposit(fleet: Fleet, master: Master, scheduler: str) -> Iterator[Deposit]:
    host = fleet.host("deposit")
    yield Deposit(host, master, scheduler)
    fleet.throw_away(host)


def test_first_apply_is_predicted_and_the_second_changes_nothing(deposit: Deposit) -> None:
    assert deposit.trial_changed == set()
    assert deposit.first.ids <= deposit.predicted.predicted
    assert deposit.apply().changed == {}


def test_a_deposit_is_accepted(deposit: Deposit) -> None:
    assert deposit.host.run(f"systemctl is-active {' '.join(SERVICES)}").stdout.split() == ["active"] * 4
    done = deposit.upload()
    assert done["deposit_status"] == "deposited"
    status = deposit.call("deposit.status", str(done["deposit_id"]))
    assert (status["status"], status["client"]) == ("deposited", "hal")


def test_a_client_changes_with_pillar(deposit: Deposit) -> None:
    deposit.pillar["deposit"]["clients"]["hal"]["domain"] = "archives.example.com"
    assert deposit.apply().ids == {"swh-deposit-client-hal"}
    assert deposit.call("deposit.client_show", "hal")["domain"] == "archives.example.com"
    assert deposit.apply().changed == {}


def test_no_secret_is_told(deposit: Deposit) -> None:
    told = deposit.host.run(
        "journalctl --no-pager; cat /var/log/salt/minion; for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; done;"
        " find /etc /opt /srv /tmp /var -xdev -type f -perm -o+r -newer /etc/hostname -size -2M"
        " -not -path '*/site-packages/*' -print0 | xargs -0 cat 2>/dev/null; true"
    ).stdout
    told += json.dumps(deposit.first.states, default=str)
    found = {name for name, secret in SECRETS.items() if secret in told}
    assert found <= {"broker"}  # the test's own command, which adds the user to RabbitMQ
    assert SECRETS["broker"] not in json.dumps(deposit.first.states, default=str)


def test_all_is_up_again_after_a_reboot(deposit: Deposit) -> None:
    deposit.host.reboot()
    deposit.master.accept(deposit.host)
    assert deposit.apply().changed == {}
    assert deposit.host.run(f"systemctl is-active {' '.join(SERVICES)}").stdout.split() == ["active"] * 4
    script = "import requests; print(requests.get('http://127.0.0.1:5006/1/servicedocument/').status_code)"
    assert deposit.host.run(f'/opt/salt/bin/python3 -c "{script}"').stdout.strip() == "401"


def test_halted_workers_and_checks_come_back_as_they_were(deposit: Deposit) -> None:
    cron = deposit.host.read("/etc/cron.d/swh-deposit")
    deposit.pillar["maintenance"] = {"halted": True}
    deposit.apply()
    assert not deposit.host.exists("/etc/cron.d/swh-deposit")
    states = deposit.host.run(f"systemctl is-active {' '.join(SERVICES)}", check=False).stdout.split()
    assert states == ["active", "active", "inactive", "inactive"]
    del deposit.pillar["maintenance"]
    deposit.apply()
    assert deposit.host.read("/etc/cron.d/swh-deposit") == cron
    assert deposit.host.run(f"systemctl is-active {' '.join(SERVICES)}").stdout.split() == ["active"] * 4


def test_a_server_that_leaves_pillar_is_gone(deposit: Deposit) -> None:
    del deposit.pillar["deposit"]["server"]
    deposit.apply()
    removed = [
        "/etc/cron.d/swh-deposit",
        "/etc/softwareheritage/deposit",
        "/opt/swh-deposit",
        "/opt/swh-deposit-check",
    ]
    for path in [*removed, "/etc/systemd/system/deposit.service", "/etc/systemd/system/deposit-worker@.service"]:
        assert not deposit.host.exists(path)
    assert "active" not in deposit.host.run(f"systemctl is-active {' '.join(SERVICES)}", check=False).stdout.split()
    assert deposit.host.exists("/srv/swh-deposit/uploads")
    assert deposit.apply().changed == {}


def test_a_server_that_others_set_up_is_left_alone(deposit: Deposit) -> None:
    deposit.host.run(
        "mkdir -p /etc/softwareheritage/deposit /opt/swh-deposit; touch /etc/softwareheritage/deposit/server.yml;"
        "printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/deposit.service;"
        "systemctl daemon-reload; systemctl start deposit.service"
    )
    assert deposit.apply().changed == {}
    assert deposit.host.exists("/etc/softwareheritage/deposit/server.yml")
    assert deposit.host.run("systemctl is-active deposit.service").stdout.strip() == "active"
