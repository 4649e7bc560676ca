"""Tell whether an application is well, within a time."""

from __future__ import annotations

import http.client
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit

from .compose import Container, Docker
from .config import App, words

_PAUSE = 0.5
#: For how long a container that has no health check has to run to count as well, in seconds.
SETTLED = 3
#: For how long one attempt to read a page, or to run a command, may take, in seconds.
_ATTEMPT = 30


def wait(docker: Docker, project: str, services: list[str]) -> list[str]:
    """Wait until an application is well. Returns what is wrong with it once its time is over, in sentences."""
    deadline = time.monotonic() + docker.app.health["timeout"]
    while True:
        wrong = problems(docker, project, services)
        if not wrong or time.monotonic() >= deadline:
            return wrong
        time.sleep(_PAUSE)


def problems(docker: Docker, project: str, services: list[str]) -> list[str]:
    """Return what is wrong with an application now."""
    found: list[str] = []
    containers = docker.containers(project)
    for service in services:
        mine = [container for container in containers if container.service == service]
        wrong = next(filter(None, map(_container, mine)), None)
        if wrong or not mine:
            found.append(f"{service} {wrong or 'has no container'}")
    if found:
        return found
    # The page and the command ask what the containers cannot tell, once these are well.
    if docker.app.health["url"] and (wrong := _page(docker.app)):
        found.append(wrong)
    if docker.app.health["command"] and (wrong := _command(docker, services)):
        found.append(wrong)
    return found


def _container(container: Container) -> str | None:
    if container.over or container.health == "healthy":
        return None
    if container.status != "running":
        return f"is {container.status} (exit code {container.exit_code})"
    if container.health:
        return f"is {container.health}, says its health check"
    # One that is to start in the future was started before the clock was set back.
    if 0 <= _age(container.started) < SETTLED:
        return f"was {'re' if container.restarts else ''}started less than {SETTLED} s ago"
    return None


def _age(started: str) -> float:
    """Return for how many seconds a container runs. Docker gives nanoseconds, which Python does not read."""
    at = datetime.strptime(started[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - at).total_seconds()


def _page(app: App) -> str | None:
    """Read the page, without following it elsewhere: that it answers is what counts."""
    url = urlsplit(app.health["url"])
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=_ATTEMPT)
    try:
        target = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
        connection.request("GET", target, headers=app.health["headers"])
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as e:
        return f"{app.health['url']} ({app.root}:health:url) does not answer: {e}"
    finally:
        connection.close()
    return None if status < 400 else f"{app.health['url']} ({app.root}:health:url) answers with status {status}"


def _command(docker: Docker, services: list[str]) -> str | None:
    health = docker.app.health
    service = health["service"] or (services[0] if services else "")
    output = docker.attempt("compose", "exec", "-T", service, *words(health["command"]), timeout=_ATTEMPT)
    if not output.code:
        return None
    return f"{docker.app.root}:health:command ends with exit code {output.code} in {service}: {docker.said(output)}"
