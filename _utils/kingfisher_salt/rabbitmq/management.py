"""RabbitMQ's management interface, whose statistics are some seconds old."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import requests

from ..errors import KingfisherError
from .config import ROOT, Config

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_COLUMNS = (
    "name,type,state,messages_ready,messages_unacknowledged,consumers,message_stats,arguments,exclusive,"
    "effective_policy_definition"
)


class ManagementError(KingfisherError):
    """The management interface did not answer, or refused."""


class AbsentError(ManagementError):
    """The management interface knows no such thing."""


class Management:
    """The management interface, for one virtual host."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._session = requests.Session()
        # A proxy for the world is no way to this host.
        self._session.trust_env = urlsplit(config.management_url).hostname not in _LOOPBACK
        self._session.auth = _Basic(config.username, config.password)
        self._vhost = quote(config.vhost, safe="")

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues, by name. What was declared just now has no statistics yet."""
        found: list[dict[str, Any]] = self._get(f"queues/{self._vhost}", {"columns": _COLUMNS})
        return sorted(found, key=lambda queue: str(queue["name"]))

    def queue(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._get(f"queues/{self._vhost}/{quote(name, safe='')}")
        return found

    def exchange(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._get(f"exchanges/{self._vhost}/{quote(name, safe='')}")
        return found

    def exchanges(self) -> list[str]:
        return [found["name"] for found in self._get(f"exchanges/{self._vhost}", {"columns": "name"}) if found["name"]]

    def bindings(self, exchange: str) -> list[dict[str, Any]]:
        """Return what an exchange passes on."""
        path = f"exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source"
        found: list[dict[str, Any]] = self._get(path)
        return found

    def _get(self, path: str, parameters: dict[str, str] | None = None) -> Any:
        place, timeout = self.config.management_place, self.config.timeout
        url = f"{self.config.management_url}/api/{path}"
        try:
            response = self._session.get(url, params=parameters, timeout=timeout, allow_redirects=False)
        except requests.Timeout as e:
            raise ManagementError(f"{place} did not answer within {timeout:g} s: look at its host") from e
        except requests.RequestException as e:
            raise ManagementError(
                f"{place} does not answer ({_cause(e)}): rabbitmq-plugins enable rabbitmq_management on its host, or "
                f"correct {ROOT}:management_url"
            ) from e
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise ManagementError(
                f"{place} refuses user {self.config.username} ({self.config.credentials}): correct the credentials, "
                f"or rabbitmqctl set_user_tags {self.config.username} monitoring"
            )
        if response.status_code == requests.codes.not_found:
            raise AbsentError(
                f"{place} has no such thing in virtual host {self.config.vhost}: correct {ROOT}:vhost or "
                f"{ROOT}:management_url"
            )
        try:
            if response.status_code == requests.codes.ok:
                return response.json()
        except ValueError:
            pass
        raise ManagementError(
            f"{place} answered HTTP {response.status_code}, and no statistics: correct {ROOT}:management_url"
        )


class _Basic(requests.auth.AuthBase):
    """Credentials of any characters: requests' own takes those of Latin-1 alone."""

    def __init__(self, username: str, password: str) -> None:
        self._auth = requests.auth.HTTPBasicAuth(username.encode(), password.encode())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self._auth(request)
        return request


def _cause(error: BaseException) -> str:
    """Return what the system said, which requests wraps several times."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror and not isinstance(seen, requests.RequestException):
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__
