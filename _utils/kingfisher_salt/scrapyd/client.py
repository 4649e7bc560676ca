"""Scrapyd's API. Scrapyd answers errors with HTTP 200, so that each body is read."""

from __future__ import annotations

import netrc
import urllib.parse
from collections.abc import Mapping
from typing import Any

import requests
from requests.utils import get_netrc_auth

from ..errors import KingfisherError
from .config import LOOPBACK, Config
from .transport import UnixSocketAdapter

#: Bytes of an answer that are read at once.
_BLOCK = 1 << 20
#: Characters of an answer that are worth repeating.
_MESSAGE_LIMIT = 300


class RefusedError(KingfisherError):
    """Scrapyd answered, and would not do it. ``message`` is what it said."""

    def __init__(self, text: str, message: str) -> None:
        super().__init__(text)
        self.message = message


class NoAnswerError(KingfisherError):
    """Scrapyd is down, or slow: whether it did what it was asked to is not known."""


class Client:
    """One Scrapyd server."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._timeout = config.timeout
        self._session = requests.Session()
        host = urllib.parse.urlsplit(config.url).hostname
        # A proxy for the world is no way to this host.
        self._session.trust_env = not config.unix_socket and host not in LOOPBACK
        self._credentials = "without credentials"
        if config.unix_socket:
            self._session.mount("http://", UnixSocketAdapter(config.unix_socket))
        if config.username and config.password:
            self._session.auth = (config.username, config.password)
            self._credentials = "with those in pillar scrapyd:username and scrapyd:password"
        elif not config.unix_socket and (found := _from_netrc(config.url)):
            self._session.auth = found
            self._credentials = "with those in ~/.netrc"

    # Read

    def daemon_status(self) -> dict[str, Any]:
        return self._call("GET", "daemonstatus")

    def list_jobs(self) -> dict[str, Any]:
        """Return all jobs: pending by priority, finished with the newest first. Projects may be deleted ones."""
        return self._call("GET", "listjobs")

    def job_state(self, job: str) -> str | None:
        """
        Return pending, running or finished, or None if Scrapyd does not know the job, or not any more.

        Scrapyd says finished of a job that was scheduled again under its own id, while that runs.
        """
        state: str | None = self._call("GET", "status", {"job": job})["currstate"]
        if state == "finished":
            found = self.list_jobs()
            return next((s for s in ("running", "pending") if any(entry["id"] == job for entry in found[s])), state)
        return state

    def projects(self) -> list[str]:
        return sorted(self._call("GET", "listprojects")["projects"])

    def versions(self, project: str) -> list[str]:
        """Return a project's versions. The last one is what crawls use that name none."""
        versions: list[str] = self._call("GET", "listversions", {"project": project})["versions"]
        return versions

    def spiders(self, project: str, version: str | None = None) -> list[str]:
        """Return a version's spiders. The first time, Scrapyd does nothing else while it finds them out."""
        given = {"project": project, **({"_version": version} if version else {})}
        # Of a version that has none, Scrapyd lists one without a name.
        return sorted(filter(None, self._call("GET", "listspiders", given)["spiders"]))

    # Change

    def schedule(
        self,
        project: str,
        spider: str,
        job: str,
        *,
        arguments: Mapping[str, str],
        settings: Mapping[str, str],
        version: str | None = None,
        priority: float | None = None,
    ) -> None:
        given: dict[str, Any] = {**arguments, "project": project, "spider": spider, "jobid": job}
        if settings:
            given["setting"] = [f"{key}={value}" for key, value in settings.items()]
        if version:
            given["_version"] = version
        if priority is not None:
            given["priority"] = str(priority)
        self._call("POST", "schedule", given)

    def cancel(self, project: str, job: str, signal: str = "INT") -> str | None:
        """Remove a pending job, or send a running one a signal. Returns which it was, None if neither."""
        state: str | None = self._call("POST", "cancel", {"project": project, "job": job, "signal": signal})[
            "prevstate"
        ]
        return state

    def add_version(self, project: str, version: str, egg: bytes) -> int:
        """Upload an egg, which is in use from then on even if this fails. Returns how many spiders it has."""
        files = {"egg": ("project.egg", egg)}
        return int(self._call("POST", "addversion", {"project": project, "version": version}, files=files)["spiders"])

    def delete_version(self, project: str, version: str) -> None:
        self._call("POST", "delversion", {"project": project, "version": version})

    def delete_project(self, project: str) -> None:
        self._call("POST", "delproject", {"project": project})

    # HTTP

    def log_url(self, project: str, spider: str, job: str) -> str:
        return f"{self.config.public_url}{log_path(project, spider, job)}"

    def fetch(self, method: str, path: str, headers: Mapping[str, str]) -> requests.Response:
        """
        Return the answer for a file that Scrapyd serves, whose body is not read yet.

        :raises NoAnswerError: if there is none
        :raises RefusedError: if the credentials are refused
        """
        return self._send(method, path, f"for {path}", headers=dict(headers), stream=True)

    def read(self, response: requests.Response, start: int, length: int) -> bytes:
        """
        Return a part of the body of an answer to ``fetch``.

        :raises NoAnswerError: if the body breaks off before its end
        """
        content: bytes = b""
        position = 0
        try:
            for block in response.iter_content(_BLOCK):
                content += block[max(0, start - position) :][: length - len(content)]
                position += len(block)
                if len(content) == length:
                    return content
            # Before version 2, urllib3 takes a connection that is cut for the end.
            whole = response.raw.tell() >= int(response.headers.get("content-length", 0))
        except requests.RequestException as e:
            raise self._broken_off(response) from e
        if not whole:
            raise self._broken_off(response)
        return content

    def _broken_off(self, response: requests.Response) -> NoAnswerError:
        path = urllib.parse.urlsplit(response.url).path
        return NoAnswerError(
            f"{self.config.place} broke off its answer for {path}: try again in a minute, then look at its host"
        )

    def _call(
        self, method: str, service: str, given: Mapping[str, Any] | None = None, files: Any = None
    ) -> dict[str, Any]:
        parameters = {"params": given} if method == "GET" else {"data": given, "files": files}
        path = f"/{service}.json"
        response = self._send(method, path, f"to {service}", **parameters)
        place = self.config.place
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and answer.get("status") == "ok":
            return answer
        if isinstance(answer, dict) and answer.get("status") == "error":
            message = str(answer.get("message", "")).strip()
            raise RefusedError(f"{place} answered to {service}: {last_line(message)}", message)
        if response.status_code != requests.codes.ok:
            raise RefusedError(
                f"{place} answered HTTP {response.status_code} to {service}: look at what is between it and this "
                "host, or correct scrapyd:url",
                response.text,
            )
        raise RefusedError(
            f"{place} answered to {service} what Scrapyd does not ({last_line(response.text)}): correct scrapyd:url",
            response.text,
        )

    def _send(self, method: str, path: str, purpose: str, **options: Any) -> requests.Response:
        place = self.config.place
        base = "http://localhost" if self.config.unix_socket else self.config.url
        try:
            # Redirected, a POST would become a GET.
            response = self._session.request(
                method, base + path, timeout=self._timeout, allow_redirects=False, **options
            )
        except requests.Timeout as e:
            raise NoAnswerError(
                f"{place} did not answer {purpose} within {self._timeout:g} s: it does one thing at a time, and may "
                "be busy: try again in a minute, then look at its host"
            ) from e
        except requests.RequestException as e:
            where = "scrapyd:unix_socket" if self.config.unix_socket else "scrapyd:url"
            raise NoAnswerError(
                f"{place} does not answer ({_cause(e)}): systemctl status {self.config.service}, or correct {where}"
            ) from e
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise RefusedError(
                f"{place} refuses a request {self._credentials}: correct them there, or in pillar", response.reason
            )
        if response.is_redirect:
            raise RefusedError(
                f"{place} leads to {response.headers.get('location', '')}: correct scrapyd:url", response.reason
            )
        return response


def log_path(project: str, spider: str, job: str) -> str:
    """Return where Scrapyd serves a log, and has it in its logs directory."""
    return "/logs/" + "/".join(urllib.parse.quote(part, safe="") for part in (project, spider, f"{job}.log"))


def last_line(text: str) -> str:
    """Return what a traceback, or any other text, says in the end."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else "nothing"
    return line if len(line) <= _MESSAGE_LIMIT else f"{line[:_MESSAGE_LIMIT]}..."


def _from_netrc(url: str) -> tuple[str, str] | None:
    try:
        return get_netrc_auth(url, raise_errors=True)
    except netrc.NetrcParseError as e:
        raise KingfisherError(f"~/.netrc cannot be used, see its line {e.lineno}: correct it") from e
    except OSError as e:
        raise KingfisherError(f"~/.netrc cannot be read: {e.strerror}: let this user read it") from e


def _cause(error: BaseException) -> str:
    """Return what the system said, which requests and urllib3 wrap several times."""
    seen: set[int] = set()
    todo: list[Any] = [error]
    while todo:
        found = todo.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        todo += [getattr(found, "reason", None), found.__cause__, found.__context__, *found.args]
    return last_line(str(error))
