"""Check settings as a whole: every unknown key, wrong type and missing value in one message."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SettingsError

REQUIRED = object()


@dataclass(frozen=True)
class Key:
    """One setting: what it may hold, and what it is when it is not set."""

    types: tuple[type, ...] = (str,)
    default: Any = None
    #: Returns what is wrong with a value of the right type, as "must be …", or None.
    check: Callable[[Any], str | None] | None = None
    #: The settings inside it, if it is a mapping.
    keys: Mapping[str, Key] = field(default_factory=dict)
    #: The settings inside each of its entries, if it is a list, or a mapping with names that anyone may choose.
    each: Mapping[str, Key] = field(default_factory=dict)
    #: Whether its value is kept out of arguments, which the shell, the process list and the job cache all show.
    secret: bool = False


def read(
    schema: Mapping[str, Key],
    pillar: Mapping[str, Any],
    arguments: Mapping[str, Any],
    root: str,
    options: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """
    Lay arguments over pillar, and pillar over the defaults.

    :param options: what else a function takes as arguments, for messages
    :param root: the pillar key, for messages, like ``kingfisher_archive``
    :returns: a value for every key of the schema, and the problems found, one sentence each
    """
    problems: list[str] = []
    values = _level(schema, pillar, arguments, root, problems, options)
    return values, problems


def absolute(value: str) -> str | None:
    """Check that a setting is an absolute path."""
    return None if Path(value).is_absolute() else "must be an absolute path"


def positive(value: float) -> str | None:
    """Check that a setting is a number above 0."""
    return None if value > 0 else "must be greater than 0"


def fail(problems: list[str]) -> None:
    """
    Raise all problems as one message, if there are any.

    :raises SettingsError: with one problem a line
    """
    if len(problems) == 1:
        raise SettingsError(problems[0])
    if problems:
        raise SettingsError("\n".join([f"{len(problems)} problems in the settings:", *(f"- {p}" for p in problems)]))


def _level(
    schema: Mapping[str, Key],
    pillar: Any,
    arguments: Any,
    path: str,
    problems: list[str],
    options: Collection[str] = (),
) -> dict[str, Any]:
    for given, place in ((pillar, path), (arguments, f"argument {path.partition(':')[2]}")):
        if not isinstance(given, Mapping):
            problems.append(f"{place} must be a mapping, not {_show(given)}")
            continue
        problems.extend(
            _unknown(
                str(key),
                [*schema, *(options if given is arguments else ())],
                _place(path, str(key), given is arguments),
            )
            for key in given
            if key not in schema
        )
    values: dict[str, Any] = {}
    for name, key in schema.items():
        from_arguments = isinstance(arguments, Mapping) and arguments.get(name) is not None
        below = pillar.get(name) if isinstance(pillar, Mapping) else None
        above = arguments[name] if from_arguments else None
        place = _place(path, name, from_arguments)
        if key.keys:
            if above is False and key.default is None:
                values[name] = None
            elif below is None and above is None:
                values[name] = key.default if key.default is None else _level(key.keys, {}, {}, place, problems)
            else:
                below, above = ({} if level is None else level for level in (below, above))
                values[name] = _level(key.keys, below, above, _place(path, name), problems)
            continue
        if key.secret and from_arguments:
            problems.append(
                f"{place} is a secret, which an argument would show to everyone: set {_place(path, name)} in pillar"
            )
            continue
        values[name] = _value(key, above if from_arguments else below, place, problems)
    return values


def _value(key: Key, value: Any, place: str, problems: list[str]) -> Any:
    if value is None:
        if key.default is REQUIRED:
            problems.append(f"{place} is not set")
            return None
        return key.default
    if not isinstance(value, key.types) or (isinstance(value, bool) and bool not in key.types):
        kinds = [kind for kind in key.types if kind is not int or float not in key.types]
        wanted = " or ".join(_TYPE_NAMES.get(kind, kind.__name__) for kind in kinds)
        problems.append(f"{place} must be {wanted}, not {'a secret of another type' if key.secret else _show(value)}")
    elif key.check and (wrong := key.check(value)):
        problems.append(f"{place} {wrong}{'' if key.secret else f', not {_show(value)}'}")
    elif key.each and isinstance(value, Mapping):
        return {n: _level(key.each, {} if v is None else v, {}, f"{place}:{n}", problems) for n, v in value.items()}
    elif key.each and isinstance(value, list):
        return [_level(key.each, entry, {}, f"{place}:{number}", problems) for number, entry in enumerate(value)]
    return value


_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "True or False", list: "a list"}


def _place(path: str, name: str, from_arguments: bool = False) -> str:
    if not from_arguments:
        return f"{path}:{name}"
    return f"argument {':'.join([*path.split(':')[1:], name])}"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(name: str, known: Any) -> str:
    """Return ``: did you mean X?`` if a known name is near, else the known names."""
    if near := difflib.get_close_matches(name, known, n=1):
        return f": did you mean {near[0]}?"
    return f" (known: {', '.join(sorted(known))})"


def _unknown(name: str, known: Collection[str], place: str) -> str:
    return f"{place} is not a setting{nearest(name, known)}"
