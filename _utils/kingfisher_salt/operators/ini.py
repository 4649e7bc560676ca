"""Options of a section of an INI file, changed in place, with all else left as it is to the byte."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SECTION = re.compile(r"\[(?P<name>[^\]]*)\]")
_OPTION = re.compile(r"(?P<name>[^\s=:#;\[][^=:]*?)\s*[=:]\s*(?P<value>.*?)\s*$")


def edit(text: str, section: str, options: Mapping[str, str]) -> tuple[str, dict[str, str | None]]:
    """
    Return the text with these options in the section, and what the changed ones were before: None if they were not.

    The section is made at the end, if there is none.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    begin = next((number for number, line in enumerate(lines) if _is(section, line)), None)
    if begin is None:
        head = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        body = "".join(f"{name} = {value}\n" for name, value in options.items())
        return f"{text}{head}[{section}]\n{body}", dict.fromkeys(options)
    end = next((n for n in range(begin + 1, len(lines)) if _SECTION.match(lines[n])), len(lines))
    found: dict[str, tuple[int, int, str]] = {}
    for number in range(begin + 1, end):
        if match := _OPTION.match(lines[number]):
            last = number + 1
            while last < end and re.match(r"[ \t]+\S", lines[last]):  # the value goes on
                last += 1
            rest = [line.strip() for line in lines[number + 1 : last]]
            found[match["name"].lower()] = (number, last, "\n".join([match["value"], *rest]))
    before = {name: found[name][2] if name in found else None for name in options}
    changed = {name: old for name, old in before.items() if old != options[name]}
    after = max((n + 1 for n in range(begin, end) if lines[n].strip()), default=begin + 1)
    if not lines[after - 1].endswith("\n"):
        lines[after - 1] += "\n"
    added = [f"{name} = {options[name]}\n" for name, old in changed.items() if old is None]
    edits = [(after, after, added)] if added else []
    edits += [(*found[name][:2], [f"{name} = {options[name]}\n"]) for name, old in changed.items() if old is not None]
    for first, last, replacement in sorted(edits, reverse=True):
        lines[first:last] = replacement
    return ("".join(lines), changed) if changed else (text, {})


def _is(section: str, line: str) -> bool:
    match = _SECTION.match(line)
    return bool(match and match["name"] == section)
