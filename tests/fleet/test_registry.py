"""The whole of the role registry, on Debian 12 with Salt 3006: what is crawled there is archived there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.crawls import PROJECT, PROJECT_DIRECTORY
from demo.publisher import Publisher
from tests.fleet import network
from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Applied, Master
from tests.fleet.test_collect import wait_until
from tests.fleet.watching import seen, told, watch
from tests.services.postgresql import COLLECTION_TABLE
from tests.services.seaweedfs import REGION, SeaweedFS

SECRETS = {name: f"h1dden-{name}" for name in ("process", "rabbit", "scrapyd")}
COLLECT = "/home/collect/scrapyd"
STARTED = "2026-01-06T04:05:06"
#: All that a halt may take away, and all that states write.
FILES = "/etc /opt/kingfisher* /home/collect /usr/local/sbin /root/.ssh"


def make_pillar(store: SeaweedFS) -> dict[str, Any]:
    return {
        "kingfisher_archive": {
            "bucket": "archive",
            "data_directory": f"{COLLECT}/data",
            "logs_directory": f"{COLLECT}/logs/{PROJECT}",
            "min_age_days": 0,
            "s3": {
                "endpoint_url": store.endpoint_url,
                "region": REGION,
                "access_key_id": store.identities["admin"].access_key,
                "secret_access_key": store.identities["admin"].secret_key,
            },
            "database": {"name": "kingfisher_process", "user": "process", "password": SECRETS["process"]},
            "schedule": {"hour": 3, "minute": 0},
        },
        "kingfisher_collect": {"user": "collect", "env": {"FILES_STORE": f"{COLLECT}/data"}},
        "scrapyd": {
            "url": "http://localhost:6800",
            "project": PROJECT,
            "logs_directory": f"{COLLECT}/logs",
            "data_directory": f"{COLLECT}/data",
            "username": "collect",
            "password": SECRETS["scrapyd"],
        },
        "postgres": {
            "configuration": {"name": "registry", "settings": {"shared_buffers": "64MB"}},
            "users": {"process": {"password": SECRETS["process"]}},
            "databases": {"kingfisher_process": {"user": "process"}},
        },
        "rabbitmq": {
            "configuration": {"disk_free_limit.relative": "0.001"},
            "users": {"process": {"password": SECRETS["rabbit"], "write": True}},
        },
        # Without applications: Debian 12 has no compose plugin.
        "docker": {"user": "deployer", "uid": 1234, "packages": ["docker.io"]},
        "users": {"james": {"sudo": ["(ALL) NOPASSWD: ALL"]}},
    }


class Registry:
    """The host, and how its first states went."""

    def __init__(self, host: Host, master: Master, store: SeaweedFS):
        self.host, self.master, self.store = host, master, store
        self.pillar = make_pillar(store)
        host.with_docker()
        watch(host, self.secrets)
        self.set_pillar(self.pillar)
        master.accept(host)
        before = self.files()
        wrong = copy.deepcopy(self.pillar)
        del wrong["kingfisher_archive"]["bucket"], wrong["docker"]["uid"]
        wrong["kingfisher_collect"]["retention"] = 90
        self.set_pillar(wrong)
        self.refused = master.apply(host, check=False)
        self.set_pillar(self.pillar)
        self.predicted = master.apply(host, test=True)
        self.untouched = self.files() == before
        self.first = self.apply()

    @property
    def secrets(self) -> list[str]:
        return [*SECRETS.values(), self.store.identities["admin"].secret_key]

    def set_pillar(self, pillar: dict[str, Any]) -> None:
        self.master.set_pillar(self.host, pillar)

    def apply(self) -> Applied:
        self.set_pillar(self.pillar)
        return self.master.apply(self.host)

    def call(self, function: str, *arguments: str) -> Any:
        return self.master.call(self.host, function, *arguments)

    def files(self) -> str:
        """Return what is in the directories that states write to, but for what a minion keeps."""
        skip = "-not -path '/etc/salt/*' -not -path '*/data/*' -not -path '*/logs/*' -not -path '*/dbs/*'"
        return self.host.run(
            f"find {FILES} -type f {skip} 2>/dev/null | sort | xargs -d '\\n' sha256sum;"
            " systemctl list-unit-files --no-legend --state=enabled | awk '{print $1}'; true"
        ).stdout

    def active(self, *units: str) -> list[str]:
        return self.host.run(f"systemctl is-active {' '.join(units)}", check=False).stdout.split()


@pytest.fixture(scope="module")
def store(fleet: Fleet) -> Iterator[SeaweedFS]:
    """Return a store that hosts reach."""
    directory = fleet.directory / "registry-store"
    directory.mkdir()
    with SeaweedFS(directory, address=network.GATEWAY) as store:
        store.client().create_bucket(Bucket="archive")
        yield store


@pytest.fixture(scope="module")
def registry(fleet: Fleet, master: Master, store: SeaweedFS) -> Iterator[Registry]:
    host = fleet.host("registry", suite="bookworm")
    yield Registry(host, master, store)
    fleet.throw_away(host)


def test_it_is_salt_3006_on_debian_12(registry: Registry) -> None:
    assert registry.call("grains.get", "saltversion").startswith("3006.")
    assert registry.call("grains.get", "oscodename") == "bookworm"


def test_what_is_wrong_in_all_sections_is_told_at_once(registry: Registry) -> None:
    (said,) = [comment for comment, _ in registry.refused.failed.values()]
    assert "kingfisher_archive:bucket is not set" in said
    assert "kingfisher_collect:retention is not a setting: did you mean retention_days?" in said
    assert registry.refused.changed == {}


def test_first_apply_is_predicted_and_the_second_changes_nothing(registry: Registry) -> None:
    assert registry.untouched
    assert registry.first.ids <= registry.predicted.predicted
    assert registry.apply().changed == {}


def test_services_answer(registry: Registry) -> None:
    assert set(registry.active("scrapyd", "postgresql", "rabbitmq-server", "docker", "cron")) == {"active"}
    assert registry.call("scrapyd.health")["healthy"] is True
    assert "james" in registry.host.run("su - james -c 'sudo -n id -un; id -un'").stdout


def test_a_crawl_is_found_and_archived(registry: Registry) -> None:
    host = registry.host
    sql = f"{COLLECTION_TABLE}; INSERT INTO collection (source_id, data_version, store_end_at)"
    sql += f" VALUES ('ruritania', '{STARTED}', now())"
    host.run(f"PGPASSWORD={SECRETS['process']} psql -qh localhost -U process kingfisher_process", text=sql)
    host.copy(PROJECT_DIRECTORY, "/srv/collect")
    host.run(
        "set -e; cd /srv/collect; command -v git >/dev/null || apt-get install --yes git >/dev/null; git init --quiet;"
        "git add .; git -c user.name=A -c user.email=a@example.com commit --quiet -m A"
    )
    assert "ruritania" in registry.call("scrapyd.deploy", "checkout=/srv/collect")["spiders"]
    with Publisher(network.GATEWAY) as publisher:
        settings = json.dumps({"PUBLISHER_URL": publisher.url})
        crawl_time = f"crawl_time={STARTED}"
        scheduled = registry.call("scrapyd.schedule", "ruritania", crawl_time, f"settings={settings}")
        assert "job" in scheduled, scheduled
        wait_until(lambda: registry.call("scrapyd.status", scheduled["job"])["state"] == "finished")
    tried = registry.call("kingfisher.archive", "dry_run=True")
    assert [crawl["decision"] for crawl in tried["crawls"].values()] == ["archive"], tried
    crawl = f"{COLLECT}/data/ruritania/20260106_040506"
    assert host.exists(crawl)
    done = registry.call("kingfisher.archive")
    assert done["failed"] == {}, done
    assert not host.exists(crawl)
    keys = [entry["Key"] for entry in registry.store.client().list_objects_v2(Bucket="archive")["Contents"]]
    assert any(key.startswith("ruritania/") and key.endswith(".tar.lz4") for key in keys), keys
    assert registry.call("kingfisher.verify", "deep=True")["failed"] == {}


def test_halted_and_restored_byte_for_byte(registry: Registry) -> None:
    before = registry.files()
    registry.pillar["maintenance"] = {"halted": True}
    registry.apply()
    assert not registry.host.exists("/etc/cron.d/kingfisher-archive")
    assert not registry.host.exists("/etc/cron.d/kingfisher-collect")
    assert set(registry.active("scrapyd", "postgresql", "rabbitmq-server", "docker", "cron")) == {"active"}
    assert registry.apply().changed == {}
    registry.pillar["maintenance"] = {"halted": False}
    registry.apply()
    assert registry.files() == before


def test_all_is_up_again_after_a_reboot(registry: Registry) -> None:
    registry.host.reboot()
    registry.master.accept(registry.host)
    wait_until(lambda: registry.call("scrapyd.health"))
    assert set(registry.active("scrapyd", "postgresql", "rabbitmq-server", "docker", "cron")) == {"active"}
    assert registry.apply().changed == {}


def test_no_secret_is_told(registry: Registry) -> None:
    everything = told(registry.host, registry.master, registry.first)
    assert [secret for secret in registry.secrets if secret in everything] == []
    assert seen(registry.host) == ""


def test_sections_that_leave_pillar_leave_the_server_without_its_data(registry: Registry) -> None:
    for section in ("kingfisher_archive", "kingfisher_collect", "scrapyd", "rabbitmq", "postgres", "docker"):
        del registry.pillar[section]
    registry.apply()
    files = registry.host.run("ls /etc/cron.d /etc/systemd/system").stdout
    assert "kingfisher" not in files and "scrapyd" not in files
    assert registry.active("scrapyd") == ["inactive"]
    assert registry.host.exists(f"{COLLECT}/logs/{PROJECT}")
    assert registry.host.run("cd /; su postgres -c 'psql -Atqc \"SELECT 1\" kingfisher_process'").stdout == "1\n"
    assert registry.apply().changed == {}
