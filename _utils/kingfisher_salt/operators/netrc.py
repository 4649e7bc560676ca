"""Entries of a .netrc file, changed in place, with all else left as it is to the byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import KingfisherError

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|[^\s"]\S*)', re.DOTALL)
_MACRO = re.compile(r".*?(?:\n[ \t]*\n|\Z)", re.DOTALL)
_COMMENT = re.compile(r"[^\n]*")


@dataclass
class _Entry:
    """A machine's entry, with where its words are in the text."""

    machine: str
    #: Where the entry begins, and where its machine's name ends.
    begin: int
    named: int
    #: By ``login`` and ``password``: the value, and where it is.
    values: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    @property
    def login(self) -> str:
        return self.values.get("login", ("", 0, 0))[0]

    @property
    def password(self) -> str | None:
        return self.values["password"][0] if "password" in self.values else None


def edit(text: str, machine: str, login: str, password: str) -> tuple[str, str | None]:
    """
    Return the text with a machine's entry, and what kind of change that is: added, changed, or None.

    :raises KingfisherError: if there is an entry for another login, since programs differ in which of two they take
    """
    entries = list(_entries(text))
    ours = [entry for entry in entries if entry.machine == machine]
    if others := [entry.login for entry in ours if entry.login != login]:
        raise KingfisherError(
            f"has an entry for machine {machine} with the login {others[0]}: remove it, or set username to {others[0]}"
        )
    if ours:
        entry = ours[-1]
        if entry.password == password:
            return text, None
        if "password" in entry.values:
            _, begin, end = entry.values["password"]
            return f"{text[:begin]}{_word(password)}{text[end:]}", "changed"
        end = entry.values["login"][2] if "login" in entry.values else entry.named
        return f"{text[:end]} password {_word(password)}{text[end:]}", "changed"
    line = f"machine {_word(machine)} login {_word(login)} password {_word(password)}\n"
    # What follows a default entry is never reached.
    at = next((entry.begin for entry in entries if not entry.machine), len(text))
    before = text[:at]
    return f"{before}{'' if not before or before.endswith(chr(10)) else chr(10)}{line}{text[at:]}", "added"


def _entries(text: str) -> Iterator[_Entry]:
    entry = None
    words = _words(text)
    for word, begin, _ in words:
        if word in ("machine", "default"):
            if entry:
                yield entry
            name, _, end = next(words, ("", 0, begin)) if word == "machine" else ("", 0, begin)
            entry = _Entry(name, begin, end)
        elif word in ("login", "password", "account", "user"):
            value = next(words, None)
            if entry and value:
                entry.values["login" if word == "user" else word] = value
    if entry:
        yield entry


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield words with where they are, without comments and macros."""
    position, is_value = 0, False
    while match := _TOKEN.match(text, position):
        begin, position = match.span(1)
        word = match[1]
        if not is_value and word.startswith("#"):
            position = _COMMENT.match(text, begin).end()  # type: ignore[union-attr]
            continue
        if not is_value and word == "macdef":
            position = _MACRO.match(text, begin).end()  # type: ignore[union-attr]
            continue
        is_value = not is_value and word in ("machine", "login", "password", "account", "user")
        yield re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word, begin, position


def _word(value: str) -> str:
    """Return a value as a word, in quotes if it needs them."""
    if value and re.fullmatch(r"[^\s\"\\#]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
