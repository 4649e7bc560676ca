"""Check the sections of pillar that states read, before any state changes anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from .. import settings
from .schemas import SECTIONS


def problems(get: Callable[[str], Any], required: Collection[str], optional: Collection[str]) -> list[str]:
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
            found += _section(path, given)
    return found


def _section(path: str, given: Any) -> list[str]:
    key = SECTIONS[path]
    if isinstance(given, dict):  # what has a section of its own is checked there
        given = {name: value for name, value in given.items() if f"{path}:{name}" not in SECTIONS}
    if key.keys and (given is None or isinstance(given, dict)):
        return settings.read(key.keys, given or {}, {}, path)[1]
    # As if it were the only setting of what is above it.
    above, _, name = path.rpartition(":")
    found = settings.read({name: key}, {name: given}, {}, above or "pillar")[1]
    return found if above else [problem.removeprefix("pillar:") for problem in found]


def _unique(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
