"""The settings of the applications: pillar ``docker_apps``, and what they need of ``docker`` and ``maintenance``."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import cron, settings
from ..apps.application import Application
from ..checks import one_line, texts
from ..errors import SettingsError
from ..settings import REQUIRED, Key, absolute, positive

ROOT = "docker_apps"
#: Where crawls are stored, in pillar.
FILES_STORE = "kingfisher_collect:env:FILES_STORE"
#: What is known of each application: its mark, and the images to go back to. Only root reads it.
STATE_DIRECTORY = Path("/var/lib/kingfisher-docker-apps")
#: Where applications are, each in its target.
DIRECTORY = Path("/data/deploy")
_SERVICE = r"[A-Za-z0-9][\w.-]*"


def _target(value: str) -> str | None:
    good = re.fullmatch(r"[A-Za-z0-9][\w.-]*", value)
    return None if good else f"must be the name of a directory in {DIRECTORY}"


def _command(value: Any) -> str | None:
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        words = None
    good = words and all(isinstance(word, str) and word and "\0" not in word for word in words)
    return None if good else "must be a command, like python manage.py migrate, or the list of its words"


def _service(value: str) -> str | None:
    return None if re.fullmatch(_SERVICE, value) else "must be the name of a service in the compose file"


def _services(value: list[Any]) -> str | None:
    good = all(isinstance(name, str) and not _service(name) for name in value)
    return None if good else "must be a list of services in the compose file"


def _jobs(value: dict[Any, Any]) -> str | None:
    wrong = [name for name in value if not isinstance(name, str) or _service(name)]
    return f"must have names that containers can have, and {wrong[0]!r} is none" if wrong else None


def _url(value: str) -> str | None:
    return None if re.match(r"https?://[^/@]+(/|$)", value) else "must be the address of a page, without credentials"


def _texts(value: dict[Any, Any]) -> str | None:
    good = all(isinstance(text, str) and "\n" not in text for pair in value.items() for text in pair)
    return None if good else "must map names of headers to text"


def _images(value: dict[Any, Any]) -> str | None:
    good = all(isinstance(text, str) and text and text.isprintable() for pair in value.items() for text in pair)
    return None if good else "must map the names that the template has for images to references of images"


def _variables(value: dict[Any, Any]) -> str | None:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", str(name)):
            return f"has {name!r}, which cannot be the name of a variable"
        if isinstance(text, (dict, list)):
            return f"has {name}, which must be text, a number, True or False"
    return None


HEALTH = {
    "url": Key(check=_url),
    "headers": Key((dict,), {}, _texts),
    "command": Key((str, list), None, _command),
    "service": Key(check=_service),
    "timeout": Key((int, float), 120, positive),
}
CRON = {
    "command": Key(default=REQUIRED, check=one_line),
    "service": Key(check=_service),
    **cron.times(),
}
SCHEMA = {
    "target": Key(check=_target),
    "directory": Key(check=absolute),
    "source": Key(),
    "configuration": Key(),
    "images": Key((dict,), {}, _images),
    # Never shown: messages name the variable alone.
    "env": Key((dict,), {}, _variables, secret=True),
    "volumes": Key((list,), [], texts),
    "host_dir": Key(check=absolute),
    "pull": Key((bool,), True),
    "migrate": Key((str, list), None, _command),
    "service": Key(check=_service),
    "workers": Key((list,), None, _services),
    "health": Key((dict,), {}, keys=HEALTH),
    "cron": Key((dict,), {}, _jobs, each=CRON),
    "timeout": Key((int, float), 3600, positive),
}


@dataclass(frozen=True)
class App:
    """One application, by settings that were checked. Times are in seconds."""

    name: str
    directory: Path
    env: Mapping[str, Any]
    pull: bool
    migrate: tuple[str, ...] | None
    service: str | None
    #: The services that stop while the server is halted; None for all.
    workers: tuple[str, ...] | None
    health: Mapping[str, Any]
    timeout: float
    halted: bool
    state_directory: Path

    @property
    def root(self) -> str:
        """Return its pillar key, for messages."""
        return f"{ROOT}:{self.name}"

    def application(self, service: str | None = None, timeout: float | None = None) -> Application:
        """Return what runs its commands, each in a container of its own."""
        return Application(
            name=self.name,
            root=self.root,
            manage=None,
            directory=self.directory,
            service=service or self.service or "",
            user=None,
            timeout=timeout or self.timeout,
            program=(),
        )


def load(
    pillar: Mapping[str, Any],
    name: str,
    *,
    halted: bool = False,
    state_directory: Path = STATE_DIRECTORY,
    directory: Path = DIRECTORY,
) -> App:
    """
    Check an entry of pillar ``docker_apps``, without touching the outside world.

    :param halted: whether pillar ``maintenance:halted`` is set
    :raises SettingsError: with every problem
    """
    if name not in pillar:
        known = settings.nearest(name, pillar) if pillar else ": there are none"
        raise SettingsError(f"{name} is not in {ROOT} in this server's pillar{known}")
    values, problems = _read(pillar[name], name)
    settings.fail(problems)
    return App(
        name=name,
        directory=Path(values["directory"] or directory / (values["target"] or name)),
        env=values["env"],
        pull=values["pull"],
        migrate=words(values["migrate"]) if values["migrate"] else None,
        service=values["service"],
        workers=None if values["workers"] is None else tuple(values["workers"]),
        health=values["health"],
        timeout=values["timeout"],
        halted=halted,
        state_directory=state_directory,
    )


def problems(pillar: Any, files_store: Any) -> list[str]:
    """
    Return what is wrong with pillar ``docker_apps``, one sentence each, with what the templates of applications lack.

    :param files_store: what pillar has at :data:`FILES_STORE`
    """
    if not isinstance(pillar, Mapping):
        return [f"{ROOT} must map names of applications to settings"]
    found = []
    for name, entry in pillar.items():
        values, wrong = _read(entry, str(name))
        found += wrong
        if isinstance(entry, Mapping):
            found += _lacking(entry, values, str(name), files_store)
    return found


def words(command: str | list[str]) -> tuple[str, ...]:
    """
    Return a command as words.

    :raises SettingsError: if it is none
    """
    if _command(command):
        raise SettingsError(f"{command!r} is not a command: write it as you would in a shell, with closed quotes")
    return tuple(shlex.split(command) if isinstance(command, str) else command)


def _read(entry: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Read an entry. What is no setting of ours is for the application's own template, unless it looks like one."""
    root = f"{ROOT}:{name}"
    problems: list[str] = []
    if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", name):
        problems.append(f"{root} must have a name of a-z, 0-9 and single . _ or - between them")
    ours = entry
    if isinstance(entry, Mapping):
        ours = {
            key: value
            for key, value in entry.items()
            if key in SCHEMA or difflib.get_close_matches(str(key), SCHEMA, n=1, cutoff=0.8)
        }
        if isinstance(entry.get("env"), Mapping) and (wrong := _variables(dict(entry["env"]))):
            problems.append(f"{root}:env {wrong}")
            ours.pop("env")
    values, others = settings.read(SCHEMA, ours, {}, root)
    return values, problems + others


def _lacking(entry: Mapping[str, Any], values: Mapping[str, Any], name: str, files_store: Any) -> Iterator[str]:
    """Yield what a template of salt/docker_apps/files/ cannot be rendered without."""
    template = None if values["source"] else values["configuration"] or name
    mounts = template == "registry" or (template == "pelican_frontend" and entry.get("reports"))
    if mounts and values["host_dir"] is None:
        yield f"{ROOT}:{name}:host_dir is not set, which salt/docker_apps/files/{template}.yaml mounts"
    if template == "kingfisher_process" and not (isinstance(files_store, str) and files_store):
        yield f"{FILES_STORE} is not set, which salt/docker_apps/files/{template}.yaml of {ROOT}:{name} mounts"
