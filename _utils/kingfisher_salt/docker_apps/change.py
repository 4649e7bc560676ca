"""
Bring an application up, update it, roll it back and stop it.

What was well before is on disk before anything is pulled, and images are kept by a name of ours. Each step looks at
what is there, so that a change that was killed is finished by running it again.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..errors import KingfisherError
from . import health, pin, records
from .compose import COMPOSE_FILE, Container, Docker, Project
from .config import App
from .differences import as_made, differences, short, unwanted, wanted
from .records import Images, Record


@dataclass
class Seen:
    """What the compose file says, and what there is."""

    project: Project
    containers: list[Container]
    images: dict[str, dict[str, Any]]

    def of(self, services: list[str]) -> Images:
        """Return the images that the compose file gives services, as far as they are here."""
        found = ((name, self.images.get(self.project.services[name].reference)) for name in services)
        return {name: image for name, image in found if image}

    def running(self) -> Images:
        """Return the images that containers have."""
        found: Images = {}
        for container in self.containers:
            service = self.project.services.get(container.service)
            if service:
                image = self.images.get(service.reference, {})
                digest = image.get("digest") if image.get("id") == container.image else None
                found[service.name] = {"reference": service.reference, "id": container.image, "digest": digest}
        return found


def look(docker: Docker, *, base: bool = False) -> Seen:
    """Return what the compose file says, and what there is."""
    project = docker.project(base=base)
    images = docker.images(service.reference for service in project.services.values())
    return Seen(project, docker.containers(project.name), images)


def up(app: App, *, dry_run: bool) -> dict[str, Any]:
    """
    Make an application what its compose file says. Images that are here already are not pulled again.

    :returns: app, changes (by service), held and comment
    :raises KingfisherError: if it could not be brought up, or is not well
    """
    if dry_run and not (app.directory / COMPOSE_FILE).exists():
        new = {"old": "none", "new": f"running, from {app.directory / COMPOSE_FILE}"}
        return {"app": app.name, "changes": {app.name: new}, "comment": f"{app.name} would have been brought up"}
    docker = _docker(app)
    if dry_run:
        changes, held = _planned(docker)
        comment = f"{app.name} would have been brought up" if changes else f"{app.name} is up"
        return _result(app, changes, held, comment)
    with records.one_at_a_time(app.state_directory, app.name):
        record = _record(docker)
        held = _drop_pin_of_other_images(docker)
        seen = look(docker)
        changes = differences(app, seen.project, seen.containers, seen.images, record.made)
        services = wanted(app, seen.project)
        done = not _news(record.good, seen.of(services)) and _migration(docker, seen, held) in (None, record.migrated)
        if not changes and (done or not services):
            return _result(app, changes, held, f"{app.name} is up")
        _settle(docker, record, held=held, fresh=False)
    return _result(app, changes, held, f"{app.name} has been brought up")


def update(app: App, *, dry_run: bool) -> dict[str, Any]:
    """
    Pull images, migrate, bring up, look whether that is well, and roll back if it is not.

    :returns: app, changes (by service: images before and after), migrated and comment
    :raises KingfisherError: if anything failed. What it says is what runs now
    """
    docker = _docker(app)
    if dry_run:
        seen = look(docker, base=True)
        images = {name: _show(image) for name, image in seen.running().items()}
        where = "would be pulled" if app.pull else f"would be taken as they are here, since {app.root}:pull is False"
        comment = f"the images of {app.name} {where}, and what is new brought up{_and_migrated(app)}"
        return {"app": app.name, "changes": {}, "images": images, "comment": comment}
    with records.one_at_a_time(app.state_directory, app.name):
        record = _record(docker)
        before = look(docker).running()
        migrated = record.migrated
        _settle(docker, record, held=False, fresh=True)
        after = look(docker).running()
    changes = {
        name: {"old": _show(before[name]) if name in before else "none", "new": _show(image)}
        for name, image in after.items()
        if image["id"] != before.get(name, {}).get("id")
    }
    comment = f"{app.name} has been updated" if changes else f"{app.name} has the newest images already"
    return {
        "app": app.name,
        "changes": changes,
        "migrated": record.migrated != migrated,
        "comment": f"{comment}{_halted(app)}",
    }


def rollback(app: App, *, dry_run: bool) -> dict[str, Any]:
    """
    Go back to the images before: those that were well before an update that did not end, else those before the last.

    :returns: app, changes (by service) and comment
    :raises KingfisherError: if there are none, or they are not well either
    """
    docker = _docker(app)
    with _one_at_a_time(app, dry_run):
        record = _record(docker, write=not dry_run)
        seen = look(docker, base=True)
        running = seen.running()
        unfinished = any(record.good.get(name, image)["id"] != image["id"] for name, image in running.items())
        target = record.good if unfinished else record.before
        if not target:
            raise KingfisherError(
                f"no images of {app.name} from before are known on this server, so there is nothing to roll back to: "
                f"name those that you want in {app.root} in pillar, and apply the state docker_apps"
            )
        changes = {
            name: {"old": _show(image), "new": _show(target[name])}
            for name, image in running.items()
            if name in target and target[name]["id"] != image["id"]
        }
        if dry_run:
            return {"app": app.name, "changes": changes, "comment": f"{app.name} would have been rolled back"}
        wrong = _go_back(docker, record, target)
        if wrong:
            raise KingfisherError(
                f"{app.name} has been rolled back, and is not well: {'; '.join(wrong)}: read docker_apps.logs "
                f"{app.name}"
            )
    return {
        "app": app.name,
        "changes": changes,
        "comment": f"{app.name} has been rolled back. Migrations are not undone. It stays at these images until "
        f"docker_apps.update {app.name}, or until pillar names others",
    }


def stop(app: App, services: list[str] | None, *, dry_run: bool) -> dict[str, Any]:
    """
    Stop services, or all of them. Their containers stay.

    :returns: app, changes (by service) and comment
    """
    if not (app.directory / COMPOSE_FILE).exists():
        return {"app": app.name, "changes": {}, "comment": f"{app.name} is not on this server"}
    docker = _docker(app)
    with _one_at_a_time(app, dry_run):
        project = docker.project()
        if unknown := [name for name in services or [] if name not in project.services]:
            raise KingfisherError(
                f"{app.name} has no service {', '.join(unknown)} (known: {', '.join(sorted(project.services))})"
            )
        names = list(project.services) if services is None else services
        running = sorted({c.service for c in _up(docker, project) if c.service in names})
        if running and not dry_run:
            _stop(docker, project, running)
    comment = "would have been stopped" if dry_run else "has been stopped"
    return {
        "app": app.name,
        "changes": {name: {"old": "running", "new": "stopped"} for name in running},
        "comment": f"{app.name} {comment if running else 'is stopped'}",
    }


def _docker(app: App) -> Docker:
    if not (app.directory / COMPOSE_FILE).exists():
        raise KingfisherError(f"{app.directory / COMPOSE_FILE} is not there: apply the state docker_apps")
    return Docker(app)


def _one_at_a_time(app: App, dry_run: bool) -> AbstractContextManager[None]:
    return nullcontext() if dry_run else records.one_at_a_time(app.state_directory, app.name)


def _record(docker: Docker, *, write: bool = True) -> Record:
    """Return what is known of an application. If nothing is, what runs now is what there is to go back to."""
    app = docker.app
    record = records.read(app.state_directory, app.name) or records.new(app.state_directory, app.name, app.directory)
    if record.project is None:
        seen = look(docker)
        record.project, record.good = seen.project.name, seen.running()
    if write:
        record.directory = str(app.directory)
        pin.keep(docker, record.good)
        record.write()
    return record


def _planned(docker: Docker) -> tuple[dict[str, dict[str, str]], bool]:
    """Return what ``up`` would change, and whether images are held."""
    found = pin.read(docker.app)
    held = pin.holds(found, docker.project(base=True)) if found else False
    seen = look(docker, base=not held)
    record = records.read(docker.app.state_directory, docker.app.name)
    made = record.made if record else {}
    return differences(docker.app, seen.project, seen.containers, seen.images, made), held


def _drop_pin_of_other_images(docker: Docker) -> bool:
    """Let go of images that pillar no longer names. Returns whether images are still held."""
    found = pin.read(docker.app)
    if found and not pin.holds(found, docker.project(base=True)):
        pin.remove(docker.app)
        return False
    return bool(found)


def _settle(docker: Docker, record: Record, *, held: bool, fresh: bool) -> None:
    """Pull, migrate, bring up and look whether that is well. If it is not, go back."""
    app = docker.app
    if not held:
        _pull(docker, fresh=fresh)
        was_held = pin.read(app)
        pin.remove(app)
    seen = look(docker)
    services = wanted(app, seen.project)
    if services:
        migration = _migration(docker, seen, held)
        if migration not in (None, record.migrated):
            try:
                _migrate(docker, seen)
            except KingfisherError:
                if not held and was_held:
                    pin.write(app, record.good, was_held["instead_of"], was_held["since"])
                raise
            record.migrated = migration
            record.write()
        _bring_up(docker, record, services)
    _stop(docker, seen.project, unwanted(app, seen.project))
    wrong = health.wait(docker, seen.project.name, services)
    if not wrong:
        _is_good(record, docker, seen.of(services))
        return
    if held or not any(name in record.good for name in _news(record.good, seen.of(services))):
        raise KingfisherError(
            f"{app.name} has been brought up, and is not well: {'; '.join(wrong)}: read docker_apps.logs {app.name}"
        )
    still = _go_back(docker, record, record.good)
    state = f"that is not well either: {'; '.join(still)}" if still else "that is well"
    raise KingfisherError(
        f"{app.name} was not well with its new images ({'; '.join(wrong)}), and has been rolled back to those before: "
        f"{state}. Migrations are not undone. Correct the images, then run docker_apps.update {app.name}"
    )


def _pull(docker: Docker, *, fresh: bool) -> None:
    """Pull images that are missing, or all of them if ``fresh``."""
    app, seen = docker.app, look(docker, base=True)
    missing = sorted({s.reference for s in seen.project.services.values()} - set(seen.images))
    if not app.pull:
        if missing:
            raise KingfisherError(
                f"{app.name} needs {', '.join(missing)}, which is not on this server, and {app.root}:pull is False: "
                "load it with docker load or docker import, or let it be pulled"
            )
    elif missing or fresh:
        command = ["compose", "--file", COMPOSE_FILE, "--profile", "*", "pull", "--quiet"]
        docker.do(*command, *([] if fresh else ["--policy", "missing"]))


def _migration(docker: Docker, seen: Seen, held: bool) -> str | None:
    """Return what a migration would be run with: with the same, it would do nothing. None if none is to be run."""
    if held or not docker.app.migrate:
        return None
    service = seen.project.services[_migrating(docker.app, seen)]
    return f"{seen.images.get(service.reference, {}).get('id')} {service.hash}"


def _migrating(app: App, seen: Seen) -> str:
    name = app.service or next(iter(seen.project.services))
    if name not in seen.project.services:
        known = ", ".join(sorted(seen.project.services))
        raise KingfisherError(f"{app.root}:service is {name}, and {app.name} has no such service (known: {known})")
    return name


def _migrate(docker: Docker, seen: Seen) -> None:
    app = docker.app
    _wait_for_migration(docker, seen.project)
    program = app.application(_migrating(app, seen))
    output = program.attempt(*app.migrate or ())
    if output.code:
        raise KingfisherError(
            f"{app.name}: the migration failed with exit code {output.code} ({docker.said(output)}), so nothing was "
            "brought up, and what ran before still runs: correct it, and run this again"
        )


def _wait_for_migration(docker: Docker, project: Project) -> None:
    """Wait for a migration whose update was killed: its container goes on."""
    filters = [f"label=com.docker.compose.project={project.name}", "label=com.docker.compose.oneoff=True"]
    options = [option for text in filters for option in ("--filter", text)]
    for container in docker.do("ps", "--quiet", "--no-trunc", *options, timeout=60).split():
        output = docker.attempt("inspect", "--format", "{{json .Config.Cmd}}", container, timeout=60)
        if not output.code and json.loads(output.stdout) == list(docker.app.migrate or ()):
            docker.attempt("wait", container)


def _bring_up(docker: Docker, record: Record, services: list[str]) -> None:
    docker.do("compose", "up", "--detach", "--remove-orphans", "--no-build", "--pull", "never", *services)
    project = docker.project()
    containers = docker.containers(project.name)
    # Docker compose leaves as they are those that _stop has changed.
    always = {name for name, service in project.services.items() if service.always}
    _restart(docker, "always", [each for each in containers if each.service in always and each.policy != "always"])
    record.made = as_made(project, containers)
    record.write()


def _restart(docker: Docker, policy: str, containers: list[Container]) -> None:
    if containers:
        docker.do("update", "--restart", policy, *(container.id for container in containers))


def _up(docker: Docker, project: Project) -> list[Container]:
    states = ("running", "restarting", "paused")
    return [container for container in docker.containers(project.name) if container.status in states]


def _stop(docker: Docker, project: Project, services: list[str]) -> None:
    containers = [container for container in _up(docker, project) if container.service in services]
    if not containers:
        return
    # One that is always restarted would come back with the next boot.
    _restart(docker, "unless-stopped", [container for container in containers if container.policy == "always"])
    docker.do("compose", "--profile", "*", "stop", *sorted({container.service for container in containers}))


def _news(good: Images, images: Images) -> Images:
    """Return those images that are others than the good ones."""
    return {name: image for name, image in images.items() if good.get(name, {}).get("id") != image["id"]}


def _is_good(record: Record, docker: Docker, images: Images) -> None:
    """Note that these images are well. Those before are kept, until others take their place."""
    news = _news(record.good, images)
    if not news:
        return
    if any(name in record.good for name in news):
        record.before = record.good
    record.good = {**record.good, **news}
    pin.keep(docker, record.good)
    record.write()
    pin.forget(docker, record)


def _go_back(docker: Docker, record: Record, target: Images) -> list[str]:
    """Hold an application at images, and bring it up. Returns what is wrong with it then."""
    app = docker.app
    _have(docker, target)
    project = docker.project(base=True)
    references = {name: service.reference for name, service in project.services.items()}
    pin.write(app, target, references, time.strftime("%Y-%m-%d %H:%M:%S%z"))
    services = wanted(app, project)
    if services:
        _bring_up(docker, record, services)
    wrong = health.wait(docker, project.name, services)
    if not wrong and target is record.before:
        record.good, record.before = target, {}
        record.write()
    return wrong


def _have(docker: Docker, images: Images) -> None:
    """Make sure that images are here, under the names that they are kept by."""
    for service, image in images.items():
        name = pin.kept(docker.app.name, image["id"])
        if docker.images([name]):
            continue
        if not docker.images([image["id"]]) and image["digest"] and docker.app.pull:
            docker.attempt("pull", "--quiet", image["digest"])
        if docker.attempt("image", "tag", image["id"], name, timeout=60).code:
            raise KingfisherError(
                f"the image {short(image['id'])} of {service}, which ran before, is no more on this server: name an "
                f"image in {docker.app.root} in pillar, and apply the state docker_apps"
            )


def _show(image: dict[str, Any]) -> str:
    return f"{image['digest'] or image['reference']} ({short(image['id'])})"


def _and_migrated(app: App) -> str:
    return " after a migration" if app.migrate else ""


def _halted(app: App) -> str:
    return ", but its workers stay stopped, since maintenance:halted is set" if app.halted else ""


def _result(app: App, changes: dict[str, dict[str, str]], held: bool, comment: str) -> dict[str, Any]:
    note = f", at the images that it was rolled back to: docker_apps.update {app.name} tries new ones" if held else ""
    return {"app": app.name, "changes": changes, "held": held, "comment": f"{comment}{note}{_halted(app)}"}
