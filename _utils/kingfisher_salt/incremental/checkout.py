"""The spiders of the checkout, as Scrapy lists them, so that none of them is imported into Salt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import settings
from ..errors import KingfisherError
from . import person
from .config import Config, load


def place(pillar: Mapping[str, Any]) -> Config | None:
    """Return the settings without the crawls, for what needs to know only where things are. None if they are wrong."""
    config, _ = load({**pillar, "crawls": [], "cardinal": None} if isinstance(pillar, Mapping) else pillar, None)
    return config


def spiders(config: Config) -> set[str] | None:
    """
    Return the names of the spiders. None if there is no checkout with a virtual environment yet.

    :raises KingfisherError: if Scrapy cannot list them
    """
    scrapy = config.virtualenv / "bin" / "scrapy"
    if not scrapy.exists() or not (config.checkout / "scrapy.cfg").exists():
        return None
    ended = person.call(config.user, [scrapy, "list"], cwd=config.checkout)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise KingfisherError(
            f"the spiders of {config.checkout} cannot be listed: {said[-1]}: correct the checkout, or install its "
            f"requirements into {config.virtualenv}"
        )
    return set(ended.stdout.split())


def load_and_check(pillar: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """
    Check the settings, and the crawls' spiders against the checkout.

    :returns: the settings, and what could not be checked yet, in sentences
    :raises KingfisherError: with every problem
    """
    where = place(pillar)
    known, notes = None, []
    if where:
        try:
            known = spiders(where)
        except person.NoSuchUserError as e:
            notes.append(str(e))
        else:
            if known is None:
                notes.append(f"There is no checkout at {where.checkout} yet, so the names of spiders are not checked.")
    config, problems = load(pillar, known)
    settings.fail(problems)
    assert config
    return config, notes
