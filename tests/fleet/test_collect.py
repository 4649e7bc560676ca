"""The role kingfisher-main, from bare Debian, but for its Docker applications: what is crawled, when, and for whom."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Applied, Master
from tests.fleet.watching import seen, told, watch

ROOT = Path(__file__).parents[2]
SECRETS = ("database-secret", "scrapyd-secret", "env-secret", "replica-secret")
OUT = "/home/collect/scrapyd/out"
FREEDONIA = {"identifier": "FREEDONIA", "spider": "freedonia_api", "crawl_time": "2025-05-06", "users": ["reader"]}


def make_pillar() -> dict[str, Any]:
    """Return the example, with what is in this host, and secrets."""
    pillar = yaml.safe_load((ROOT / "pillar/collect.sls").read_text())
    app = pillar["python_apps"]["kingfisher_collect"]
    app["git"] = {"url": "/srv/git/publishers", "branch": "main", "target": "kingfisher-collect"}
    app["database"]["password"] = SECRETS[0]
    app["env"] = {"SECRET": SECRETS[2]}
    app["crawls"] = [FREEDONIA]
    pillar["scrapyd"] |= {"project": "crawls", "username": "collect", "password": SECRETS[1]}
    pillar["kingfisher_operators"] = {
        "james": {"registry": {"url": "http://localhost:6800", "project": "crawls", "password": SECRETS[1]}}
    }
    pillar["kingfisher_operators"]["james"]["registry"]["username"] = "collect"
    pillar["postgres"]["users"] |= {"kingfisher_collect": {"password": SECRETS[0]}, "reader": {}}
    pillar["postgres"]["users"]["replica"]["password"] = SECRETS[3]
    del pillar["docker_apps"]  # tests/fleet/test_docker_apps.py
    return {**yaml.safe_load((ROOT / "pillar/common.sls").read_text()), **pillar}


def prepare(host: Host) -> None:
    """Put the repositories, which are elsewhere on a real server, into a host."""
    host.with_docker()
    for source, name in (("incremental_project", "publishers"), ("spiders", "crawls")):
        repository = f"/srv/git/{name}"
        host.copy(ROOT / "tests" / source, repository)
        host.write(f"{repository}/requirements.txt", (ROOT / "requirements/scrapyd.txt").read_text())
        git = ["git", "-C", f"{host.root}{repository}", "-c", "user.name=A", "-c", "user.email=a@example.com"]
        for command in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "A"]):
            subprocess.run([*git, *command], check=True)
    host.write("/etc/gitconfig", "[safe]\n\tdirectory = *\n")


class Collect:
    """The host, and how its first states went."""

    def __init__(self, host: Host, master: Master):
        self.host, self.master = host, master
        self.pillar = make_pillar()
        prepare(host)
        watch(host, SECRETS)
        master.set_pillar(host, self.pillar)
        master.accept(host)
        before = self.files()
        self.predicted = master.apply(host, test=True)
        self.trial_changed = [path for path, value in self.files().items() if before.get(path) != value]
        self.first = self.apply()

    def apply(self, **options: Any) -> Applied:
        self.master.set_pillar(self.host, self.pillar)
        return self.master.apply(self.host, **options)

    def call(self, function: str, *arguments: str) -> Any:
        return self.master.call(self.host, function, *arguments)

    def files(self) -> dict[str, str]:
        """Return what is in the directories that states write to."""
        listed = self.host.run(
            "find /etc /home /opt/kingfisher* /srv /usr/local -type f -not -path '/etc/salt/*'"
            " -printf '%p\\t%s %T@ %m %u\\n' 2>/dev/null; true"
        ).stdout
        return dict(line.split("\t") for line in listed.splitlines())

    def jobs(self) -> dict[str, str]:
        """Return the state of each job: of one that was resumed, that of the run after."""
        told = self.call("scrapyd.jobs")
        return {job["job"]: state for state in ("finished", "running", "pending") for job in told[state]}

    def query(self, sql: str) -> str:
        return self.host.run('cd /; su postgres -c "psql -Atq kingfisher_collect"', text=sql).stdout.strip()


@pytest.fixture(scope="module")
def collect(fleet: Fleet, master: Master) -> Iterator[Collect]:
    host = fleet.host("kingfisher-main")
    yield Collect(host, master)
    fleet.throw_away(host)


def wait_until(true: Callable[[], object], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.5)


def test_first_apply_is_predicted_and_the_second_changes_nothing(collect: Collect) -> None:
    assert collect.first.ids <= collect.predicted.predicted
    assert collect.trial_changed == []
    assert collect.apply().changed == {}


def test_scrapyd_takes_spiders_and_runs_them(collect: Collect) -> None:
    assert collect.host.run("systemctl is-active scrapyd").stdout.strip() == "active"
    assert collect.call("scrapyd.deploy", "checkout=/srv/git/crawls")["spiders"][:2] == ["failing", "quick"]
    done = collect.call("scrapyd.schedule", "quick", f"out={OUT}-quick")
    wait_until(lambda: collect.jobs()[done["job"]] == "finished")
    assert collect.host.read(f"{OUT}-quick") == "1\n2\n3\n"


def test_a_changed_setting_restarts_scrapyd_and_no_crawl_is_lost(collect: Collect) -> None:
    before = collect.host.run("systemctl show --property=MainPID --value scrapyd").stdout
    settings = json.dumps({"JOBDIR": "/home/collect/scrapyd/jobs/slow"})
    slow = collect.call("scrapyd.schedule", "slow", "pages=150", f"out={OUT}-slow", f"settings={settings}")["job"]
    wait_until(lambda: collect.jobs()[slow] == "running")
    wait_until(lambda: collect.host.exists(f"{OUT}-slow"))

    collect.pillar["kingfisher_collect"]["scrapyd"]["max_proc_per_cpu"] = 1
    collect.pillar["kingfisher_collect"]["drain_timeout"] = 2
    done = collect.apply()
    assert done.ids == {
        "kingfisher-collect-configuration",
        "kingfisher-collect-files-are-not-in-use",
        "kingfisher-collect-drained",
        "kingfisher-collect-service",
        "kingfisher-collect-resumed",
    }
    assert collect.host.run("systemctl show --property=MainPID --value scrapyd").stdout != before
    assert "max_proc_per_cpu = 1" in collect.host.read("/home/collect/scrapyd/scrapyd.conf")

    wait_until(lambda: collect.jobs().get(slow) == "finished", 90)
    pages = [int(line) for line in collect.host.read(f"{OUT}-slow").split()]
    assert sorted(set(pages)) == list(range(1, 151))
    assert len(pages) <= 151  # Scrapy may fetch again the page that it was stopped at
    assert collect.apply().changed == {}


def test_a_change_that_scrapyd_could_not_be_restarted_for_is_not_forgotten(collect: Collect) -> None:
    def move(port: int) -> None:
        collect.pillar["kingfisher_collect"]["scrapyd"]["http_port"] = port
        collect.pillar["scrapyd"]["url"] = f"http://localhost:{port}"

    move(6801)
    for _ in range(2):  # what runs does not answer there, and so cannot be drained
        assert {name.partition(":")[0] for name in collect.apply(check=False).failed} >= {"kingfisher-collect-drained"}
    # As in docs/scrapyd.md.
    collect.host.run("systemctl stop scrapyd")
    assert "kingfisher-collect-service" in collect.apply().ids
    assert collect.call("scrapyd.health")
    move(6800)
    collect.host.run("systemctl stop scrapyd")
    collect.apply()
    assert collect.apply().changed == {}


def test_cron_runs_an_incremental_crawl(collect: Collect) -> None:
    now = collect.host.run("date -d '+70 seconds' '+%H %M'").stdout.split()
    collect.pillar["python_apps"]["kingfisher_collect"]["cron"] |= {"hour": int(now[0]), "minute": int(now[1])}
    assert collect.apply().ids == {"kingfisher-incremental-crawls"}
    wait_until(lambda: "ended" in collect.host.run("cat /home/incremental/runs/FREEDONIA/last.json; true").stdout, 150)
    status = collect.call("kingfisher.incremental_status")["FREEDONIA"]
    assert (status["result"], status["rows"]) == ("success", 4), status
    assert collect.query("SELECT count(*) FROM freedonia_api") == "4"
    assert collect.query("SELECT has_table_privilege('reader', 'freedonia_api', 'SELECT')") == "t"


def test_an_operator_can_deploy(collect: Collect) -> None:
    assert collect.host.run("cat /home/james/.config/scrapy.cfg").stdout.count("[deploy:registry]") == 1
    assert collect.host.run("stat -c '%a %U' /home/james/.netrc").stdout.strip() == "600 james"
    # requests reads ~/.netrc, as scrapyd-deploy does.
    script = "import requests; print(requests.get('http://localhost:6800/daemonstatus.json').json()['status'])"
    assert collect.host.run("su james -c '/opt/salt/bin/python3 -'", text=script).stdout.strip() == "ok"


def test_no_secret_is_told(collect: Collect) -> None:
    everything = told(collect.host, collect.master, collect.first)
    assert [secret for secret in SECRETS if secret in everything] == []
    assert seen(collect.host) == ""


def test_all_is_up_again_after_a_reboot(collect: Collect) -> None:
    collect.host.reboot()
    collect.master.accept(collect.host)
    wait_until(lambda: collect.call("scrapyd.health"))
    assert collect.host.run("systemctl is-active scrapyd cron postgresql").stdout.split() == ["active"] * 3
    assert collect.apply().changed == {}


def test_a_halt_stops_what_is_scheduled_and_is_undone_to_the_byte(collect: Collect) -> None:
    def scheduled() -> str:
        return collect.host.run(
            "cd /etc; sha256sum crontab cron.*/* systemd/system/*.service;"
            " systemctl list-unit-files --no-legend --state=enabled | awk '{print $1}'"
        ).stdout

    before = scheduled()
    assert "cron.d/kingfisher-incremental" in before
    collect.pillar["maintenance"] = {"halted": True}
    collect.apply()
    assert "cron.d/kingfisher" not in scheduled()
    assert collect.apply().changed == {}
    collect.pillar["maintenance"] = {"halted": False}
    collect.apply()
    assert scheduled() == before


def test_a_crawl_that_leaves_pillar_is_gone(collect: Collect) -> None:
    collect.pillar["python_apps"]["kingfisher_collect"]["crawls"] = []
    assert collect.apply().ids == {"kingfisher-incremental-crawls"}
    assert "FREEDONIA" not in collect.host.run("cat /etc/cron.d/*").stdout
    assert not collect.host.exists("/opt/kingfisher-incremental/crawls/FREEDONIA")
    assert collect.host.exists("/home/incremental/data/freedonia_api")
    assert collect.apply().changed == {}
