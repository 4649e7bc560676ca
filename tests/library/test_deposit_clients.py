"""Clients and collections of the deposit: what is not given stays, and no secret is ever seen."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from kingfisher_salt.deposit import clients, server_file
from kingfisher_salt.deposit import config as deposit_config
from kingfisher_salt.errors import KingfisherError

from tests.services.deposit import DepositServer
from tests.services.files import write_private

#: Quotes of all kinds, line ends, other scripts, and what shells, SQL and Python's formats make of.
ODD = 'it\'s "quoted" `$HOME` \\n %s {x}\nсвіт ☂ 🗝\r\n--;'


class Host:
    """A minion's pillar for a server."""

    def __init__(self, service: DepositServer):
        self.service = service
        self.pillar: dict[str, Any] = service.pillar

    def load(self) -> tuple[deposit_config.Config, server_file.Server]:
        config = deposit_config.load(self.pillar, {})
        return config, server_file.read(config)

    def save(
        self,
        username: str,
        *,
        create: bool = False,
        pillar_password: bool = False,
        dry_run: bool = False,
        **given: Any,
    ) -> dict[str, Any]:
        options = {"create": create, "pillar_password": pillar_password, "dry_run": dry_run}
        return clients.save(*self.load(), username, given, **options)["changes"]

    def show(self, username: str) -> dict[str, Any]:
        return clients.show(self.load()[1], username)

    def collections(self) -> list[str]:
        return [collection["name"] for collection in clients.collections(self.load()[1])]

    def set_password(self, username: str, password: Any) -> None:
        self.pillar["clients"] = {username: {"password": password}}

    def logs_in(self, username: str, password: str) -> bool:
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        url = f"{self.service.url}/servicedocument/"
        return requests.get(url, headers={"Authorization": f"Basic {token}"}, timeout=30).status_code == 200

    def hash(self, username: str) -> str:
        return self.service.query("SELECT password FROM auth_user WHERE username = %s", username)[0]["password"]


@pytest.fixture
def host(deposit_server: DepositServer) -> Host:
    return Host(deposit_server)


@pytest.fixture
def client(host: Host) -> str:
    """Return the name of a new client, with all its fields set."""
    name = f"client-{uuid.uuid4().hex[:12]}"
    host.set_password(name, f"first password of {name}")
    fields = {"first_name": "Jo", "last_name": "Poe", "email": "jo@example.com", "domain": "example.com"}
    host.save(name, create=True, collections=[f"{name} b", f"{name} a"], provider_url="https://example.com/", **fields)
    return name


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


def test_a_new_client_deposits(host: Host, client: str) -> None:
    shown = host.show(client)

    assert shown["collections"] == [f"{client} a", f"{client} b"]
    assert (shown["first_name"], shown["email"], shown["is_active"]) == ("Jo", "jo@example.com", True)
    assert shown["has_password"] is True
    assert "password" not in shown
    assert host.logs_in(client, f"first password of {client}")


def test_a_client_has_a_collection_of_its_name_by_default(host: Host) -> None:
    host.set_password("collector", "a password")

    changes = host.save("collector", create=True)

    assert changes["collections"] == {"old": None, "new": ["collector"]}
    assert changes["collections created"] == {"old": None, "new": ["collector"]}
    assert changes["password"] == {"old": None, "new": "**"}


def test_a_field_that_is_changed_leaves_the_others(host: Host, client: str) -> None:
    host.save(client, is_active=False)
    before = host.show(client)
    password = host.hash(client)

    changes = host.save(client, email="new@example.com")

    assert changes == {"email": {"old": "jo@example.com", "new": "new@example.com"}}
    assert host.show(client) == before | {"email": "new@example.com"}
    assert host.hash(client) == password
    assert host.save(client, email="new@example.com") == {}


def test_a_dry_run_changes_nothing(host: Host, client: str) -> None:
    before = host.show(client), host.hash(client), host.collections()
    host.set_password(client, "another password")

    changes = host.save(client, pillar_password=True, dry_run=True, domain="example.org", collections=["never made"])
    host.set_password("never", "a password")
    host.save("never", create=True, dry_run=True)

    assert changes["password"] == {"old": "**", "new": "**"}
    assert changes["collections created"]["new"] == ["never made"]
    assert (host.show(client), host.hash(client), host.collections()) == before
    assert "never" not in [found["username"] for found in clients.listing(host.load()[1])]


@pytest.mark.parametrize("pillar", [{"password_env": "NOT_SET_AT_ALL"}, {"password": "another password"}])
def test_the_password_in_pillar_is_not_looked_at_for_another_field(
    host: Host, client: str, pillar: dict[str, Any]
) -> None:
    host.pillar["clients"] = {client: pillar}

    assert list(host.save(client, is_active=False)) == ["is_active"]
    assert list(host.save(client, collections=[client])) == ["collections", "collections created"]


def test_the_password_in_pillar_is_set_beside_a_field_if_asked_for(host: Host, client: str) -> None:
    host.set_password(client, "another password")

    assert list(host.save(client, email="new@example.com", pillar_password=True)) == ["email", "password"]
    assert host.logs_in(client, "another password")


