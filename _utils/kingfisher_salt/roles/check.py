"""Check the sections of pillar that states read, before any state changes anything."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from .. import settings
from ..docker_apps import config as docker_apps
from ..docker_apps import owner
from ..postgres import apply as postgres
from ..rabbitmq_server import apply as rabbitmq
from .schemas import SECTIONS

Get = Callable[[str], Any]
#: What tells more of a section than its schema can.
_MORE: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    postgres.ROOT: postgres.problems,
    rabbitmq.ROOT: rabbitmq.problems,
}


def problems(get: Get, required: Collection[str], optional: Collection[str]) -> list[str]:
    """
    Return every unknown key, wrong type and missing value, one sentence each.

    :param get: returns what pillar holds at a path like ``python_apps:kingfisher_collect``, or None
    :param required: the paths of sections without which a role cannot be
    :param optional: the paths of sections that are checked if they are there
    """
    found: list[str] = []
    for path in _unique([*required, *optional]):
        given = get(path)
        if given is not None or path in required:
            found += _section(path, given, get)
    return _unique(found)


def _section(path: str, given: Any, get: Get) -> list[str]:
    if path == owner.ROOT:
        return owner.problems(given or {}, {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()})
    if path == docker_apps.ROOT:
        return docker_apps.problems(given, get(docker_apps.FILES_STORE))
    found = _schema(path, given)
    if given and path in _MORE:
        try:
            found += _MORE[path](given)
        except (AttributeError, KeyError, TypeError):
            if not found:  # else it is of a wrong type, or lacks something, which was told
                raise
    return found


def _schema(path: str, given: Any) -> list[str]:
    key = SECTIONS[path]
    if isinstance(given, dict):  # what has a section of its own is checked there
        given = {name: value for name, value in given.items() if f"{path}:{name}" not in SECTIONS}
    if key.keys and (given is None or isinstance(given, dict)):
        return settings.read(key.keys, given or {}, {}, path)[1]
    # As if it were the only setting of what is above it.
    above, _, name = path.rpartition(":")
    found = settings.read({name: key}, {name: given}, {}, above or "pillar")[1]
    return found if above else [problem.removeprefix("pillar:") for problem in found]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
