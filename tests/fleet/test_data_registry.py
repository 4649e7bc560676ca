"""The Data Registry's day on a booted host: its functions, through Docker Compose, with the settings' defaults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fleet import network
from tests.fleet.fleet import Fleet
from tests.fleet.registry_host import EXCHANGE, HIDDEN, UID, RegistryHost, Scrapyd
from tests.fleet.salt_master import Master
from tests.fleet.watching import seen, watch
from tests.functional.scrapyd_server import PROJECT, PROJECT_DIRECTORY
from tests.services.data_registry import Api

SOURCE = "slow"


@pytest.fixture(scope="module")
def registry(fleet: Fleet, master: Master, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryHost]:
    host = fleet.host("registry")
    host.with_docker()
    # On the overlay that a host is, Docker would copy an image for each container.
    host.run("mkdir --parents /var/lib/docker; mount --types tmpfs tmpfs /var/lib/docker")
    watch(host, [HIDDEN])
    with Scrapyd(tmp_path_factory.mktemp("scrapyd")) as scrapyd, Api(network.GATEWAY) as api:
        scrapyd.deploy(PROJECT, PROJECT_DIRECTORY)
        yield RegistryHost(host, master, scrapyd, api, tmp_path_factory.mktemp("registry"))
    fleet.throw_away(host)


def wait_until(true: Callable[[], object], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)


def add_job(registry: RegistryHost, reached: str, collection: int, **context: Any) -> int:
    """Add a job that has a collection in Kingfisher Process."""
    registry.api.collections.add(collection)
    publication = registry.registry.publication(SOURCE)
    named = {"process_id": collection, "process_id_pelican": collection + 1, "pelican_dataset_name": "slow_2026"}
    return registry.registry.job(publication, reached=reached, hours=30, context=named | context)


def everything(registry: RegistryHost, pk: int) -> Any:
    """Return all that a deletion or restart may change."""
    ask = registry.registry.ask
    rows = ask("SELECT * FROM data_registry_job WHERE id = %s", pk)
    rows += ask("SELECT * FROM data_registry_task WHERE job_id = %s ORDER BY id", pk)
    rows += ask("SELECT * FROM data_registry_collection ORDER BY id")
    files = {str(path): path.stat().st_mtime for path in registry.registry.exports.rglob("*")}
    crawls = registry.scrapyd.ids("pending") + registry.scrapyd.ids("running")
    return rows, files, crawls, set(registry.api.collections), dict(registry.api.datasets)


def test_a_stalled_job_is_found_traced_read_and_deleted_everywhere(registry: RegistryHost) -> None:
    crawl = registry.scrapyd.begin(SOURCE, pages="1000")
    log = f"{registry.scrapyd.url}/logs/{PROJECT}/{SOURCE}/{crawl}.log"
    pk = add_job(registry, "flattener", 7, job_id=crawl, scrapy_log=log, pelican_id=3)
    registry.api.datasets[3] = "slow_2026"
    directory = registry.export(pk, "full.jsonl.gz")

    assert [job["job"] for job in registry.call("data_registry.jobs", "stalled=True")["jobs"]] == [pk]
    found = registry.call("data_registry.job", pk)
    assert found["links"]["admin"] == f"https://registry.example.com/admin/data_registry/job/{pk}/change/"
    assert found["scrapyd"]["state"] == "running"
    assert [collection["id"] for collection in found["kingfisher_process"]["collections"]] == [7, 8]
    assert found["pelican"]["phase"] == "CHECKED"
    assert list(found["export"]["files"]) == ["full.jsonl.gz"]
    assert {name: queue["consumers"] for name, queue in found["queues"].items()} == {
        f"{EXCHANGE}_{worker}_init": 1 for worker in ("exporter", "flattener", "wiper")
    }
    assert "Crawled (200)" in registry.call("data_registry.log", pk)

    before = everything(registry, pk)
    told = registry.call("data_registry.delete_job", pk, "dry_run=True")
    assert told["would"][0].startswith(f"job {pk} of publication")
    assert everything(registry, pk) == before

    deleted = registry.call("data_registry.delete_job", pk, "freeze=True")
    assert deleted["done"], deleted
    assert pk not in registry.registry.jobs()
    assert not directory.exists()
    assert (registry.api.collections, registry.api.datasets) == (set(), {})
    assert crawl in registry.scrapyd.ids("finished")
    assert registry.call("data_registry.unfreeze", told["publication"])["changed"]
    assert f"job {pk} is unknown to the Data Registry" in registry.fails("data_registry.job", pk)


def test_a_deletion_ends_once_the_wiper_runs_again(registry: RegistryHost) -> None:
    pk = add_job(registry, "exporter", 17, job_id="0" * 32)
    directory = registry.export(pk, "full.jsonl.gz")
    registry.call("docker_apps.stop", "registry", "services=[wiper]")
    told = registry.call("data_registry.delete_job", pk, "wait=1")
    assert (list(told["waiting"]), told["done"]) == (["export"], False)
    assert "the Data Registry's wiper does not run" in told["notes"][0]
    assert directory.exists()
    registry.call("docker_apps.up", "registry")
    assert registry.call("data_registry.delete_job", pk)["done"]
    assert not directory.exists()


def test_the_exporter_is_restarted_by_a_message(registry: RegistryHost) -> None:
    pk = add_job(registry, "exporter", 27)
    registry.call("docker_apps.stop", "registry", "services=[exporter]")
    before = everything(registry, pk)
    told = registry.call("data_registry.restart_task", pk, "exporter", "dry_run=True")
    message = {"job_id": pk, "collection_id": 28}
    assert told["would"] == [f"{message} is published to {EXCHANGE}_exporter_init"]
    assert (registry.messages("exporter_init"), everything(registry, pk)) == ([], before)

    registry.call("data_registry.restart_task", pk, "exporter")
    assert registry.messages("exporter_init") == [message]
    assert "holds 1 ready" in registry.fails("data_registry.restart_task", pk, "exporter")

    registry.call("docker_apps.up", "registry")
    export = registry.registry.exports / str(pk) / "full.jsonl.gz"
    wait_until(export.exists)
    assert export.stat().st_uid == UID
    assert registry.messages("exporter_init") == []
    assert str(message) in registry.call("data_registry.log", pk, "task=exporter", "lines=1")


def test_the_flattener_is_restarted_without_its_old_files(registry: RegistryHost) -> None:
    pk = add_job(registry, "flattener", 37)
    directory = registry.export(pk, "full.jsonl.gz", "old.csv.tar.gz")
    registry.call("data_registry.restart_task", pk, "flattener")
    wait_until((directory / "full.xlsx").exists)
    assert sorted(path.name for path in directory.iterdir()) == ["full.csv.tar.gz", "full.jsonl.gz", "full.xlsx"]


def test_pelican_is_restarted_by_its_own_command(registry: RegistryHost) -> None:
    dataset = registry.pelican.add_dataset()
    pk = add_job(registry, "flattener", 47, pelican_id=dataset)
    registry.api.datasets[dataset] = "slow_2027"
    registry.call("data_registry.restart_task", pk, "pelican", "dry_run=True")
    assert list(registry.call("pelican.datasets")) == [str(dataset)]
    registry.call("data_registry.restart_task", pk, "pelican")
    assert registry.call("pelican.datasets") == {}
    assert registry.registry.tasks(pk) == {
        "collect": "COMPLETED", "process": "COMPLETED",
        "pelican": "PLANNED", "exporter": "PLANNED", "flattener": "PLANNED",
    }  # fmt: skip


def test_a_collection_is_loaded_and_deleted(registry: RegistryHost) -> None:
    registry.host.write("/srv/collect/slow/20260101_000000/1.json", "{}")
    load = ("kingfisher_process.load", "/srv/collect/slow/20260101_000000", "source=slow", "note=Try")
    assert not registry.call(*load, "dry_run=True")["loaded"]
    assert registry.call("kingfisher_process.collections") == {}
    registry.call(*load)
    # The path in the container, where its workers are.
    assert registry.process.ask("SELECT filename FROM collection_file") == [("/data/slow/20260101_000000/1.json",)]
    (number,) = registry.call("kingfisher_process.collections", "unfinished=True")
    assert registry.call("kingfisher_process.status", number)["collectionstatus"]["steps"] == "compile"
    registry.call("kingfisher_process.delete", number)
    assert registry.call("kingfisher_process.collections") == {}


def test_that_docker_is_down_is_told_in_a_sentence(registry: RegistryHost) -> None:
    registry.host.run("systemctl stop docker.socket docker.service")
    try:
        said = registry.fails("data_registry.jobs")
    finally:
        registry.host.run("systemctl start docker.socket docker.service")
    assert "Cannot connect to the Docker daemon" in said
    assert "by hand, by docker compose in /data/deploy/data-registry (data_registry:directory)" in said
    assert registry.call("data_registry.jobs")["total"] is not None


def test_no_secret_is_seen(registry: RegistryHost) -> None:
    assert seen(registry.host) == ""  # before what is hidden is an argument below
    assert HIDDEN not in str(registry.told)
    told = registry.host.run("cat /var/log/salt/minion; docker ps --all --no-trunc; journalctl --no-pager").stdout
    assert "dockerd" in told
    assert HIDDEN not in told
    readable = registry.host.run(f"grep --recursive --files-with-matches {HIDDEN} /data /etc /var/lib/kingfisher*")
    assert all(path.endswith("/.env") for path in readable.stdout.split())
