"""The states of Scrapyd, with test mode off and on: each is applied twice."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import Minion
from tests.functional.scrapyd_server import PROJECT, PROJECT_DIRECTORY, SPIDERS, Host, Server, wait_for
from tests.services.scrapyd import build_egg


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("scrapyd")) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        yield server


@pytest.fixture
def host(tmp_path: Path, minion: Minion, server: Server) -> Host:
    return Host(tmp_path, minion, server)


@pytest.fixture
def apply(host: Host) -> Callable[..., Any]:
    """Return a function that applies a state in test mode, then really, then again, and returns the first two."""

    def seen() -> Any:
        listing = {state: sorted(host.server.ids(state)) for state in ("pending", "running")}
        return listing, host.call("projects"), {name: host.call("versions", name) for name in host.call("projects")}

    def apply(function: str, **arguments: Any) -> tuple[Any, Any]:
        before = seen()
        planned = host.state(function, test=True, **arguments)
        assert planned.result is None, planned.comment
        assert planned.changes
        assert "would have been" in planned.comment
        assert seen() == before
        done = host.state(function, **arguments)
        assert done.result is True, done.comment
        assert done.changes
        for test in (False, True):
            again = host.state(function, test=test, **arguments)
            assert (again.result, again.changes) == (True, {}), again.comment
            assert set(again.filtered) >= {"name", "result", "changes", "comment"}
        return planned, done

    return apply


def test_deployed(host: Host, apply: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "checkout"
    shutil.copytree(PROJECT_DIRECTORY, path, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(path), "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "All"]):
        subprocess.run([*git, *arguments], check=True)
    _, done = apply("deployed", name="spiders", checkout=str(path), project="other")
    assert done.changes["version"]["old"] is None
    assert done.changes["spiders added"] == SPIDERS
    (path / "scrapy.cfg").write_text("")
    subprocess.run([*git, "commit", "-qam", "Break"], check=True)
    failed = host.state("deployed", name="spiders", checkout=str(path), project="other")
    assert (failed.result, failed.changes) == (False, {})
    assert "scrapy.cfg has no [settings]" in failed.comment
    apply("absent", name="other")


def test_scheduled_is_one_crawl_for_one_name(host: Host, apply: Callable[..., Any]) -> None:
    planned, done = apply("scheduled", name="one", spider="quick", arguments={"note": "by NAME", "pages": 1})
    assert planned.changes == done.changes
    job = done.changes["job"]["new"]
    wait_for(lambda: host.call("status", job)["state"] == "finished")
    again = host.state("scheduled", name="one", spider="quick")
    assert (again.result, again.changes) == (True, {})
    _, other = apply("scheduled", name="two", spider="quick")
    second = other.changes["job"]["new"]
    assert second != job
    wait_for(lambda: host.call("status", second)["state"] == "finished")
    wrong = host.state("scheduled", name="three", spider="quik")
    assert (wrong.result, wrong.changes) == (False, {})
    assert "did you mean quick?" in wrong.comment


def test_drained_and_resumed(host: Host, apply: Callable[..., Any]) -> None:
    job = host.server.begin("slow")
    _, done = apply("drained", name="before the restart", timeout=0)
    assert done.changes == {"drained": {"old": False, "new": True}, "to be scheduled again": [job]}
    waiting = host.state("scheduled", name="meanwhile", spider="quick")
    assert (waiting.result, waiting.changes) == (False, {})
    _, done = apply("resumed", name="after the restart")
    assert done.changes == {"drained": {"old": True, "new": False}, "scheduled": [job]}
    apply("absent", name="cancelled", job=job)


def test_a_crawl_that_waits_for_the_resumption_is_scheduled_already(host: Host) -> None:
    job = host.state("scheduled", name="waits", spider="slow").changes["job"]["new"]
    host.state("drained", name="now", timeout=0)
    again = host.state("scheduled", name="waits", spider="slow")
    assert (again.result, again.changes) == (True, {})
    host.state("resumed", name="now")
    host.call("cancel", job)


def test_drained_fails_if_a_crawl_does_not_stop(host: Host) -> None:
    job = host.server.begin("stubborn")
    failed = host.state("drained", name="now", timeout=0, grace=0)
    assert failed.result is False
    assert f"job {job} of stubborn was asked to stop" in failed.comment
    forced = host.state("drained", name="now", timeout=0, grace=0, force=True)
    assert forced.result is True
    host.call("resume", drop=job)


def test_absent(host: Host, apply: Callable[..., Any], tmp_path: Path) -> None:
    egg = tmp_path / "project.egg"
    egg.write_bytes(build_egg(PROJECT_DIRECTORY))
    for version in ("1", "2.0"):
        host.call("deploy", egg=str(egg), project="third", version=version)
    _, done = apply("absent", name="third", version="2.0")
    assert done.changes == {"version": {"old": "2_0", "new": None}}
    _, done = apply("absent", name="third")
    assert done.changes == {"project": {"old": "third", "new": None}}
    both = host.state("absent", name="third", version="1", job="x")
    assert (both.result, both.changes) == (False, {})


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("deployed", {"egg": "/proc/nowhere"}),
        ("scheduled", {"spider": "quick"}),
        ("drained", {}),
        ("absent", {}),
    ],
)
def test_a_server_that_is_down_is_the_comment(host: Host, function: str, arguments: dict, test: bool) -> None:
    host.configure(url="http://127.0.0.1:1")
    state = host.state(function, name="x", test=test, **arguments)
    assert (state.result, state.changes) == (False, {})
    assert "does not answer (Connection refused)" in state.comment or "argument egg" in state.comment
