"""Jobs of the Data Registry: listed, traced, deleted everywhere and restarted, whatever fails and whenever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from kingfisher_salt.data_registry import config as registry_config
from kingfisher_salt.data_registry import delete as registry_delete
from kingfisher_salt.data_registry import log as registry_log
from kingfisher_salt.data_registry import publications, registry, restart, trace
from kingfisher_salt.errors import KingfisherError, LockedError
from kingfisher_salt.kingfisher_process import config as process_config
from kingfisher_salt.pelican import config as pelican_config
from kingfisher_salt.rabbitmq import config as rabbitmq_config
from kingfisher_salt.rabbitmq import counts as rabbitmq_counts
from kingfisher_salt.scrapyd import client as scrapyd_client
from kingfisher_salt.scrapyd import config as scrapyd_config
from kingfisher_salt.scrapyd import logs as scrapyd_logs

from tests.applications import PelicanApp
from tests.functional.scrapyd_server import PROJECT, PROJECT_DIRECTORY, Server, wait_for
from tests.services.data_registry import TASKS, Api, DataRegistry
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("scrapyd")) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        yield server


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Api() as api:
        yield api


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL, rabbitmq: RabbitMQ, server: Server, api: Api
) -> Iterator[DataRegistry]:
    name = f"registry_{uuid.uuid4().hex[:12]}"
    root = tmp_path_factory.mktemp("registry")
    app = DataRegistry(root, postgresql, api, rabbit_url=rabbitmq.amqp_url(), scrapyd_url=server.url, name=name)
    app.create()
    yield app
    app.stop_wiper()


class Case:
    """One publication with one job, in all systems."""

    def __init__(self, app: DataRegistry, server: Server, rabbitmq: RabbitMQ, api: Api):
        self.app, self.server, self.rabbitmq, self.api = app, server, rabbitmq, api
        self.source = "slow"
        self.scrapyd_url = server.url
        self.management_url = rabbitmq.url
        self.publication = app.publication(self.source)
        self.number = app.publication(f"other-{uuid.uuid4().hex[:6]}") * 10
        self.dataset = 0
        self.crawl: str | None = None
        self.pelican: PelicanApp | None = None
        self.pk = 0

    @property
    def registry(self) -> registry.Registry:
        return registry.Registry(registry_config.load(self.app.pillar, {}))

    @property
    def client(self) -> scrapyd_client.Client:
        return scrapyd_client.Client(scrapyd_config.load({"url": self.scrapyd_url, "project": PROJECT}, {}))

    def counts(self, names: list[str]) -> Any:
        settings = {
            "amqp_url": f"amqp://{self.rabbitmq.host}:{self.rabbitmq.port}",
            "management_url": self.management_url,
            "username": self.rabbitmq.username,
            "password": self.rabbitmq.password,
        }
        return rabbitmq_counts.queue_counts(rabbitmq_config.load(settings, {}), names)

    def add(
        self,
        reached: str | None = "flattener",
        *,
        crawl: str | None = "finished",
        dataset: int | None = None,
        **options: Any,
    ) -> int:
        """Add a job that has what its tasks made, up to one. The crawl can be running, finished, or none."""
        context: dict[str, Any] = {"spider": self.source}
        at = TASKS.index(reached) if reached else -1
        if crawl == "running":
            self.crawl = self.server.begin(self.source, pages="1000")
        elif crawl == "finished":
            self.crawl = uuid.uuid4().hex
        if self.crawl:
            log = f"{self.server.url}/logs/{PROJECT}/{self.source}/{self.crawl}.log"
            context |= {"job_id": self.crawl, "scrapy_log": log}
        if at >= 0:  # Kingfisher Process begins before its task does
            context |= {"process_id": self.number, "process_id_pelican": self.number + 1}
            self.api.collections.add(self.number)
        if at >= TASKS.index("pelican"):
            self.dataset = dataset or self.number
            context |= {"pelican_id": self.dataset, "pelican_dataset_name": f"{self.source}_{self.number}"}
            self.api.datasets[self.dataset] = f"{self.source}_{self.number}"
        self.pk = self.app.job(self.publication, reached=reached, context=context, **options)
        if at >= TASKS.index("exporter"):
            self.app.export(self.pk, "full.jsonl.gz", "full.csv.tar.gz", "full.xlsx")
        return self.pk

    def delete(self, pk: int | None = None, **options: Any) -> dict[str, Any]:
        chosen = registry_delete.Options(**{"wait": 5, **options})
        client = self.client
        return registry_delete.delete(self.registry, client, scrapyd_logs.Logs(client), pk or self.pk, chosen)

    def job(self) -> dict[str, Any]:
        return trace.job(self.registry, self.client, self.counts, self.pk)

    def restart(self, task: str, **options: Any) -> dict[str, Any]:
        tools = restart.Tools(
            self.counts, lambda: pelican_config.load(self.pelican.pillar if self.pelican else {}, {})
        )
        return restart.restart(self.registry, tools, self.pk, task, **options)

    def log(self, task: str = "collect", lines: int = 5, **settings: Any) -> str:
        client = self.client
        app = registry.Registry(registry_config.load({**self.app.pillar, **settings}, {}))
        others = {"process": lambda: process_config.load({"directory": str(self.app.root / "none")}, {}).app}
        logs = scrapyd_logs.Logs(client)
        return registry_log.log(app, client, logs, others, self.pk, task=task, lines=lines)

    @property
    def directory(self) -> Path:
        return self.app.exports / str(self.pk)

    @property
    def journal(self) -> Path:
        return self.app.root / "state" / f"delete-{self.pk}.json"

    def everything(self) -> Any:
        """Return all that a deletion or restart may change."""
        rows = self.app.ask("SELECT * FROM data_registry_job WHERE id = %s", self.pk)
        rows += self.app.ask("SELECT * FROM data_registry_task WHERE job_id = %s ORDER BY id", self.pk)
        rows += self.app.ask("SELECT * FROM data_registry_collection WHERE id = %s", self.publication)
        files = {str(path): path.stat().st_mtime for path in self.app.exports.rglob("*")}
        queues = {name: self.ready(name) for name in ("exporter_init", "flattener_init", "wiper_init")}
        live = self.server.ids("pending") + self.server.ids("running")
        state = [str(path) for path in self.app.root.glob("state/*.json")]
        return rows, files, queues, sorted(live), set(self.api.collections), dict(self.api.datasets), state

    def is_gone(self) -> bool:
        live = self.server.ids("pending") + self.server.ids("running")
        return not (
            self.pk in self.app.jobs()
            or self.crawl in live
            or self.number in self.api.collections
            or self.dataset in self.api.datasets
            or self.directory.exists()
            or self.journal.exists()
        )

    # RabbitMQ

    def channel(self) -> Any:
        return pika.BlockingConnection(pika.URLParameters(self.rabbitmq.amqp_url())).channel()

    def ready(self, queue: str) -> int | None:
        channel = self.channel()
        try:
            found = channel.queue_declare(f"{self.app.name}_{queue}", passive=True)
            return int(found.method.message_count)
        except pika.exceptions.ChannelClosedByBroker:
            return None

    def put(self, queue: str, message: Any = "x") -> None:
        self.channel().basic_publish("", f"{self.app.name}_{queue}", json.dumps(message).encode())

    def take(self, queue: str) -> Any:
        _, _, body = self.channel().basic_get(f"{self.app.name}_{queue}", auto_ack=True)
        return json.loads(body) if body else None

    def empty(self) -> None:
        """Have all queues, empty, and with statistics, which RabbitMQ has some seconds after a declaration."""
        for queue in ("exporter_init", "flattener_init", "wiper_init"):
            name = f"{self.app.name}_{queue}"
            channel = self.channel()
            channel.queue_declare(name, durable=True)
            channel.queue_bind(name, self.app.name, name)
            channel.queue_purge(name)
            wait_for(lambda name=name: self.counts([name])[name]["unacknowledged"] is not None)


@pytest.fixture
def case(app: DataRegistry, server: Server, rabbitmq: RabbitMQ, api: Api) -> Iterator[Case]:
    case = Case(app, server, rabbitmq, api)
    case.empty()
    yield case
    app.configure()
    app.stop_wiper()
    api.lazy, api.refusal, api.on_delete = False, None, lambda _: None
    api.deleted.clear()
    for state in ("pending", "running"):
        for crawl in server.listing()[state]:
            server._post("cancel", {"project": PROJECT, "job": crawl["id"], "signal": "KILL"})
    app.ask("DELETE FROM data_registry_task")
    app.ask("UPDATE data_registry_collection SET active_job_id = NULL")
    app.ask("DELETE FROM data_registry_job")
    app.ask("DELETE FROM data_registry_collection")


def sentence(error: pytest.ExceptionInfo[KingfisherError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# jobs, job


def test_jobs_are_listed_and_filtered(case: Case) -> None:
    old = case.add("exporter", hours=30)
    new = case.app.job(case.app.publication("quick"), reached=None, status="PLANNED")
    done = case.app.job(case.publication, status="COMPLETED", reached="flattener", hours=90)
    listed = {
        name: [job["job"] for job in trace.jobs(case.registry, **{**defaults, **given})["jobs"]]
        for defaults in [{"status": None, "source": None, "stalled": False, "limit": 100}]
        for name, given in {
            "all": {},
            "planned": {"status": "PLANNED"},
            "slow": {"source": "slow"},
            "stalled": {"stalled": True},
            "newest": {"limit": 1},
        }.items()
    }
    assert listed == {
        "all": [done, new, old],
        "planned": [new],
        "slow": [done, old],
        "stalled": [old],
        "newest": [done],
    }
    shown = trace.jobs(case.registry, status=None, source=None, stalled=True, limit=1)["jobs"][0]
    assert shown["task"] == "exporter"
    assert shown["tasks"]["flattener"] == "PLANNED"


@pytest.mark.parametrize(
    ("given", "said"),
    [({"status": "RUNING"}, "did you mean RUNNING?"), ({"source": "slo"}, "did you mean slow?")],
)
def test_an_unknown_status_or_source_is_told_with_the_nearest(case: Case, given: dict[str, Any], said: str) -> None:
    with pytest.raises(KingfisherError) as error:
        trace.jobs(case.registry, **{"status": None, "source": None, "stalled": False, "limit": 9, **given})
    assert said in sentence(error)


def test_one_trace_goes_through_all_systems(case: Case) -> None:
    case.add("exporter", crawl="running")
    case.put("exporter_init")
    case.app.export(case.pk, "exporter_full.jsonl.gz.lock")
    found = case.job()
    assert found["task"] == "exporter"
    assert found["context"]["job_id"] == case.crawl
    assert found["links"]["crawl_log"].endswith(f"/{case.crawl}.log")
    assert found["scrapyd"] == {"crawl": case.crawl, "state": "running"}
    assert [c["id"] for c in found["kingfisher_process"]["collections"]] == [case.number, case.number + 1]
    assert (found["pelican"]["dataset"], found["pelican"]["phase"]) == (case.number, "CHECKED")
    assert set(found["export"]["files"]) == {"full.jsonl.gz", "full.csv.tar.gz", "full.xlsx"}
    assert list(found["export"]["locks"]) == ["exporter_full.jsonl.gz.lock"]
    assert found["queues"][f"{case.app.name}_exporter_init"]["ready"] == 1
    assert json.loads(json.dumps(found)) == found


def test_a_trace_says_which_systems_are_down(case: Case) -> None:
    case.add()
    down = f"http://{case.app.closed}/"
    case.app.configure(
        scrapyd_url=down, process_url=down, pelican_url=down, rabbit_url=f"amqp://u:secret@{case.app.closed}/"
    )
    case.scrapyd_url = down
    found = case.job()
    for name in ("scrapyd", "kingfisher_process", "pelican", "queues"):
        assert "Connection refused" in found[name]["error"]
    assert "secret" not in json.dumps(found)
    assert found["status"] == "RUNNING"


def test_an_unknown_job_is_told(case: Case) -> None:
    for function in (case.job, case.delete, case.log, lambda: case.restart("exporter")):
        case.pk = 999_999
        with pytest.raises(KingfisherError, match="job 999999 is unknown to the Data Registry"):
            function()


def test_an_application_whose_database_is_down_is_told(case: Case) -> None:
    case.add()
    case.app.configure(database={**case.app.settings["database"], "PORT": 1})
    with pytest.raises(KingfisherError) as error:
        case.job()
    assert "Connection refused" in sentence(error)
    assert case.app.postgresql.password not in sentence(error)


# freeze


def test_a_publication_is_frozen_and_unfrozen_by_source_or_number(case: Case) -> None:
    assert publications.freeze(case.registry, "slow", frozen=True, dry_run=True)["changed"]
    assert publications.freeze(case.registry, "slow", frozen=True)["frozen"] == {"old": False, "new": True}
    assert not publications.freeze(case.registry, str(case.publication), frozen=True)["changed"]
    assert publications.freeze(case.registry, str(case.publication), frozen=False)["changed"]
    assert case.app.ask("SELECT frozen FROM data_registry_collection WHERE id = %s", case.publication) == [(False,)]


def test_a_source_of_two_publications_is_refused_with_their_numbers(case: Case) -> None:
    second = case.app.publication("slow")
    with pytest.raises(KingfisherError) as error:
        publications.freeze(case.registry, "slow", frozen=True)
    assert f"{case.publication} (" in sentence(error) and f"{second} (" in sentence(error)
    assert case.app.ask("SELECT count(*) FROM data_registry_collection WHERE frozen") == [(0,)]


@pytest.mark.parametrize(
    ("which", "said"), [("slwo", "did you mean slow?"), ("999999", "publication 999999 is unknown")]
)
def test_an_unknown_publication_is_told(case: Case, which: str, said: str) -> None:
    with pytest.raises(KingfisherError) as error:
        publications.freeze(case.registry, which, frozen=True)
    assert said in sentence(error)


# delete_job


def test_a_job_is_deleted_everywhere(case: Case) -> None:
    case.add(crawl="running")
    case.app.start_wiper()
    result = case.delete(freeze=True, wait=30)
    assert result["done"], result
    assert case.is_gone()
    assert case.app.ask("SELECT frozen FROM data_registry_collection WHERE id = %s", case.publication) == [(True,)]
    assert f"crawl {case.crawl} in Scrapyd, which is running, with its files" in result["deleted"]
    with pytest.raises(KingfisherError, match="is unknown"):
        case.delete()


def test_a_dry_run_says_what_would_go_and_changes_nothing(case: Case) -> None:
    case.add(crawl="running")
    before = case.everything()
    result = case.delete(dry_run=True, freeze=True)
    assert len(result["would"]) == 5
    assert any("wiper does not run" in note for note in result["notes"])
    assert case.everything() == before


@pytest.mark.parametrize("key", ["scrapyd_url", "process_url", "pelican_url", "rabbit_url", "exporter_directory"])
def test_if_a_system_is_down_nothing_is_changed(case: Case, key: str) -> None:
    case.add(crawl="running")
    before = case.everything()
    down = f"amqp://u:secret@{case.app.closed}/" if key == "rabbit_url" else f"http://{case.app.closed}/"
    case.app.configure(**{key: "/nonexistent/exports" if key == "exporter_directory" else down})
    names = {
        "scrapyd_url": "Scrapyd",
        "process_url": "Kingfisher Process",
        "pelican_url": "Pelican",
        "rabbit_url": "RabbitMQ",
        "exporter_directory": "the Data Registry's EXPORTER_DIR",
    }
    for dry_run in (True, False):
        with pytest.raises(KingfisherError) as error:
            case.delete(dry_run=dry_run, freeze=True)
        assert f"job {case.pk}: nothing was changed, since {names[key]} " in sentence(error)
        assert "secret" not in sentence(error)
    assert case.everything() == before


def test_if_scrapyd_is_down_for_this_host_alone_nothing_is_changed(case: Case) -> None:
    case.add()
    before = case.everything()
    case.scrapyd_url = f"http://{case.app.closed}"
    with pytest.raises(KingfisherError, match=r"nothing was changed, since Scrapyd at .* does not answer"):
        case.delete()
    assert case.everything() == before


def test_if_nobody_would_hear_of_the_export_nothing_is_changed(case: Case) -> None:
    case.add()
    case.channel().queue_delete(f"{case.app.name}_wiper_init")
    before = case.everything()
    with pytest.raises(KingfisherError, match=r"there is no queue .*_wiper_init"):
        case.delete()
    assert case.everything() == before


@pytest.mark.parametrize("key", ["scrapyd_url", "process_url", "pelican_url", "rabbit_url"])
def test_a_system_that_goes_down_meanwhile_leaves_a_job_that_a_second_run_deletes(
    case: Case, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add()
    down = f"{'amqp' if key == 'rabbit_url' else 'http'}://{case.app.closed}/"
    ask = registry.Registry.ask

    def ask_while_down(self: Any, action: str, **arguments: Any) -> Any:
        if action == "delete":
            case.app.configure(**{key: down})
        return ask(self, action, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(registry.Registry, "ask", ask_while_down)
        with pytest.raises(KingfisherError) as error:
            case.delete()
    assert f"job {case.pk} is not deleted, since the Data Registry could not clean up after it" in sentence(error)
    assert case.pk in case.app.jobs()
    assert case.journal.stat().st_mode & 0o777 == 0o600
    case.app.configure()
    case.app.start_wiper()
    assert case.delete(wait=30)["done"]
    assert case.is_gone()


def test_a_dataset_that_pelican_refuses_to_remove_keeps_the_job_until_it_does_not(case: Case) -> None:
    case.add()
    case.api.on_delete = lambda path: setattr(case.api, "refusal", 409 if "datasets" in path else None)
    with pytest.raises(KingfisherError) as error:
        case.delete()
    assert f"Unable to DELETE /api/datasets/{case.number}/" in sentence(error)
    assert case.pk in case.app.jobs()
    case.api.on_delete, case.api.refusal = lambda _: None, None
    case.app.start_wiper()
    assert case.delete(wait=30)["done"]
    assert case.is_gone()


class KilledError(BaseException):
    """Stands for a SIGKILL: nothing handles it."""


ACTIONS = ("freeze", "delete", "remains")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["journal", "cancel", *ACTIONS, "forget"])
def test_a_run_that_is_killed_at_a_step_is_finished_by_the_next(
    case: Case, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add(crawl="running")
    case.app.start_wiper()
    targets = {
        "journal": (registry_delete.Journal, "write"),
        "forget": (registry_delete.Journal, "remove"),
        "cancel": (registry_delete.scrapyd_cancel, "cancel"),
        **dict.fromkeys(ACTIONS, (registry.Registry, "ask")),
    }
    owner, name = targets[step]
    original = getattr(owner, name)

    def die(*arguments: Any, **options: Any) -> Any:
        if step in ACTIONS and arguments[1] != step:
            return original(*arguments, **options)
        if when == "after":
            original(*arguments, **options)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(KilledError):
            case.delete(freeze=True, wait=30)
    if step == "forget" and when == "after":
        assert case.is_gone()
        return
    assert case.delete(freeze=True, wait=30)["done"]
    assert case.is_gone()


KILLED = """
import json, sys
sys.path.insert(0, {path!r})
from kingfisher_salt.data_registry import config, delete, registry
from kingfisher_salt.scrapyd import client, logs
from kingfisher_salt.scrapyd import config as scrapyd_config
scrapyd = client.Client(scrapyd_config.load({scrapyd!r}, {{}}))
app = registry.Registry(config.load({pillar!r}, {{}}))
delete.delete(app, scrapyd, logs.Logs(scrapyd), {pk}, delete.Options(wait=5))
"""


@pytest.mark.parametrize("kind", ["collections", "datasets"])
@pytest.mark.parametrize("whole", [False, True], ids=["this process", "with the application's"])
def test_a_kill_in_the_middle_of_the_application_is_finished_by_the_next_run(
    case: Case, kind: str, whole: bool
) -> None:
    case.add(crawl="running")
    script = KILLED.format(
        path=str(ROOT / "_utils"),
        pillar=case.app.pillar,
        pk=case.pk,
        scrapyd={"url": case.server.url, "project": PROJECT},
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)

    def kill(path: str) -> None:
        if kind not in path or process.poll() is not None:
            return
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for child in children if whole else ():
            os.killpg(int(child), signal.SIGKILL)

    case.api.on_delete = kill
    assert process.wait(60) == -signal.SIGKILL
    assert case.journal.exists()
    if not whole:
        wait_for(lambda: case.pk not in case.app.jobs())
    case.app.start_wiper()
    assert case.delete(wait=30)["done"]
    assert case.is_gone()


def test_what_is_still_there_after_the_job_is_told_and_asked_for_again(case: Case) -> None:
    case.add()
    case.api.lazy = True
    result = case.delete(wait=0)
    assert not result["done"]
    assert set(result["waiting"]) == {"kingfisher_process", "pelican", "export"}
    assert case.pk not in case.app.jobs()
    assert case.ready("wiper_init") == 2  # for the exporter's task and the flattener's
    assert set(case.delete(wait=0)["waiting"]) == {"kingfisher_process", "pelican", "export"}
    assert case.ready("wiper_init") == 2  # they still wait: no third
    case.empty()  # somebody purged the queue
    case.api.lazy = False
    case.app.start_wiper()
    assert case.delete(wait=30)["done"]
    assert case.is_gone()


def test_a_refusal_of_what_is_left_is_told_without_credentials(case: Case) -> None:
    case.add("process")
    case.api.lazy = True
    assert set(case.delete(wait=0)["waiting"]) == {"kingfisher_process"}
    case.api.refusal = 409
    case.app.configure(process_url=case.api.url.replace("://", "://user:secret@"))
    with pytest.raises(KingfisherError) as error:
        case.delete(wait=0)
    assert f"job {case.pk} is deleted, and kingfisher_process could not be (HTTPError: 409" in sentence(error)
    assert "://user:**@" in sentence(error) and "secret" not in sentence(error)


def test_what_the_application_does_not_clean_up_is_told_and_cleaned_up_by_the_next_run(case: Case) -> None:
    case.add("collect")
    case.app.export(case.pk, "full.jsonl.gz")  # of an exporter that has not begun, says its task
    case.app.start_wiper()
    assert set(case.delete(wait=1)["waiting"]) == {"export"}
    assert case.delete(wait=30)["done"]
    assert case.is_gone()


def test_a_collection_that_the_data_registry_has_not_read_of_yet_goes_with_the_job(case: Case) -> None:
    case.crawl = uuid.uuid4().hex
    log = case.server.log("slow", case.crawl)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"Created collection {case.number} in Kingfisher Process (2026-01-31 00:00:00)\n")
    case.api.collections.add(case.number)
    case.pk = case.app.job(case.publication, reached="collect", context={"job_id": case.crawl})
    assert any(f"collection {case.number} in" in line for line in case.delete(dry_run=True)["would"])
    assert case.delete()["done"]
    assert case.api.deleted == [f"/api/collections/{case.number}/"]


def test_a_collection_that_is_created_while_the_crawl_is_ended_goes_with_the_job(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.crawl = case.server.begin("slow", pages="1000")
    case.pk = case.app.job(case.publication, reached="collect", context={"job_id": case.crawl})
    cancel = registry_delete.scrapyd_cancel.cancel

    def create_and_cancel(*arguments: Any, **options: Any) -> dict[str, Any]:
        with case.server.log("slow", case.crawl).open("a") as file:
            file.write(f"Created collection {case.number} in Kingfisher Process (2026-01-31 00:00:00)\n")
        case.api.collections.add(case.number)
        return cancel(*arguments, **options)

    monkeypatch.setattr(registry_delete.scrapyd_cancel, "cancel", create_and_cancel)
    case.api.refusal = 500
    with pytest.raises(KingfisherError, match="could not clean up"):
        case.delete()
    assert json.loads(case.journal.read_text())["collection"] == case.number
    case.api.refusal = None
    result = case.delete()
    assert result["done"]
    assert any(f"collection {case.number} in" in line for line in result["deleted"])
    assert case.api.deleted == [f"/api/collections/{case.number}/"]
    assert case.is_gone()


def test_a_log_that_cannot_be_read_after_the_crawl_has_ended_keeps_the_job(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.crawl = uuid.uuid4().hex
    case.pk = case.app.job(case.publication, reached="collect", context={"job_id": case.crawl})

    def fail(*_: object) -> None:
        raise KingfisherError("x.log cannot be read: Permission denied: let this user read it")

    monkeypatch.setattr(scrapyd_logs.Logs, "head", fail)
    with pytest.raises(KingfisherError, match=rf"^job {case.pk} is not deleted yet: run this again, since x\.log"):
        case.delete()
    assert case.pk in case.app.jobs()


def test_a_job_that_was_saved_again_meanwhile_is_told_and_deleted_by_the_next_run(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add("process")
    ask = registry.Registry.ask

    def save_again(self: Any, action: str, **arguments: Any) -> Any:
        returned = ask(self, action, **arguments)
        if action == "delete":
            case.app.ask(
                "INSERT INTO data_registry_job (id, collection_id, status, context, created, modified) "
                "VALUES (%s, %s, 'RUNNING', '{}', now(), now())",
                case.pk,
                case.publication,
            )
        return returned

    with monkeypatch.context() as patch:
        patch.setattr(registry.Registry, "ask", save_again)
        assert set(case.delete(wait=0)["waiting"]) == {"data_registry"}
    assert case.delete()["done"]
    assert case.is_gone()


def test_all_flat_files_of_a_large_export_are_deleted(case: Case) -> None:
    case.add("flattener")
    case.app.export(case.pk, *(f"{number:04}.csv.tar.gz" for number in range(300)))
    case.restart("flattener")
    assert [path.name for path in case.directory.iterdir()] == ["full.jsonl.gz"]


def test_credentials_in_an_address_are_not_shown(case: Case) -> None:
    log = f"http://user:secret@127.0.0.1:6800/logs/{PROJECT}/slow/x.log"
    case.pk = case.app.job(case.publication, context={"job_id": "x", "scrapy_log": log})
    found = json.dumps(case.job())
    assert "/slow/x.log" in found and "secret" not in found


def test_a_job_that_has_not_begun_is_deleted(case: Case) -> None:
    case.add(None, crawl=None, status="PLANNED")
    assert case.delete()["deleted"] == [f"job {case.pk} of publication {case.publication} (slow)"]
    assert case.is_gone()


def test_a_job_whose_context_has_no_job_id_is_deleted_if_no_crawl_may_be_its_own(case: Case) -> None:
    case.add("collect", crawl=None)
    other = case.server.begin("slow", pages="1000")
    with pytest.raises(KingfisherError) as error:
        case.delete()
    assert f"its context has no job_id, and slow is being crawled by {other}" in sentence(error)
    assert case.pk in case.app.jobs()
    case.server._post("cancel", {"project": PROJECT, "job": other})
    wait_for(lambda: other in case.server.ids("finished"))
    case.app.start_wiper()
    assert case.delete(wait=30)["done"]
    assert case.is_gone()


def test_the_active_job_is_not_deleted(case: Case) -> None:
    case.add(status="COMPLETED")
    case.app.ask("UPDATE data_registry_collection SET active_job_id = %s WHERE id = %s", case.pk, case.publication)
    before = case.everything()
    with pytest.raises(KingfisherError, match="is the active job of publication"):
        case.delete()
    assert case.everything() == before


def test_a_crawl_that_does_not_stop_keeps_the_job_until_it_is_forced(case: Case) -> None:
    case.source = "stubborn"
    case.publication = case.app.publication("stubborn")
    case.add(crawl="running")
    with pytest.raises(KingfisherError) as error:
        case.delete(wait=1)
    assert "run this again, with force=True to end the crawl uncleanly" in sentence(error)
    assert case.pk in case.app.jobs()
    case.app.start_wiper()
    assert case.delete(wait=5, force=True)["job"] == case.pk
    wait_for(case.is_gone)


def test_two_deletions_do_not_interleave(case: Case) -> None:
    case.add()
    case.api.on_delete = lambda _: time.sleep(1)
    thread = threading.Thread(target=case.delete, kwargs={"wait": 0})
    thread.start()
    wait_for(case.journal.exists)
    with pytest.raises(LockedError, match="another deletion or restart is at work"):
        case.delete()
    thread.join()


# restart_task


@pytest.mark.parametrize("task", ["collect", "process"])
def test_collect_and_process_point_to_delete_job(case: Case, task: str) -> None:
    case.add()
    with pytest.raises(KingfisherError) as error:
        case.restart(task)
    assert f"data_registry.delete_job {case.pk}" in sentence(error)


def test_an_unknown_task_is_told_with_the_nearest(case: Case) -> None:
    with pytest.raises(KingfisherError, match="did you mean flattener"):
        case.restart("flatener")


def test_the_exporter_is_restarted_with_the_compiled_collection(case: Case) -> None:
    case.add("exporter")
    lock = case.app.export(case.pk, "exporter_full.jsonl.gz.lock") / "exporter_full.jsonl.gz.lock"
    os.utime(lock, (time.time() - 25 * 3600,) * 2)
    before = case.everything()
    assert len(case.restart("exporter", dry_run=True)["would"]) == 2
    assert case.everything() == before
    case.restart("exporter")
    assert not lock.exists()
    assert case.take("exporter_init") == {"job_id": case.pk, "collection_id": case.number + 1}
    assert (case.directory / "full.jsonl.gz").exists()  # the worker deletes these


def test_the_flattener_is_restarted_without_its_old_files(case: Case) -> None:
    case.add("flattener")
    before = case.everything()
    assert len(case.restart("flattener", dry_run=True)["would"]) == 3
    assert case.everything() == before
    case.restart("flattener")
    assert [path.name for path in case.directory.iterdir()] == ["full.jsonl.gz"]
    assert case.take("flattener_init") == {"job_id": case.pk}


@pytest.mark.parametrize("task", ["exporter", "flattener"])
def test_a_task_whose_queue_holds_messages_is_not_restarted_unless_forced(case: Case, task: str) -> None:
    case.add(task)
    case.put(f"{task}_init")
    before = case.everything()
    with pytest.raises(KingfisherError) as error:
        case.restart(task)
    assert f"{case.app.name}_{task}_init holds 1 ready and 0 unacknowledged messages" in sentence(error)
    assert case.everything() == before
    assert "forced, though" in case.restart(task, force=True)["notes"][0]
    assert case.ready(f"{task}_init") == 2


def test_a_task_whose_queue_holds_an_unacknowledged_message_is_not_restarted(case: Case) -> None:
    case.add("flattener")
    case.put("flattener_init")
    channel = case.channel()
    channel.basic_get(f"{case.app.name}_flattener_init")

    def is_known() -> bool:
        queue = case.counts([f"{case.app.name}_flattener_init"])[f"{case.app.name}_flattener_init"]
        return bool(queue["unacknowledged"])

    wait_for(is_known)
    with pytest.raises(KingfisherError, match="holds 0 ready and 1 unacknowledged"):
        case.restart("flattener")
    channel.connection.close()


def test_a_task_of_whose_queue_it_is_not_known_whether_a_message_is_at_a_consumer_is_not_restarted_unless_forced(
    case: Case,
) -> None:
    case.add("flattener")
    case.management_url = f"http://{case.app.closed}"
    before = case.everything()
    with pytest.raises(KingfisherError) as error:
        case.restart("flattener")
    queue = f"{case.app.name}_flattener_init"
    assert f"the queue {queue} holds 0 ready messages, and how many are at consumers is not known" in sentence(error)
    assert case.everything() == before
    assert "is not known" in case.restart("flattener", force=True)["notes"][0]
    assert case.take("flattener_init") == {"job_id": case.pk}


@pytest.mark.parametrize(
    ("task", "lock"),
    [("exporter", "exporter_full.jsonl.gz.lock"), ("flattener", "exporter_2024.csv.tar.gz.lock")],
)
def test_a_fresh_lock_refuses_a_restart_unless_forced(case: Case, task: str, lock: str) -> None:
    case.add(task)
    case.app.export(case.pk, lock)
    before = case.everything()
    with pytest.raises(KingfisherError, match=r"the lock file .* is 0\.0 h old, of 24"):
        case.restart(task)
    assert case.everything() == before
    case.restart(task, force=True)
    assert not (case.directory / lock).exists()


def test_a_message_that_nobody_would_hear_is_not_published(case: Case) -> None:
    case.add("flattener")
    case.channel().queue_delete(f"{case.app.name}_flattener_init")
    before = case.everything()
    with pytest.raises(KingfisherError, match=r"there is no queue .*_flattener_init"):
        case.restart("flattener")
    assert case.everything() == before


@pytest.mark.parametrize("task", ["exporter", "flattener"])
def test_a_restart_needs_rabbitmq(case: Case, task: str) -> None:
    case.add(task)
    before = case.everything()
    case.app.configure(rabbit_url=f"amqp://{case.app.closed}/")
    with pytest.raises(KingfisherError, match="RabbitMQ does not answer"):
        case.restart(task)
    assert case.everything() == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_restart_that_is_killed_is_finished_by_the_next(
    case: Case, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add("flattener")
    ask = registry.Registry.ask

    def die(self: Any, action: str, **arguments: Any) -> Any:
        if action != "publish":
            return ask(self, action, **arguments)
        if when == "after":
            ask(self, action, **arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(registry.Registry, "ask", die)
        with pytest.raises(KilledError):
            case.restart("flattener")
    if when == "after":
        with pytest.raises(KingfisherError, match="holds 1 ready"):
            case.restart("flattener")
    else:
        case.restart("flattener")
    assert case.take("flattener_init") == {"job_id": case.pk}
    assert case.take("flattener_init") is None


def test_what_a_task_needs_is_missing(case: Case) -> None:
    case.pk = case.app.job(case.publication, reached="exporter", context={})
    with pytest.raises(KingfisherError, match="its context names no compiled collection"):
        case.restart("exporter")
    with pytest.raises(KingfisherError, match=r"has no \.jsonl\.gz files: restart exporter first"):
        case.restart("flattener")


@pytest.fixture
def pelican(case: Case, tmp_path: Path, postgresql: PostgreSQL) -> Iterator[PelicanApp]:
    """Pelican backend, which its frontend, the API, knows nothing of here."""
    case.pelican = PelicanApp(tmp_path, postgresql)
    yield case.pelican
    case.pelican.drop()


def test_pelican_is_restarted(case: Case, pelican: PelicanApp) -> None:
    case.add("flattener", status="COMPLETED", dataset=pelican.add_dataset())
    before = case.everything(), pelican.contents()
    assert len(case.restart("pelican", dry_run=True)["would"]) == 3
    assert (case.everything(), pelican.contents()) == before
    assert "data_registry:pelican_queues is not set" in case.restart("pelican")["notes"][0]
    assert pelican.ask("SELECT id FROM dataset") == []
    assert case.app.tasks(case.pk) == {
        "collect": "COMPLETED",
        "process": "COMPLETED",
        "pelican": "PLANNED",
        "exporter": "PLANNED",
        "flattener": "PLANNED",
    }
    status, context = case.app.ask("SELECT status, context FROM data_registry_job WHERE id = %s", case.pk)[0]
    assert status == "RUNNING"
    assert "pelican_id" not in context and context["process_id"] == case.number


def test_a_restart_of_pelican_that_is_killed_after_the_removal_is_finished_by_the_next(
    case: Case, pelican: PelicanApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add("pelican", dataset=pelican.add_dataset())
    ask = registry.Registry.ask

    def die(self: Any, action: str, **arguments: Any) -> Any:
        if action == "plan":
            raise KilledError
        return ask(self, action, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(registry.Registry, "ask", die)
        with pytest.raises(KilledError):
            case.restart("pelican")
    assert pelican.ask("SELECT id FROM dataset") == []
    case.restart("pelican")
    assert case.app.tasks(case.pk)["pelican"] == "PLANNED"


def test_a_dataset_in_a_phase_that_pelican_refuses_keeps_its_tasks(case: Case, pelican: PelicanApp) -> None:
    case.add("pelican", dataset=pelican.add_dataset("CONTRACTING_PROCESS", "IN_PROGRESS"))
    before = case.everything(), pelican.contents()
    for dry_run in (True, False):
        with pytest.raises(KingfisherError, match="is in phase CONTRACTING_PROCESS"):
            case.restart("pelican", dry_run=dry_run)
    assert (case.everything(), pelican.contents()) == before


def test_a_queue_of_pelican_that_holds_messages_refuses_a_restart(
    case: Case, pelican: PelicanApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add("pelican", dataset=pelican.add_dataset())
    queue = f"{case.app.name}_exporter_init"  # any will do
    monkeypatch.setitem(case.app.pillar, "pelican_queues", [queue])
    case.put("exporter_init")
    with pytest.raises(KingfisherError, match=f"the queue {queue} holds 1 ready"):
        case.restart("pelican")
    assert case.app.tasks(case.pk)["pelican"] == "RUNNING"
    case.take("exporter_init")
    assert case.restart("pelican")["notes"] == []


def test_a_queue_of_pelican_that_is_not_there_refuses_a_restart(
    case: Case, pelican: PelicanApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add("pelican", dataset=pelican.add_dataset())
    monkeypatch.setitem(case.app.pillar, "pelican_queues", ["pelican_contrating_process"])
    before = case.everything(), pelican.contents()
    for force in (False, True):
        with pytest.raises(
            KingfisherError, match=r"no queue pelican_contrating_process: correct data_registry:pelican_queues$"
        ):
            case.restart("pelican", force=force)
    assert (case.everything(), pelican.contents()) == before


def test_pelican_that_is_down_is_told(case: Case) -> None:
    case.add("pelican")
    before = case.everything()
    case.app.configure(pelican_url=f"http://{case.app.closed}/")
    with pytest.raises(KingfisherError, match="Pelican does not answer the Data Registry"):
        case.restart("pelican")
    assert case.everything() == before


# log


def test_the_crawl_log_is_read_by_its_address(case: Case) -> None:
    case.add("collect", crawl="running")
    assert "Crawled (200)" in case.log(lines=50)
    assert len(case.log(lines=2).splitlines()) == 2


def test_the_lines_of_a_crawl_log_are_whole_and_without_the_passwords_of_addresses(case: Case) -> None:
    case.add("collect")
    log = case.server.log("slow", case.crawl)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{n} amqp://app:hunter2@broker {'x' * 1000}\n" for n in range(9)))
    assert case.log(lines=3).splitlines() == [f"{n} amqp://app:**@broker {'x' * 1000}" for n in (6, 7, 8)]


def test_a_log_that_cannot_be_told_says_why(case: Case) -> None:
    case.add("collect")
    with pytest.raises(KingfisherError, match="has no log of crawl"):
        case.log()
    with pytest.raises(KingfisherError, match="since data_registry:manage is set: set data_registry:logs"):
        case.log("exporter")
    with pytest.raises(KingfisherError, match=r"No such file or directory.*: correct kingfisher_process:directory"):
        case.log("process")
    with pytest.raises(
        KingfisherError, match=r"no-such-program: No such file or directory.: correct data_registry:logs"
    ):
        case.log("exporter", logs=["no-such-program"])
    case.pk = case.app.job(case.publication, reached=None)
    with pytest.raises(KingfisherError, match="has no scrapy_log in its context"):
        case.log()


def test_the_log_of_another_task_comes_from_the_command_in_pillar(case: Case) -> None:
    case.add("exporter")
    assert case.log("exporter", 3, logs=["seq", "--separator", "\n{task} ", "{lines}"]) == "1\nexporter 2\nexporter 3"


def test_the_lines_of_another_log_are_whole_and_it_says_if_they_are_too_large(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.add("exporter")
    command = [sys.executable, "-c", "for n in range({lines}): print(n, 'x' * (1 << 19))"]
    lines = [f"{n} {'x' * (1 << 19)}" for n in range(3)]
    assert case.log("exporter", 3, logs=command).splitlines() == lines
    monkeypatch.setattr(registry_log, "MOST", 1 << 20)
    note, *rest = case.log("exporter", 3, logs=command).splitlines()
    assert note == "(1 lines in the last 1 MiB: what is before them is left out)"
    assert rest == lines[-1:]


def test_a_log_is_shown_without_colors_and_the_passwords_of_addresses(case: Case) -> None:
    case.add("exporter")
    line = "\\033[31mno answer from amqp://app:hunter2@broker:5672\\033[0m\\n"
    assert case.log("exporter", 3, logs=["printf", line]) == "no answer from amqp://app:**@broker:5672"
