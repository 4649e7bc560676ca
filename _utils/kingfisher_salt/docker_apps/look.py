"""Show how an application is, and what it says."""

from __future__ import annotations

from typing import Any

from ..apps.application import plain
from ..errors import KingfisherError
from . import config, differences, health, pin, records
from .change import look
from .compose import COMPOSE_FILE, Docker
from .config import App

#: Bytes of a log that are read.
_LOG = 500_000


def status(app: App) -> dict[str, Any]:
    """Return how an application is: each service with its containers and image, what is wrong, what is held."""
    if not (app.directory / COMPOSE_FILE).exists():
        return {"directory": str(app.directory), "services": {}, "problems": ["it is not on this server yet"]}
    docker = Docker(app)
    seen = look(docker)
    record = records.read(app.state_directory, app.name)
    held = pin.read(app)
    services = {}
    for name, service in seen.project.services.items():
        containers = [container for container in seen.containers if container.service == name]
        if not containers and not service.enabled:
            continue
        image = seen.running().get(name) or seen.images.get(service.reference, {})
        services[name] = {
            "containers": [_words(container) for container in containers],
            "image": service.reference,
            "id": differences.short(image.get("id") or ""),
            "digest": image.get("digest"),
            "restarts": sum(container.restarts for container in containers),
        }
    wanted = differences.wanted(app, seen.project)
    made = record.made if record else {}
    pending = differences.differences(app, seen.project, seen.containers, seen.images, made)
    return {
        "directory": str(app.directory),
        "services": services,
        "problems": health.problems(docker, seen.project.name, wanted),
        "pending": pending,
        "halted": app.halted,
        "held_since": held["since"] if held else None,
        "before": {name: differences.short(image["id"]) for name, image in record.before.items()} if record else {},
    }


def logs(app: App, service: str | None, lines: int) -> str:
    """Return the last lines that an application's containers wrote, without secrets."""
    docker = _there(app)
    _known(docker, service)
    names = [service] if service else []
    words = ["compose", "--profile", "*", "logs", "--no-color", "--timestamps", "--tail", str(lines), *names]
    output = docker.attempt(*words, limit=_LOG)
    if output.code:
        raise KingfisherError(
            f"{app.name}: its logs cannot be read: {docker.said(output)}: correct it, and run this again"
        )
    # Compose clears lines even where there is no terminal.
    return docker.mask(plain(output.stdout))


def run(app: App, command: str, service: str | None, timeout: float | None, *, dry_run: bool) -> dict[str, Any]:
    """
    Run a command in a container of its own, and return what it said, without secrets.

    :returns: app, service, command, code, stdout and stderr; or comment, if it was not run
    """
    words = config.words(command)
    docker = _there(app)
    name = service or app.service or next(iter(docker.project().services))
    _known(docker, name)
    result: dict[str, Any] = {"app": app.name, "service": name, "command": list(words)}
    if dry_run:
        return result | {"comment": f"{command} would have been run in a new container of {name}"}
    output = app.application(name, timeout).attempt(*words, limit=_LOG)
    said = {"stdout": docker.mask(output.stdout), "stderr": docker.mask(output.stderr)}
    return result | {"code": output.code, **said}


def _there(app: App) -> Docker:
    if not (app.directory / COMPOSE_FILE).exists():
        raise KingfisherError(f"{app.directory / COMPOSE_FILE} is not there: apply the state docker_apps")
    return Docker(app)


def _known(docker: Docker, service: str | None) -> None:
    services = docker.project().services
    if service is not None and service not in services:
        known = ", ".join(sorted(services))
        raise KingfisherError(f"{docker.app.name} has no service {service} (known: {known})")


def _words(container: Any) -> str:
    return f"{container.status}{f', {container.health}' if container.health else ''}"
