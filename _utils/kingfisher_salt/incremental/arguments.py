"""Spider arguments, as they stand in pillar, read as a shell and ``scrapy crawl`` would read them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator


class ArgumentsError(ValueError):
    """What is wrong with the text, to be put after its pillar path."""


def parse(text: str) -> dict[str, str]:
    """
    Return what ``scrapy crawl SPIDER TEXT`` passes to the spider: ``-a NAME=VALUE``, with the quotes of a shell.

    Nothing is expanded: a run starts Scrapy without a shell.

    :raises ArgumentsError: if it is something else, or names an argument twice, of which Scrapy takes the last
    """
    arguments: dict[str, str] = {}
    for word in _values(text):
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise ArgumentsError(f"must be like -a NAME=VALUE, and {word!r} is not NAME=VALUE")
        if "\n" in word or "\0" in word:
            raise ArgumentsError(f"must be on one line, and {name} is not")
        if name in arguments:
            raise ArgumentsError(f"sets {name} twice")
        arguments[name] = value
    return arguments


def _values(text: str) -> Iterator[str]:
    try:
        words = iter(shlex.split(text))
    except ValueError as e:
        raise ArgumentsError(f"cannot be read: {str(e)[:1].lower()}{str(e)[1:]}") from None
    for word in words:
        if word == "-a":
            value = next(words, None)
            if value is None:
                raise ArgumentsError("ends with -a, and NAME=VALUE is missing")
            if value.startswith("-"):
                raise ArgumentsError(f"has -a {value}, which Scrapy takes for another option: write -a{value}")
            yield value
        elif word.startswith("-a"):
            yield word[2:]
        elif word == "-s" or word.startswith(("-s", "--set")):
            raise ArgumentsError(f"has {word}: put Scrapy settings under settings, as NAME: VALUE")
        else:
            raise ArgumentsError(f"must be like -a NAME=VALUE, and {word!r} is something else")
