"""A proxy in front of an HTTP server that answers wrongly, slowly or not at all, as it is told."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    method: str
    path: str
    query: dict[str, list[str]]

    @property
    def is_part(self) -> bool:
        return self.method == "PUT" and "partNumber" in self.query

    @property
    def is_completion(self) -> bool:
        return self.method == "POST" and "uploadId" in self.query


@dataclass(frozen=True)
class Fault:
    """What goes wrong. Without a status, the connection is cut: before the server hears of it, or after it did."""

    status: int = 0
    body: bytes = b""
    #: Whether the server gets the request, so that what was asked is done though nobody says so.
    forwarded: bool = False
    #: Whether nothing at all happens until the proxy stops.
    stalls: bool = False
    #: Headers of the server's own answer that are replaced; then that answer is given.
    headers: dict[str, str] = field(default_factory=dict)


#: What an S3 server answers when it is ill.
ILL = b"<Error><Code>%s</Code><Message>ill</Message></Error>"


class Faults:
    """Forwards to a port of this machine, except that ``rule`` may name a fault for a request."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.rule: Callable[[Request], Fault | None] = lambda _: None
        #: The requests that a fault was named for.
        self.hits: list[Request] = []
        self.ended = threading.Event()
        faults = self

        class Handler(_Handler):
            proxy = faults

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Accept no connection any more, and cut those that there are."""
        self.ended.set()
        self._server.server_close()

    def forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=30)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Faults

    def _any(self) -> None:
        url = urlsplit(self.path)
        request = Request(self.command, unquote(url.path), parse_qs(url.query, keep_blank_values=True))
        fault = self.proxy.rule(request)
        if fault:
            self.proxy.hits.append(request)
        if self.proxy.ended.is_set():
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length", 0))
        if fault and fault.stalls:
            self.proxy.ended.wait()
            self.close_connection = True
            return
        if fault and not fault.status and not fault.forwarded and not fault.headers:
            self.rfile.read(length // 2)  # in the middle of what is sent
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault and fault.status and not fault.forwarded:
            self._answer(fault.status, {"Content-Type": "application/xml"}, fault.body)
            return
        answer, content = self.proxy.forward(self, body)
        if fault and fault.status:
            self._answer(fault.status, {"Content-Type": "application/xml"}, fault.body)
        elif fault and not fault.headers:
            self.close_connection = True
        else:
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            for name, value in (fault.headers if fault else {}).items():
                headers = {key: old for key, old in headers.items() if key.lower() != name.lower()}
                if value:
                    headers[name] = value
            self._answer(answer.status, headers, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        with suppress(OSError):  # the client gave up
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in {name.lower() for name in headers}:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


_HOP = {"connection", "transfer-encoding", "keep-alive"}