@pytest.mark.parametrize(("create", "username"), [(True, "bad"), (True, "a name / of spaces"), (False, "")])
def test_a_dry_run_refuses_what_is_refused(host: Host, client: str, username: str, *, create: bool) -> None:
    host.set_password(username or client, f"first password of {client}")
    messages = []
    for dry_run in (True, False):
        email = "jo@example.com" if "/" in username else "no address"
        with pytest.raises(KingfisherError, match="Django refuses the client") as error:
            host.save(username or client, create=create, dry_run=dry_run, email=email)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("source", ["pillar", "file", "environment"])
def test_a_password_of_any_characters_logs_in_and_is_seen_nowhere(
    host: Host, client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    given = {}
    if source == "pillar":
        host.set_password(client, ODD)
    elif source == "file":
        write_private(tmp_path / "password", "")
        (tmp_path / "password").write_bytes(f"{ODD}\n".encode())
        given["password_file"] = str(tmp_path / "password")
    else:
        monkeypatch.setenv("DEPOSIT_PASSWORD", ODD)
        given["password_env"] = "DEPOSIT_PASSWORD"

    with watching_processes() as arguments:
        changes = host.save(client, **given)
        again = host.save(client, **given)

    assert changes == {"password": {"old": "**", "new": "**"}}
    assert again == {}
    assert host.logs_in(client, ODD)
    seen = arguments()
    assert "python3\0-\0" in seen
    for secret in (ODD[:20], "світ", host.service.password, host.service.secret_key):
        assert secret not in seen


def test_keycloak_keeps_the_passwords(host: Host, deposit_server: DepositServer, tmp_path: Path) -> None:
    path = deposit_server.write_configuration(tmp_path / "server.yml", authentication_provider="keycloak")
    host.pillar["configuration_file"] = str(path)

    with pytest.raises(KingfisherError, match="argument password_file: authentication_provider is keycloak"):
        host.save("keycloaked", create=True, password_file="/root/password")
    host.set_password("keycloaked", "a password")
    with pytest.raises(KingfisherError, match="deposit:clients:keycloaked:password: authentication_provider is keyc"):
        host.save("keycloaked", create=True)
    host.pillar["clients"] = {}
    host.save("keycloaked", create=True)

    assert host.show("keycloaked")["has_password"] is False


@pytest.mark.parametrize(
    ("pillar", "given", "message"),
    [
        ({}, {}, "deposit:clients:bad:password is not set, nor password_file or password_env"),
        ({"password": ""}, {}, "deposit:clients:bad:password is empty"),
        ({"password": 12345678}, {}, "deposit:clients:bad:password must be text: put it into quotes"),
        ({"password": "x", "password_env": "Y"}, {}, "are both set: keep one"),
        ({"password": "x\0y"}, {}, "deposit:clients:bad:password has a character that no password may have"),
        (
            {},
            {"password_env": "NOT_SET_AT_ALL"},
            "argument password_env: NOT_SET_AT_ALL is not set in the environment",
        ),
        ({}, {"password_file": "/nowhere/password"}, "/nowhere/password cannot be read (No such file or directory)"),
        ({}, {"password_file": "password"}, "argument password_file must be an absolute path"),
        ({"password": "secret"}, {"email": "no address"}, "argument email: Enter a valid email address"),
        ({"password": "secret"}, {"is_active": "no"}, "argument is_active must be True or False, not 'no'"),
        ({"password": "secret"}, {"collections": ["a/b"]}, "argument collections: a collection must have a name"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    host: Host, pillar: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    host.pillar["clients"] = {"bad": pillar}
    with pytest.raises(KingfisherError) as error:
        host.save("bad", create=True, **given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_password_file_that_is_open_to_others_is_refused(host: Host, tmp_path: Path) -> None:
    path = write_private(tmp_path / "password", "a password")
    path.chmod(0o644)
    with pytest.raises(KingfisherError, match="is open to others than its owner: chmod 600"):
        host.save("bad", create=True, password_file=str(path))


def test_names_that_are_there_and_names_that_are_not(host: Host, client: str) -> None:
    with pytest.raises(KingfisherError, match=f"there is a client {client}: deposit.client_update"):
        host.save(client, create=True)
    with pytest.raises(KingfisherError, match=f"there is no client {client}x: did you mean {client}?"):
        host.save(f"{client}x", email="jo@example.com")


def test_a_collection_is_created_once_by_two_at_once(host: Host) -> None:
    def create(_: int) -> bool:
        return clients.create_collection(*host.load(), "made by two")["created"]

    with ThreadPoolExecutor(2) as pool:
        created = sorted(pool.map(create, range(2)))

    assert created == [False, True]
    assert host.collections().count("made by two") == 1


def test_a_client_is_deleted_unless_it_has_deposited(host: Host, deposit_server: DepositServer, client: str) -> None:
    password = deposit_server.create_client("depositor")
    deposit_server.upload("depositor", password, "--partial")

    clients.delete(*host.load(), client, dry_run=True)
    host.show(client)
    clients.delete(*host.load(), client)

    with pytest.raises(KingfisherError, match="there is no client"):
        host.show(client)
    with pytest.raises(KingfisherError, match="client depositor has 1 deposits, which name it"):
        clients.delete(*host.load(), "depositor")
