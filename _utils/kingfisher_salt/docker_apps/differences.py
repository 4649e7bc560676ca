"""Compare what runs with what the compose file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .compose import Container, Project, Service
from .config import App


def wanted(app: App, project: Project) -> list[str]:
    """Return the services that are to be up: those of no profile, without the workers while the server is halted."""
    names = [service.name for service in project.services.values() if service.enabled]
    if not app.halted:
        return names
    return [] if app.workers is None else [name for name in names if name not in app.workers]


def unwanted(app: App, project: Project) -> list[str]:
    """Return the services that are to be stopped."""
    return [name for name in project.services if name not in wanted(app, project)] if app.halted else []


def differences(
    app: App,
    project: Project,
    containers: list[Container],
    images: Mapping[str, Mapping[str, Any]],
    made: Mapping[str, list[str]],
) -> dict[str, dict[str, str]]:
    """
    Return what has to change, by service, as ``{"old": …, "new": …}``.

    :param images: those that are here, by reference
    :param made: what services were brought up with, as records have it
    """
    found = {}
    by_service: dict[str, list[Container]] = {}
    for container in containers:
        by_service.setdefault(container.service, []).append(container)
    for name in wanted(app, project):
        if difference := _service(project.services[name], by_service.get(name, []), images, made.get(name, [])):
            found[name] = dict(zip(("old", "new"), difference, strict=True))
    for name in unwanted(app, project):
        if any(container.status in ("running", "restarting") for container in by_service.get(name, [])):
            found[name] = {"old": "running", "new": "stopped, since maintenance:halted is set"}
    for name in sorted(set(by_service) - set(project.services)):
        found[name] = {"old": "running", "new": "removed, since the compose file has no such service"}
    return found


def _service(
    service: Service, containers: list[Container], images: Mapping[str, Mapping[str, Any]], made: list[str]
) -> tuple[str, str] | None:
    image = images.get(service.reference, {}).get("id")
    if not containers and service.scale:
        return "none", f"running {short(image) if image else service.reference}"
    others = sorted({short(container.image) for container in containers if image and container.image != image})
    if others:
        return f"running {', '.join(others)}", f"running {short(image or '')}"
    if image is None:
        return f"running {short(containers[0].image)}", f"running {service.reference}, which is not here yet"
    if any([service.hash, container.label] != made for container in containers):
        return "running with other settings", "running with the compose file's"
    bad = [container for container in containers if container.status != "running" and not container.over]
    if bad:
        return bad[0].status, "running"
    if len(containers) != service.scale:
        return f"{len(containers)} containers", f"{service.scale} containers"
    return None


def as_made(project: Project, containers: list[Container]) -> dict[str, list[str]]:
    """Return what services were brought up with, just now, for records."""
    found = ((container.service, container.label) for container in containers if container.service in project.services)
    return {name: [project.services[name].hash, label] for name, label in found}


def short(image_id: str) -> str:
    """Return an id as Docker shows it."""
    return image_id.removeprefix("sha256:")[:12]
