"""Hold an application at images that it had before, whatever its compose file says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..errors import KingfisherError
from .compose import Docker, Project
from .config import App
from .records import Images, Record

#: docker compose reads it together with docker-compose.yaml, whoever runs it there.
PIN_FILE = "docker-compose.override.yaml"
#: The names under which images to go back to are kept: one without any name would be pruned.
_KEPT = "kingfisher-kept"
_MARK = "x-kingfisher"


def kept(app: str, image_id: str) -> str:
    """Return the name that an image is kept under."""
    return f"{_KEPT}/{app}:{image_id.removeprefix('sha256:')[:12]}"


def keep(docker: Docker, images: Images) -> None:
    """Keep images from being pruned."""
    for image_id in sorted({image["id"] for image in images.values()}):
        docker.attempt("image", "tag", image_id, kept(docker.app.name, image_id), timeout=60)


def forget(docker: Docker, record: Record) -> None:
    """Let go of images that are no more gone back to. Those in use, or with a name of their own, stay."""
    wanted = {kept(record.app, image_id) for image_id in record.kept}
    names = docker.do("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{_KEPT}/{record.app}", timeout=60)
    for name in sorted(set(names.split()) - wanted):
        docker.attempt("image", "rm", name, timeout=60)


def read(app: App) -> dict[str, Any] | None:
    """
    Return what holds an application: ``instead_of``, references by service; and ``since``.

    :raises KingfisherError: if there is such a file, and it is not ours
    """
    path = app.directory / PIN_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)[_MARK]
    except (ValueError, KeyError, TypeError):
        raise KingfisherError(
            f"{path} is not ours, and would get in the way of a roll back: move what it has into the compose file's "
            f"template ({app.root}:source), and remove it"
        ) from None
    return dict(found)


def write(app: App, images: Images, instead_of: Mapping[str, str], since: str) -> None:
    """Hold an application at images. It takes effect when its services are brought up."""
    by_reference = {instead_of[service]: image for service, image in images.items() if service in instead_of}
    services = {
        service: {"image": kept(app.name, image["id"]), "pull_policy": "never"}
        for service, reference in instead_of.items()
        # One that only runs commands has the image of the others, and no container to know it by.
        if (image := images.get(service) or by_reference.get(reference))
    }
    held = {service: instead_of[service] for service in services}
    content = {_MARK: {"instead_of": held, "since": since}, "services": services}
    path, directory = app.directory / PIN_FILE, app.directory.stat()
    new = path.with_name(f".{PIN_FILE}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
            os.fchown(file.fileno(), directory.st_uid, directory.st_gid)
        new.replace(path)
    except OSError as e:
        raise KingfisherError(f"{path} cannot be written: {e.strerror}: correct it, and run this again") from e


def remove(app: App) -> None:
    """Let an application have the images of its compose file again."""
    (app.directory / PIN_FILE).unlink(missing_ok=True)


def holds(pin: dict[str, Any] | None, project: Project) -> bool:
    """Return whether a pin is of use: it goes once the compose file names other images than those rolled back."""
    if pin is None:
        return False
    services = project.services
    return all(name in services and services[name].reference == ref for name, ref in pin["instead_of"].items())
