"""The role docs: tinyproxy lets through whom pillar allows."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from tests.fleet import network
from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Master

CONFIGURATION = "/etc/tinyproxy/tinyproxy.conf"


@pytest.fixture(scope="module")
def website() -> Iterator[str]:
    """Return the address of a website on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from afar")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer((network.GATEWAY, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{network.GATEWAY}:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def client(fleet: Fleet) -> Iterator[Host]:
    host = fleet.host("client")
    yield host
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def stranger(fleet: Fleet) -> Iterator[Host]:
    host = fleet.host("stranger")
    yield host
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def docs(fleet: Fleet, master: Master, client: Host) -> Iterator[Host]:
    host = fleet.host("docs")
    master.set_pillar(host, {"tinyproxy": {"allow": [client.address]}})
    master.accept(host)
    predicted = master.apply(host, test=True)
    assert not host.exists(CONFIGURATION)
    applied = master.apply(host)
    assert applied.ids <= {state["__id__"] for state in predicted.states.values() if state["result"] is None}
    yield host
    fleet.throw_away(host)


def through(host: Host, docs: Host, url: str) -> str:
    """Return what a host gets through the proxy, or the status of its refusal."""
    code = (
        "import sys, urllib.error, urllib.request as r\n"
        f"o = r.build_opener(r.ProxyHandler({{'http': 'http://{docs.address}:8888'}}))\n"
        f"try: print(o.open('{url}', timeout=20).read().decode())\n"
        "except urllib.error.HTTPError as e: print(e.code)\n"
    )
    return host.run("python3 -", text=code, timeout=60).stdout.strip()


def test_only_who_is_allowed_gets_through(docs: Host, client: Host, stranger: Host, website: str) -> None:
    assert through(client, docs, website) == "hello from afar"
    assert through(stranger, docs, website) == "403"


def test_a_second_apply_changes_nothing(docs: Host, master: Master) -> None:
    assert master.apply(docs).changed == {}


def test_all_is_up_again_after_a_reboot(docs: Host, client: Host, website: str) -> None:
    docs.reboot()
    assert through(client, docs, website) == "hello from afar"


def test_an_address_that_leaves_pillar_is_refused(
    docs: Host, master: Master, client: Host, stranger: Host, website: str
) -> None:
    master.set_pillar(docs, {"tinyproxy": {"allow": [stranger.address]}})
    assert master.apply(docs).ids == {"tinyproxy-configuration", "tinyproxy-service"}
    assert through(client, docs, website) == "403"
    assert through(stranger, docs, website) == "hello from afar"


def test_without_addresses_nothing_is_changed(docs: Host, master: Master) -> None:
    before = docs.read(CONFIGURATION)
    master.set_pillar(docs, {"tinyproxy": {"prot": 8888}})
    applied = master.apply(docs, check=False)
    comment = str(applied.failed)
    assert "tinyproxy:allow is not set" in comment
    assert "tinyproxy:prot is not a setting: did you mean port?" in comment
    assert applied.changed == {}
    assert docs.read(CONFIGURATION) == before
