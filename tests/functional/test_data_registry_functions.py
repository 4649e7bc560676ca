"""The execution functions of the Data Registry, against a stand-in of the application and real other systems."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.conftest import Minion
from tests.functional.scrapyd_server import PROJECT, PROJECT_DIRECTORY, Server, wait_for
from tests.services.data_registry import Api, DataRegistry
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ

SOURCE = "slow"


class Host:
    """A minion whose pillar names all systems."""

    def __init__(self, minion: Minion, app: DataRegistry, server: Server, rabbitmq: RabbitMQ):
        self.minion, self.app, self.server = minion, app, server
        self.pillar: dict[str, Any] = {
            "data_registry": {**app.pillar, "public_url": "https://registry.example.com"},
            "scrapyd": {"url": server.url, "project": PROJECT},
            "rabbitmq_queue": {
                "amqp_url": f"amqp://{rabbitmq.host}:{rabbitmq.port}",
                "management_url": rabbitmq.url,
                "username": rabbitmq.username,
                "password": rabbitmq.password,
            },
        }
        minion.set_pillar(self.pillar)

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.minion.call(f"data_registry.{function}", *args, **kwargs)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("scrapyd")) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        yield server


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL, rabbitmq: RabbitMQ, server: Server
) -> Iterator[DataRegistry]:
    name = f"registry_{uuid.uuid4().hex[:12]}"
    root = tmp_path_factory.mktemp("registry")
    with Api() as api:
        app = DataRegistry(root, postgresql, api, rabbit_url=rabbitmq.amqp_url(), scrapyd_url=server.url, name=name)
        app.create()
        yield app
        app.stop_wiper()


@pytest.fixture
def host(minion: Minion, app: DataRegistry, server: Server, rabbitmq: RabbitMQ) -> Host:
    return Host(minion, app, server, rabbitmq)


def test_a_stalled_job_is_found_traced_read_and_deleted_everywhere(host: Host) -> None:
    app = host.app
    crawl = host.server.begin(SOURCE, pages="1000")
    publication = app.publication(SOURCE)
    context = {
        "spider": SOURCE,
        "job_id": crawl,
        "scrapy_log": f"{host.server.url}/logs/{PROJECT}/{SOURCE}/{crawl}.log",
        "process_id": 7,
    }
    app.api.collections.add(7)
    pk = app.job(publication, reached="collect", hours=30, context=context)

    assert [job["job"] for job in host.call("jobs", stalled=True)["jobs"]] == [pk]
    found = host.call("job", pk)
    assert found["links"]["admin"] == f"https://registry.example.com/admin/data_registry/job/{pk}/change/"
    assert found["scrapyd"]["state"] == "running"
    assert "Crawled (200)" in host.call("log", pk)

    assert host.call("delete_job", pk, dry_run=True)["would"][0].startswith(f"job {pk} of publication")
    assert app.jobs() == [pk]
    result = host.call("delete_job", pk, freeze=True, wait=30)
    assert (result["done"], host.minion.retcode) == (True, 0)
    assert app.jobs() == []
    assert app.api.collections == set()
    wait_for(lambda: crawl in host.server.ids("finished"))
    assert host.call("unfreeze", SOURCE)["changed"]
    assert not host.call("freeze", publication, dry_run=True)["frozen"]["old"]


def test_what_is_not_gone_yet_sets_the_return_code(host: Host) -> None:
    pk = host.app.job(host.app.publication("quick"), reached="process", context={"job_id": "x", "process_id": 8})
    host.app.api.collections.add(8)
    host.app.api.lazy = True
    result = host.call("delete_job", pk, wait=0)
    host.app.api.lazy = False
    assert (set(result["waiting"]), host.minion.retcode) == ({"kingfisher_process"}, 1)
    assert host.call("delete_job", pk)["done"]


def test_a_task_is_restarted_once(host: Host) -> None:
    pk = host.app.job(host.app.publication("silent"), reached="flattener")
    queue = f"{host.app.name}_flattener_init"
    # A queue has statistics some seconds after its declaration.
    wait_for(lambda: host.minion.call("rabbitmq_queue.list", queue)[queue]["unacknowledged"] is not None)
    directory: Path = host.app.export(pk, "full.jsonl.gz", "full.csv.tar.gz")
    assert len(host.call("restart_task", pk, "flattener", dry_run=True)["would"]) == 2
    host.call("restart_task", pk, "flattener")
    assert [path.name for path in directory.iterdir()] == ["full.jsonl.gz"]
    with pytest.raises(CommandExecutionError, match="holds 1 ready"):
        host.call("restart_task", pk, "flattener")
    with pytest.raises(CommandExecutionError, match=f"data_registry.delete_job {pk}"):
        host.call("restart_task", pk, "collect")


@pytest.mark.parametrize("given", ["x", "-1", 0, 1.5, True, None, "99999999999999999999"])
@pytest.mark.parametrize("function", ["job", "delete_job", "log"])
def test_a_job_that_is_no_number_is_refused(host: Host, function: str, given: Any) -> None:
    with pytest.raises(SaltInvocationError, match="argument job must be the number of a job"):
        host.call(function, given)


def test_a_wrong_setting_is_told(host: Host) -> None:
    with pytest.raises(
        CommandExecutionError, match="argument stalled_hour is not a setting: did you mean stalled_hours"
    ):
        host.call("jobs", stalled_hour=3)
