"""Talk to Docker and its compose plugin, and keep to oneself what they say of secrets."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..apps.application import LIMIT, PATH
from ..apps.process import Output, StillRunningError, run
from ..errors import KingfisherError
from .config import App
from .secrets import Mask

COMPOSE_FILE = "docker-compose.yaml"
#: For how long Docker may take to answer a question, in seconds.
_QUESTION = 120
_MESSAGE = 300
#: What is read of a container. All of it would have the variables, and what health checks say.
_FIELDS = {
    "id": ".ID",
    "image": ".Image",
    "status": ".State.Status",
    "exit_code": ".State.ExitCode",
    "started": ".State.StartedAt",
    "restarts": ".RestartCount",
    "policy": ".HostConfig.RestartPolicy.Name",
    "labels": ".Config.Labels",
}
_CONTAINER = (
    "{"
    + ",".join(f'"{name}":{{{{json {path}}}}}' for name, path in _FIELDS.items())
    + ',"health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}null{{end}}}'
)
_IMAGE = '{"id":{{json .ID}},"digests":{{json .RepoDigests}}}'


class DockerError(KingfisherError):
    """Docker is not there, refused, or did not answer in time."""


@dataclass(frozen=True)
class Container:
    """A container of an application."""

    id: str
    service: str
    image: str
    #: created, running, restarting, paused, exited or dead.
    status: str
    #: healthy, unhealthy or starting; None if its image and compose file have no health check.
    health: str | None
    exit_code: int
    started: str
    restarts: int
    policy: str
    #: What docker compose labels the configuration with that it was made by.
    label: str

    @property
    def over(self) -> bool:
        """Return whether it is one that ends by itself, and has done so well."""
        return self.status == "exited" and self.exit_code == 0 and self.policy in ("no", "")


@dataclass(frozen=True)
class Service:
    """A service of the compose file."""

    name: str
    reference: str
    #: How many containers it is to have.
    scale: int
    #: Whether it is one of those that are brought up, and not only run when asked for by a profile.
    enabled: bool
    #: Of all that the compose file says of it.
    hash: str
    #: Whether it is to come back with the next boot, though somebody stopped it.
    always: bool = False


@dataclass(frozen=True)
class Project:
    """What the compose file says."""

    name: str
    services: dict[str, Service]


class Docker:
    """Docker, as the owner of an application's directory uses it there."""

    def __init__(self, app: App):
        """
        Look whether it can be used.

        :raises DockerError: if Docker or its compose plugin is not there
        """
        self.app = app
        self.mask = Mask(app.env)
        self._options = app.application().options()
        output = self.attempt("compose", "version", "--short", timeout=_QUESTION)
        if output.code:
            raise DockerError(_no_plugin(self.said(output)))

    def attempt(self, *words: str, timeout: float | None = None, limit: int = LIMIT) -> Output:
        """
        Run ``docker``, and return what it said, whatever its exit code. It may have secrets: see :attr:`mask`.

        :param timeout: in seconds
        :raises DockerError: if it cannot be run, or does not end in time
        """
        seconds = timeout or self.app.timeout
        try:
            return run(["docker", *words], b"", seconds, limit, self._options)
        except StillRunningError:
            raise DockerError(
                f"{self.app.name}: docker {self._short(words)} did not end within {seconds:g} s: look at the journal "
                f"of docker.service, or raise {self.app.root}:timeout, and run this again"
            ) from None
        except OSError as e:
            raise DockerError(
                f"docker cannot be run in {self.app.directory} ({e.strerror}): apply the states docker and docker_apps"
            ) from e

    def do(self, *words: str, timeout: float | None = None) -> str:
        """
        Run ``docker``, and return its standard output.

        :raises DockerError: if its exit code is not 0, too
        """
        output = self.attempt(*words, timeout=timeout)
        if output.code:
            raise DockerError(
                f"{self.app.name}: docker {self._short(words)} failed: {self.said(output)}: correct it, and run this "
                "again"
            )
        return output.stdout

    def said(self, output: Output) -> str:
        """Return the last line that Docker said, without secrets."""
        for text in (output.stderr, output.stdout):
            if lines := [line.strip() for line in text.splitlines() if line.strip()]:
                line = self.mask(lines[-1])
                return line if len(line) <= _MESSAGE else f"{line[: _MESSAGE - 3]}..."
        return "it said nothing"

    # What there is

    def project(self, *, base: bool = False) -> Project:
        """
        Return what the compose file says.

        :param base: whether without the file that pins images
        :raises DockerError: if it cannot be used
        """
        files = ["--file", COMPOSE_FILE] if base else []
        command = ["compose", *files, "--profile", "*", "config", "--format", "json"]
        return parse_project(self.do(*command, timeout=_QUESTION))

    def containers(self, project: str) -> list[Container]:
        """Return a project's containers, without those that run a single command."""
        filters = [f"label=com.docker.compose.project={project}", "label=com.docker.compose.oneoff=False"]
        options = [option for text in filters for option in ("--filter", text)]
        ids = self.do("ps", "--all", "--quiet", "--no-trunc", *options, timeout=_QUESTION).split()
        if not ids:
            return []
        # One that went meanwhile makes it fail, and the others are told of all the same.
        output = self.attempt("inspect", "--type", "container", "--format", _CONTAINER, *ids, timeout=_QUESTION)
        if output.code and not output.stdout.strip():
            raise DockerError(f"{self.app.name}: docker inspect failed: {self.said(output)}: run this again")
        return sorted(parse_containers(output.stdout), key=lambda container: (container.service, container.id))

    def images(self, references: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the id and digest of each image that is here, by its reference."""
        found = {}
        for reference in sorted(set(references)):
            output = self.attempt("image", "inspect", "--format", _IMAGE, reference, timeout=_QUESTION)
            if not output.code:
                found[reference] = parse_image(output.stdout, reference)
        return found

    def _short(self, words: tuple[str, ...]) -> str:
        """Return the words of a command that tell which it is."""
        return " ".join(word for word in words[:8] if word not in ("--profile", "*", "--file", COMPOSE_FILE))


def parse_project(text: str) -> Project:
    """Return what ``docker compose config`` told of. It has every secret, of which a hash is kept and nothing else."""
    content = json.loads(text)
    services = {
        name: Service(
            name=name,
            reference=service.get("image") or f"{content['name']}-{name}",
            scale=_scale(service),
            enabled=not service.get("profiles"),
            # That of docker compose config --hash is not the one that containers are labelled with.
            hash=hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest(),
            always=service.get("restart") == "always",
        )
        for name, service in content.get("services", {}).items()
    }
    return Project(content["name"], services)


def parse_containers(text: str) -> list[Container]:
    """Return the containers that ``docker inspect`` told of, one a line."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        content = json.loads(line)
        labels = content.pop("labels") or {}
        found.append(
            Container(
                service=labels.get("com.docker.compose.service", ""),
                label=labels.get("com.docker.compose.config-hash", ""),
                **content,
            )
        )
    return found


def parse_image(text: str, reference: str) -> dict[str, Any]:
    """Return an image as records have it. The digest is that of the reference's own repository, else None."""
    content = json.loads(text)
    repository = repository_of(reference)
    digests = [digest for digest in content["digests"] or [] if digest.partition("@")[0] == repository]
    return {"reference": reference, "id": content["id"], "digest": digests[0] if digests else None}


def repository_of(reference: str) -> str:
    """Return a reference without tag and digest. The port of a registry is no tag."""
    name = reference.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"


def _scale(service: dict[str, Any]) -> int:
    replicas = (service.get("deploy") or {}).get("replicas", 1)
    return int(service.get("scale", replicas))


def _no_plugin(said: str, which: Callable[..., str | None] = shutil.which) -> str:
    if which("docker-compose", path=PATH):
        return (
            "only the old docker-compose is on this server, and docker compose, its successor, is needed: put the "
            "compose plugin's package into docker:packages, and apply the state docker"
        )
    return f"docker compose cannot be used ({said}): apply the state docker"
