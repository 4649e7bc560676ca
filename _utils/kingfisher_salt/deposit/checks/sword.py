"""The public API of the deposit server, which is SWORD 2: what a check needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import requests
from requests.auth import HTTPBasicAuth

from ...errors import KingfisherError
from .config import CheckConfig

_NAMESPACES = {
    "app": "http://www.w3.org/2007/app",
    "atom": "http://www.w3.org/2005/Atom",
    "sword": "http://purl.org/net/sword/terms/",
    "swh": "https://www.softwareheritage.org/schema/2018/deposit",
}
_PAGE = 100


class ServerError(KingfisherError):
    """The server does not answer, or refuses, or answers what cannot be understood."""


@dataclass(frozen=True)
class Deposit:
    """A deposit, as the server tells of it."""

    id: int
    status: str
    external_id: str | None
    origin_url: str | None
    received: datetime


@dataclass(frozen=True)
class Status:
    """How far a deposit is."""

    status: str
    detail: str


class Client:
    """The API as the test client may use it."""

    def __init__(self, config: CheckConfig) -> None:
        self.config = config
        self._session = requests.Session()
        # The name and password are those of pillar, not of ~/.netrc, and a proxy for the world is no way to this host.
        self._session.trust_env = False
        # As text, requests would encode it as Latin-1.
        self._session.auth = HTTPBasicAuth(config.username.encode(), config.password.encode())

    def collections(self) -> list[str]:
        """Return the collections that the client may deposit into."""
        found = self._get("/servicedocument/")
        return [e.text or "" for e in found.iterfind("app:workspace/app:collection/sword:name", _NAMESPACES)]

    def latest(self) -> list[Deposit]:
        """Return the client's latest deposits, at least 100 of them if there are as many, the oldest first."""
        count = int(self._find(self._page(1, 1), "swh:count"))
        last = -(-count // _PAGE) or 1
        return [each for page in range(max(1, last - 1), last + 1) for each in self._deposits(self._page(page, _PAGE))]

    def create(self, archive: bytes, entry: bytes, slug: str) -> int:
        """Make a deposit of a ZIP file and an Atom entry, and return its identifier."""
        files = {
            "file": ("check.zip", archive, "application/zip"),
            "atom": ("metadata.xml", entry, "application/atom+xml"),
        }
        headers = {"Slug": slug, "In-Progress": "false"}
        answer = self._call("POST", self._path(), files=files, headers=headers)
        return int(self._find(answer, "swh:deposit_id"))

    def status(self, identifier: int) -> Status:
        answer = self._get(self._path(identifier, "status"))
        detail = answer.findtext("swh:deposit_status_detail", "", _NAMESPACES)
        return Status(self._find(answer, "swh:deposit_status"), " ".join(detail.split()))

    def delete(self, identifier: int) -> None:
        """Delete a deposit, which has to be partial."""
        self._call("DELETE", self._path(identifier, "atom"))

    def _path(self, *parts: object) -> str:
        return "/".join(["", *(quote(str(part), safe="") for part in (self.config.collection, *parts)), ""])

    def _page(self, page: int, size: int) -> ElementTree.Element:
        return self._get(f"{self._path()}?page_size={size}&page={page}")

    def _deposits(self, answer: ElementTree.Element) -> list[Deposit]:
        return [
            Deposit(
                id=int(self._find(entry, "swh:id")),
                status=self._find(entry, "swh:status"),
                external_id=entry.findtext("swh:external_id", None, _NAMESPACES),
                origin_url=entry.findtext("swh:origin_url", None, _NAMESPACES),
                received=_time(self._find(entry, "swh:reception_date")),
            )
            for entry in answer.iterfind("atom:entry", _NAMESPACES)
        ]

    def _get(self, path: str) -> ElementTree.Element:
        return self._call("GET", path)

    def _call(self, method: str, path: str, **options: Any) -> ElementTree.Element:
        """
        Return what the server answers; of nothing, an empty element.

        :raises ServerError: if it does not answer, or answers with an error
        """
        url, timeout = self.config.url, self.config.timeout
        try:
            answer = self._session.request(method, f"{url}{path}", timeout=timeout, allow_redirects=False, **options)
        except requests.Timeout as e:
            raise ServerError(f"{url} does not answer within {timeout:g} s: systemctl status deposit.service") from e
        except requests.RequestException as e:
            raise ServerError(f"{url} cannot be reached ({_reason(e)}): systemctl status deposit.socket") from e
        if answer.status_code in (401, 403):
            raise ServerError(
                f"{url} refuses client {self.config.username} ({answer.status_code}, {_message(answer)}): "
                "correct deposit:check in pillar, or the client with deposit.client_update"
            )
        if not 200 <= answer.status_code < 300:
            where = f"{method} {urlsplit(path).path}"
            raise ServerError(f"{url} answers {where} with {answer.status_code}, {_message(answer)}")
        if not answer.content:
            return ElementTree.Element("nothing")
        try:
            return ElementTree.fromstring(answer.content)
        except ElementTree.ParseError as e:
            raise ServerError(f"{url} answers {path} with no XML: is it a deposit server's address?") from e

    def _find(self, element: ElementTree.Element, name: str) -> str:
        if text := element.findtext(name, None, _NAMESPACES):
            return text.strip()
        raise ServerError(f"{self.config.url} answers without {name}: is it a deposit server's address?")


def _message(answer: requests.Response) -> str:
    """Return what an error says, from SWORD's error document where there is one."""
    try:
        root = ElementTree.fromstring(answer.content)
    except ElementTree.ParseError:
        return answer.reason or "no reason"
    texts = [root.findtext(name, "", _NAMESPACES) for name in ("atom:summary", "sword:verboseDescription")]
    return ": ".join(" ".join(text.split()) for text in texts if text.strip()) or answer.reason or "no reason"


def _reason(error: BaseException) -> str:
    """Return the operating system's reason, which is at the end of a chain of exceptions."""
    found: BaseException | None = error
    while found:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return type(error).__name__


def _time(text: str) -> datetime:
    """Return a time as the API shows it, in UTC."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
