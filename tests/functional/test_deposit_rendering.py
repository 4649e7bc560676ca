"""The states of a deposit server, as they are rendered from the example pillar, and the files they put there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.conftest import ROOT, Minion
from tests.functional.test_collect_rendering import requisites
from tests.functional.test_rendering import argument, function, show

SECRET = "h1dden"
NASTY = f'{SECRET}: #"$x" it\'s 100% \\ `y` é 😀'
SLS = "swh.deposit"
UNKNOWN_TO_POSTGRESQL = (
    "deposit:server:config:private:db:password is not set, nor deposit:user to swhdeposit, by whom PostgreSQL knows "
    "the service without"
)


@pytest.fixture
def pillar() -> dict[str, Any]:
    """Return the example pillar with secrets, for a test to change."""
    found = yaml.safe_load((ROOT / "pillar/deposit.sls").read_text())
    server = found["deposit"]["server"]
    server |= {"broker": f"amqp://x:{SECRET}@localhost/", "sentry_dsn": f"https://{SECRET}@example.com/1"}
    server["config"]["private"]["secret_key"] = NASTY
    server["config"]["private"]["db"]["password"] = NASTY
    for client in found["deposit"]["clients"].values():
        client["password"] = NASTY
    return found


@pytest.fixture
def render(minion: Minion, tmp_path: Path) -> Callable[..., str]:
    """Return a function that renders a template as file.managed does."""

    def rendered(name: str, pillar: dict[str, Any], **context: Any) -> str:
        minion.set_pillar(pillar)
        target = tmp_path / name
        minion.call("cp.get_template", f"salt://swh/deposit/files/{name}.jinja", str(target), **context)
        return target.read_text()

    return rendered


def test_the_example_lacks_no_more_than_secrets(minion: Minion) -> None:
    states = show(minion, SLS, yaml.safe_load((ROOT / "pillar/deposit.sls").read_text()))
    assert [*states] == ["swh-deposit-pillar"]
    problems = argument(states["swh-deposit-pillar"], "problems")
    assert problems == [
        "deposit:server:config:private:secret_key is not set",
        "deposit:server:broker is not set",
        UNKNOWN_TO_POSTGRESQL,
    ]


def test_what_is_wrong_is_told_at_once_and_changes_nothing(minion: Minion, pillar: dict[str, Any]) -> None:
    server = pillar["deposit"]["server"]
    del server["config"]["storage"], server["config"]["private"]["db"], server["broker"]
    server["config"]["authentication_provider"] = "keycloak"
    server["workers"]["lister"] = {}
    pillar["deposit"]["bin_directory"] = "/srv/bin"
    states = show(minion, SLS, pillar)
    assert [function(state) for state in states.values()] == ["kingfisher_pillar.checked"]
    assert argument(states["swh-deposit-pillar"], "problems") == [
        "deposit:server:config:storage is not set",
        "deposit:server:config:private:db:name is not set",
        "deposit:server:config:keycloak:server_url is not set",
        "deposit:server:config:keycloak:realm_name is not set",
        "deposit:server:broker is not set",
        "deposit:server:workers:lister is no worker (known: checker, loader)",
        "deposit:bin_directory must be /opt/swh-deposit/bin on this server, not /srv/bin",
    ]


def test_no_secret_enters_a_state(minion: Minion, pillar: dict[str, Any]) -> None:
    states = show(minion, SLS, pillar)
    assert {"swh-deposit-role-password", "swh-deposit-client-hal", "swh-deposit-check-schedule"} <= set(states)
    assert SECRET not in str(states)


@pytest.mark.parametrize(
    ("state", "mode", "group"),
    [
        ("configuration", "0640", "swhdeposit"),
        ("checker-configuration", "0640", "swhworker"),
        ("loader-configuration", "0640", "swhworker"),
        ("check-settings", "0640", "swhdeposit"),
        ("environment", "0600", "root"),
    ],
)
def test_a_file_with_secrets_is_for_its_group_alone(
    minion: Minion, pillar: dict[str, Any], state: str, mode: str, group: str
) -> None:
    found = show(minion, SLS, pillar)[f"swh-deposit-{state}"]
    told = {name: argument(found, name) for name in ("mode", "group", "user", "show_changes")}
    assert told == {"mode": mode, "group": group, "user": "root", "show_changes": False}


def test_migrations_are_before_the_restart_and_clients_after_them(minion: Minion, pillar: dict[str, Any]) -> None:
    states = show(minion, SLS, pillar)
    migrated = "swh-deposit-migrated"
    assert function(states[migrated]) == "deposit.migrated"
    assert requisites(states[migrated], "require") >= {
        "swh-deposit-configuration",
        "swh-deposit-virtualenv",
        "swh-deposit-database",
        "swh-deposit-role-password",
    }
    for name in ("service", "collection-hal", "client-hal", "client-checker"):
        assert migrated in requisites(states[f"swh-deposit-{name}"], "require")
    causes = {"configuration", "environment", "units", "virtualenv"}
    assert requisites(states["swh-deposit-service"], "watch") == {f"swh-deposit-{name}" for name in causes}


def test_without_a_password_postgresql_knows_the_service_by_its_user(minion: Minion, pillar: dict[str, Any]) -> None:
    db = pillar["deposit"]["server"]["config"]["private"]["db"]
    del db["password"], db["host"]
    [problem] = argument(show(minion, SLS, pillar)["swh-deposit-pillar"], "problems")
    assert problem == UNKNOWN_TO_POSTGRESQL
    pillar["deposit"]["user"] = "swhdeposit"
    states = show(minion, SLS, pillar)
    assert argument(states["swh-deposit-role"], "name") == "swhdeposit"
    assert "swh-deposit-role-password" not in states
    db["user"] = "other"
    assert [*show(minion, SLS, pillar)] == ["swh-deposit-pillar"]


def test_a_password_is_some_roles(minion: Minion, pillar: dict[str, Any]) -> None:
    del pillar["deposit"]["server"]["config"]["private"]["db"]["user"]
    [problem] = argument(show(minion, SLS, pillar)["swh-deposit-pillar"], "problems")
    assert problem == "deposit:server:config:private:db:user is not set"


def test_a_database_elsewhere_is_left_alone(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["deposit"]["server"]["config"]["private"]["db"]["host"] = "db.example.com"
    states = show(minion, SLS, pillar)
    assert not [name for name, state in states.items() if "postgres" in str(state)]


def test_the_development_platform_needs_no_private_settings(
    minion: Minion, render: Callable[..., str], pillar: dict[str, Any]
) -> None:
    del pillar["deposit"]["server"]["config"]["private"]
    pillar["deposit"] |= {"platform": "development", "user": "swhdeposit"}
    states = show(minion, SLS, pillar)
    assert argument(states["swh-deposit-database"], "name") == "swh-deposit-dev"
    assert argument(states["swh-deposit-media-root"], "name") == "/tmp/swh-deposit/uploads"
    assert "DJANGO_SETTINGS_MODULE=swh.deposit.settings.development\n" in render("deposit.service", pillar)


def test_debian_packages_in_place_of_a_virtual_environment(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["deposit"]["server"]["packages"] = ["python3-swh.deposit", "gunicorn"]
    pillar["deposit"]["bin_directory"] = "/usr/bin"
    states = show(minion, SLS, pillar)
    assert {"python3-swh.deposit", "gunicorn"} <= set(argument(states["swh-deposit-packages"], "pkgs"))
    assert "swh-deposit-virtualenv" not in states
    assert "swh-deposit-packages" in requisites(states["swh-deposit-service"], "watch")


@pytest.mark.parametrize(
    ("changes", "knows"),
    [
        ({}, True),
        ({"packages": ["python3-swh.deposit", "gunicorn"]}, False),
        ({"requirements": "salt://deposit/requirements.txt"}, False),
    ],
)
def test_gunicorn_is_given_no_option_that_it_may_not_know(
    render: Callable[..., str], pillar: dict[str, Any], changes: dict[str, Any], *, knows: bool
) -> None:
    pillar["deposit"]["server"] |= changes
    [command] = re.findall(r"^ExecStart=.*", render("deposit.service", pillar), re.MULTILINE)
    assert (" --no-control-socket " in command) is knows
    assert command.endswith(" django.core.wsgi:get_wsgi_application()")


def test_a_worker_may_be_elsewhere(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["deposit"]["server"]["workers"]["loader"] = False
    states = show(minion, SLS, pillar)
    assert function(states["swh-deposit-loader"]) == "service.dead"
    assert function(states["swh-deposit-checker"]) == "service.running"


def test_a_client_has_its_fields_from_pillar(minion: Minion, pillar: dict[str, Any]) -> None:
    client = show(minion, SLS, pillar)["swh-deposit-client-hal"]
    assert function(client) == "deposit.client_present"
    assert argument(client, "collections") == ["hal"]
    assert argument(client, "provider_url") == "https://hal.example.com/"
    assert requisites(client, "require") == {
        "swh-deposit-migrated", "swh-deposit-collection-hal", "swh-deposit-collection-checker"
    }  # fmt: skip


def test_clients_leave_only_when_asked_to(minion: Minion, pillar: dict[str, Any]) -> None:
    del pillar["deposit"]["clients"]["hal"]
    assert "swh-deposit-client-hal" not in show(minion, SLS, pillar)
    pillar["deposit"]["absent"] = ["hal"]
    assert function(show(minion, SLS, pillar)["swh-deposit-client-hal-absent"]) == "deposit.client_absent"


def test_what_is_ours_leaves_with_the_section(minion: Minion, pillar: dict[str, Any]) -> None:
    there = show(minion, SLS, pillar)
    del pillar["deposit"]["server"]
    states = show(minion, SLS, pillar)
    removed = argument(states["swh-deposit-removed"], "names")
    removed += [argument(states["swh-deposit-virtualenv-removed"], "name")]
    files = {
        argument(state, "name")
        for name, state in there.items()
        if "file" in state and name not in {"swh-deposit-media-root", "swh-deposit-units"}
    }
    files |= {next(iter(each)) for each in argument(there["swh-deposit-units"], "names")}
    left = {path for path in files if not any(path == gone or path.startswith(f"{gone}/") for gone in removed)}
    assert left == set()
    assert "/srv/swh-deposit/uploads" not in removed


def test_a_server_of_others_is_left_alone(minion: Minion, pillar: dict[str, Any], tmp_path: Path) -> None:
    """Whatever stops or removes something is run only if there is something of ours to forget."""
    pillar["kingfisher_manifest_directory"] = str(tmp_path)
    owned = show(minion, SLS, pillar)["swh-deposit-owned"]
    del pillar["deposit"]["server"]
    states = show(minion, SLS, pillar)
    assert states.keys() - {"swh-deposit-owned"} == {
        f"swh-deposit-{what}" for what in ("services-stopped", "removed", "virtualenv-removed")
    }

    def run() -> set[str]:
        ended = minion.call("state.sls", SLS, test=True).raw.values()
        return {state["__id__"] for state in ended if state["comment"] != "No changes detected"}

    assert run() == {"swh-deposit-owned"}
    (tmp_path / "owned.json").write_text(json.dumps({"swh.deposit": {"files": argument(owned, "files")}}))
    assert run() == states.keys()


def test_the_check_leaves_with_its_section(minion: Minion, pillar: dict[str, Any]) -> None:
    del pillar["deposit"]["check"]
    states = show(minion, SLS, pillar)
    assert "swh-deposit-check-script" not in states
    assert function(states["swh-deposit-check-removed"]) == "file.absent"


def test_server_yml_is_what_pillar_says(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    assert yaml.safe_load(render("server.yml", pillar)) == pillar["deposit"]["server"]["config"]


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("checker", "swh.deposit.loader.tasks.ChecksDepositTsk"),
        ("loader", "swh.loader.package.deposit.tasks.LoadDeposit"),
    ],
)
def test_a_worker_takes_its_own_tasks(
    render: Callable[..., str], pillar: dict[str, Any], name: str, task: str, tmp_path: Path
) -> None:
    text = render("worker.yml", pillar, context={"name": name})
    values = yaml.safe_load(text)
    assert values["deposit"] == {"url": "http://127.0.0.1:5006/1/private/", "auth": None}
    (tmp_path / "worker.yml").write_text(text)
    code = (
        "from swh.scheduler.celery_backend.config import app; import json; app.loader.import_default_modules();"
        "print(json.dumps([[q.name for q in app.conf.task_queues], app.conf.broker_url, sorted(app.tasks)]))"
    )
    said = subprocess.run(
        [ROOT / ".venv-deposit/bin/python", "-c", code],
        env={"SWH_CONFIG_FILENAME": str(tmp_path / "worker.yml")},
        capture_output=True,
        text=True,
        check=True,
    )
    queues, broker, tasks = json.loads(said.stdout.splitlines()[-1])
    assert queues == ["celery", task]
    assert broker == pillar["deposit"]["server"]["broker"]
    assert task in tasks


def test_a_workers_environment(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    lines = render("worker.environment", pillar, context={"name": "loader"}).splitlines()
    assert lines[1:] == ["CONCURRENCY=1", "MAX_TASKS_PER_CHILD=5", "LOG_LEVEL=info"]


@pytest.mark.parametrize("listen", ["127.0.0.1:5006", "/run/swh-deposit/socket"])
def test_the_units_are_ones_of_systemd(
    render: Callable[..., str], pillar: dict[str, Any], tmp_path: Path, listen: str
) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd is not on this machine")
    server = pillar["deposit"]["server"]
    server |= {"listen": listen, "url": "http://127.0.0.1:5006", "user": "daemon", "worker_user": "bin"}
    server["config"]["private"] |= {"media_root": "/srv/up loads", "db": {"name": "x", "user": "daemon"}}
    directory = tmp_path / "units"
    directory.mkdir()
    for name in ("deposit.socket", "deposit.service", "deposit-worker@.service"):
        # What they start is not there until it is applied.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", render(name, pillar), flags=re.MULTILINE)
        (directory / name).write_text(text)
    units = [directory / name for name in ("deposit.socket", "deposit.service", "deposit-worker@.service")]
    shutil.copy(units[2], directory / "deposit-worker@checker.service")
    ended = subprocess.run(
        [analyze, "verify", "--man=no", *units[:2], directory / "deposit-worker@checker.service"],
        capture_output=True,
        text=True,
    )
    assert [line for line in ended.stderr.splitlines() if "deposit" in line] == []


def test_the_schedule(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    pillar["deposit"]["server"]["check"]["mailto"] = "sysadmin@example.com"
    assert [line for line in render("cron", pillar).splitlines() if not line.startswith("#")] == [
        "HOME=/var/lib/swh-deposit-check",
        "MAILTO=sysadmin@example.com",
        "*/5 * * * * swhdeposit /opt/swh-deposit-check/check_deposit health --record --stale-after=900",
        "0 * * * * swhdeposit /opt/swh-deposit-check/check_deposit end-to-end --record --stale-after=10800",
    ]


def test_the_check_knows_one_client_alone(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    values = json.loads(render("check.json", pillar))
    assert [*values["clients"]] == ["checker"]
    assert values["clients"]["checker"]["password"] == NASTY
    assert "server" not in values


def test_the_script_runs_without_salt(
    minion: Minion, render: Callable[..., str], pillar: dict[str, Any], tmp_path: Path
) -> None:
    copy = show(minion, SLS, pillar)["swh-deposit-check-library"]
    (pattern,) = re.findall(r"E@(.*)", argument(copy, "include_pat"))
    source = ROOT / "_utils/kingfisher_salt"
    for path in source.rglob("*.py"):
        name = str(path.relative_to(source))
        if re.search(pattern, name):
            target = tmp_path / "lib/kingfisher_salt" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    text = render("check_deposit", pillar)
    for old, new in {
        "/opt/swh-deposit-check": str(tmp_path),
        "/var/lib/swh-deposit-check": str(tmp_path),
        "/opt/swh-deposit/bin": str(ROOT / ".venv-deposit/bin"),
    }.items():
        text = text.replace(old, new)
    script = tmp_path / "script"
    script.write_text(text)
    script.chmod(0o755)
    ended = subprocess.run([script, "last", "health"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert (ended.stderr, ended.returncode) == ("", 3)
    assert ended.stdout.startswith("DEPOSIT UNKNOWN - no check was run yet")
