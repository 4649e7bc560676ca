"""What Scrapyd answers, and what stands before it, in one sentence each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kingfisher_salt.errors import KingfisherError, SettingsError
from kingfisher_salt.scrapyd import config, logs
from kingfisher_salt.scrapyd.client import Client, NoAnswerError, RefusedError, last_line


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body, delay = self.server.answer  # type: ignore[attr-defined]
        time.sleep(delay)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        time.sleep(self.server.pause)  # type: ignore[attr-defined]
        self.wfile.write(body[len(body) // 2 :])

    do_POST = do_GET  # noqa: N815

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.answer[2])))  # type: ignore[attr-defined]
        self.send_header("Last-Modified", self.date_time_string())
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    server.pause = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


ERROR = b'{"status": "error", "message": "Traceback (most recent call last):\\n  File\\nImportError: no x\\n"}'


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {}, ERROR, 0), "answered to daemonstatus: ImportError: no x"),
        ((200, {}, b"Traceback\nValueError: debug is on\n", 0), "what Scrapyd does not (ValueError: debug is on)"),
        ((200, {}, b"[]", 0), "what Scrapyd does not ([]): correct scrapyd:url"),
        ((401, {}, b"", 0), "refuses a request without credentials"),
        ((403, {}, b"", 0), "refuses a request without credentials"),
        ((502, {}, b"<html>", 0), "answered HTTP 502 to daemonstatus"),
        ((301, {"Location": "https://x/"}, b"", 0), "leads to https://x/: correct scrapyd:url"),
    ],
)
def test_a_wrong_answer_is_one_sentence(stub: Any, answer: Any, message: str) -> None:
    stub.answer = answer
    with pytest.raises(RefusedError) as error:
        Client(config.load({"url": stub.url}, {})).daemon_status()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_slow_answer_is_given_up(stub: Any) -> None:
    stub.answer = (200, {}, b"{}", 2)
    with pytest.raises(NoAnswerError, match=r"did not answer to daemonstatus within 0.2 s"):
        Client(config.load({"url": stub.url, "timeout": 0.2}, {})).daemon_status()


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize("fault", ["cut", "slow"])
def test_a_log_that_is_broken_off_is_told(stub: Any, status: int, fault: str) -> None:
    stub.answer = (status, {"Content-Length": "1000"} if fault == "cut" else {}, b"abcdef", 0)
    stub.pause = 1 if fault == "slow" else 0
    reader = logs.Logs(Client(config.load({"url": stub.url, "timeout": 0.2}, {})))
    with pytest.raises(NoAnswerError) as error:
        reader.head("p", "s", "j", 1000)
    assert str(error.value) == (
        f"Scrapyd at {stub.url} broke off its answer for /logs/p/s/j.log: try again in a minute, then look at its host"
    )


def test_a_log_that_is_cut_is_told_by_its_length(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # As urllib3 is before version 2.
    original = urllib3.HTTPResponse.__init__

    def lenient(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "enforce_content_length": False})

    monkeypatch.setattr(urllib3.HTTPResponse, "__init__", lenient)
    stub.answer = (206, {"Content-Length": "1000"}, b"abc", 0)
    with pytest.raises(NoAnswerError, match="broke off its answer"):
        logs.Logs(Client(config.load({"url": stub.url}, {}))).head("p", "s", "j", 1000)


@pytest.mark.parametrize(("status", "expected"), [(200, b"cd"), (206, b"ab")])
def test_a_part_of_a_log(stub: Any, status: int, expected: bytes) -> None:
    stub.answer = (status, {}, b"abcd", 0)
    assert logs.Logs(Client(config.load({"url": stub.url}, {}))).tail("p", "s", "j", 2) == expected


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match=r"does not answer \(Connection refused\)"):
        Client(config.load({"url": "http://127.0.0.1:1"}, {})).projects()
    with pytest.raises(NoAnswerError, match="No such file or directory"):
        Client(config.load({"unix_socket": str(tmp_path / "none")}, {})).projects()


def test_a_netrc_file_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine localhost login\nnonsense secret")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    with pytest.raises(KingfisherError, match="netrc cannot be used") as error:
        Client(config.load({}, {}))
    assert "secret" not in str(error.value)


def test_the_last_line_of_a_traceback() -> None:
    assert last_line("Traceback\n  x\nValueError: y\n\n") == "ValueError: y"
    assert last_line("") == "nothing"
    assert len(last_line("x" * 1000)) == 303


@pytest.mark.parametrize(
    ("pillar", "message"),
    [
        ({"url": "localhost:6800"}, "scrapyd:url must be an address like http://localhost:6800"),
        ({"url": "http://a:b@localhost"}, "scrapyd:url must not hold credentials"),
        ({"username": "collect"}, "scrapyd:password is not set"),
        ({"password": 1}, "scrapyd:password must be text, not a secret of another type"),
        ({"timeout": 0}, "scrapyd:timeout must be greater than 0, not 0"),
        ({"logs_directry": "/x"}, "scrapyd:logs_directry is not a setting: did you mean logs_directory?"),
        ({"drain_file": "x"}, "scrapyd:drain_file must be an absolute path"),
        ({"drain_file": "/x", "scheduled_file": "/x"}, "must be two files"),
    ],
)
def test_wrong_settings(pillar: dict, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        config.load(pillar, {})
    assert message in str(error.value)
    assert "a:b" not in str(error.value)


def test_the_password_is_no_argument() -> None:
    with pytest.raises(SettingsError, match="argument password is a secret"):
        config.load({}, {"password": "x"})


def test_which_server_is_here() -> None:
    assert config.load({}, {}).is_here
    assert config.load({"url": "https://collect.example.com", "unix_socket": "/run/s"}, {}).is_here
    assert not config.load({"url": "https://collect.example.com"}, {}).is_here
