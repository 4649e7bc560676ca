"""The functions and states of the deposit through Salt's loader, against a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.conftest import Minion
from tests.services.deposit import DepositServer

PASSWORD = 'it\'s a "password"\nof two lines: світ'


class Host:
    """A minion whose pillar names a server, and the password of a client."""

    def __init__(self, minion: Minion, service: DepositServer):
        self.minion, self.service = minion, service
        self.pillar: dict[str, Any] = {**service.pillar, "clients": {"hal": {"password": PASSWORD}}}
        self.configure()

    def configure(self, **settings: Any) -> None:
        self.pillar |= settings
        self.minion.set_pillar({"deposit": self.pillar})

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        result = self.minion.call(f"deposit.{function}", *args, **kwargs)
        json.dumps(result)
        return result

    def state(self, function: str, *, test: bool = False, **kwargs: Any) -> dict[str, Any]:
        [ret] = self.minion.state(f"deposit.{function}", test=test, **kwargs).raw.values()
        return ret

    def passes_twice(self, function: str, **kwargs: Any) -> dict[str, Any]:
        """Apply a state in test mode, for real, and again. Return the changes."""
        tried = self.state(function, test=True, **kwargs)
        done = self.state(function, **kwargs)
        again = self.state(function, **kwargs)
        assert (tried["result"], done["result"], again["result"]) == (None, True, True), (tried, done, again)
        assert tried["changes"] == done["changes"] != {}
        assert again["changes"] == {}
        assert "would have been" in tried["comment"]
        return done["changes"]


@pytest.fixture
def host(minion: Minion, deposit_server: DepositServer) -> Host:
    return Host(minion, deposit_server)


@pytest.fixture(scope="module")
def failed(deposit_server: DepositServer) -> int:
    """Return a deposit whose loading failed, by SQL, since there is no archive to load into."""
    password = deposit_server.create_client("failing")
    number = deposit_server.upload("failing", password)
    deposit_server.check(number)
    deposit_server.load(number, "failed")
    return number


@contextmanager
def watching_processes() -> Iterator[Callable[[], str]]:
    """Read the arguments of every process, as ps does, all the time."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: "\n".join(seen)
    finally:
        ended.set()
        watcher.join()


def test_every_function_and_state_without_a_secret_in_the_process_list(host: Host, failed: int) -> None:
    with watching_processes() as arguments:
        assert host.call("status", failed)["id"] == failed
        assert failed in [row["id"] for row in host.call("list", client="failing")]
        assert set(host.call("stuck")) == {"deposits", "summary", "notes"}
        assert host.call("migrations")["pending"] == []
        assert host.call("migrate")["applied"] == []

        assert host.call("collection_create", "zenodo") == {"name": "zenodo", "created": True}
        assert host.call("collection_create", "zenodo")["created"] is False
        assert "zenodo" in [collection["name"] for collection in host.call("collection_list")]

        changes = host.passes_twice("client_present", name="hal", collections=["hal", "zenodo"], email="a@hal.science")
        assert changes["client"] == {"old": None, "new": "hal"}
        assert changes["password"] == {"old": None, "new": "**"}
        assert host.passes_twice("client_present", name="hal", email="b@hal.science") == {
            "email": {"old": "a@hal.science", "new": "b@hal.science"}
        }
        assert host.call("client_show", "hal")["collections"] == ["hal", "zenodo"]
        host.configure(clients={"hal": {"password": f"{PASSWORD}2"}})
        assert host.call("client_update", "hal", email="b@hal.science")["changes"] == {}
        assert host.passes_twice("client_present", name="hal", email="b@hal.science") == {
            "password": {"old": "**", "new": "**"}
        }
        assert host.call("client_update", "hal")["changes"] == {}

        assert host.passes_twice("rescheduled", name="fixed", deposits=[failed])
        assert host.call("reschedule", f"{failed}, {failed}")["summary"] == {"already_scheduled": 1}
        assert host.minion.retcode == 0

        assert host.passes_twice("client_absent", name="hal") == {"client": {"old": "hal", "new": None}}

    seen = arguments()
    assert "python3\0-\0" in seen
    for secret in (PASSWORD[:15], "світ", host.service.password, host.service.secret_key):
        assert secret not in seen


@pytest.mark.usefixtures("failed")
def test_a_client_who_has_deposited_is_deactivated_whatever_its_password(host: Host) -> None:
    host.configure(clients={"failing": {"password_env": "NOT_SET_AT_ALL"}})
    assert host.passes_twice("client_absent", name="failing") == {"is_active": {"old": True, "new": False}}
    host.configure(clients={})
    assert "It is not active" in host.state("client_present", name="failing")["comment"]


def test_migrated_and_collection_present(host: Host, tmp_path: Path) -> None:
    private = host.service.private(name=host.service.create_database())
    path = host.service.write_configuration(tmp_path / "server.yml", private=private)
    host.configure(configuration_file=str(path))

    assert "deposit.0001_initial" in host.passes_twice("migrated", name="migrated")["applied"]
    assert host.passes_twice("collection_present", name="hal") == {"collection": {"old": None, "new": "hal"}}


def test_what_is_not_rescheduled_is_a_failure(host: Host) -> None:
    assert list(host.call("reschedule", 123456789, dry_run=True)["failed"]) == ["123456789"]
    assert host.minion.retcode == 1
    ret = host.state("rescheduled", name="none", deposits=[123456789])
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "there is no deposit 123456789" in ret["comment"]


def test_a_deposit_that_is_done_is_left_alone_by_the_state(host: Host, deposit_server: DepositServer) -> None:
    password = deposit_server.create_client("loaded")
    number = deposit_server.upload("loaded", password)
    deposit_server.check(number)
    deposit_server.load(number, "done")

    ret = host.state("rescheduled", name="done", deposits=[number])

    assert (ret["result"], ret["changes"]) == (True, {})
    assert deposit_server.deposit(number)["status"] == "done"


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "message"),
    [
        ("reschedule", {}, SaltInvocationError, "give either argument deposit"),
        ("reschedule", {"deposit": "abc"}, SaltInvocationError, "argument deposit must be a number or a list"),
        ("reschedule", {"status": "failed", "since": "soon"}, SaltInvocationError, "argument since must be a time"),
        ("reschedule", {"status": "loading"}, CommandExecutionError, "argument status must be one of failed, done"),
        ("status", {"deposit": "12x"}, SaltInvocationError, "argument deposit must be a number"),
        ("status", {"deposit": 123456789}, CommandExecutionError, "there is no deposit 123456789"),
        ("list", {"limit": 0}, SaltInvocationError, "argument limit must be a number from 1 to 1000"),
        ("client_create", {"username": "x", "password": "y"}, SaltInvocationError, "argument password is a secret"),
        ("client_update", {"username": "x", "emial": "y"}, CommandExecutionError, "argument emial is not a setting"),
        ("migrate", {"dry_rum": True}, CommandExecutionError, "argument dry_rum is not a setting"),
        ("stuck", {"configuration_file": "/nowhere.yml"}, CommandExecutionError, "there is no file /nowhere.yml"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(
    host: Host, function: str, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        host.call(function, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
