"""Freeze publications, so that no new jobs are made for them."""

from __future__ import annotations

from typing import Any

from .. import settings
from ..errors import KingfisherError
from .registry import Registry


def freeze(registry: Registry, which: str, *, frozen: bool, dry_run: bool = False) -> dict[str, Any]:
    """
    Freeze or unfreeze a publication.

    :param which: a source, like ``kyrgyzstan``, or the number of a publication
    :returns: publication, source, title, frozen (before and after), changed
    :raises KingfisherError: if it is unknown, or more than one publication has that source
    """
    pk = int(which) if which.isdecimal() else None
    found: list[dict[str, Any]] = registry.ask("freeze", source=which, pk=pk, frozen=frozen, dry_run=dry_run)
    if not found and pk is not None:
        raise KingfisherError(f"publication {which} is unknown to the Data Registry: data_registry.jobs shows numbers")
    if not found:
        known = registry.ask("sources")
        raise KingfisherError(f"no publication has the source {which}{settings.nearest(which, known)}")
    if len(found) > 1:
        named = ", ".join(f"{c['publication']} ({c['title']})" for c in found)
        raise KingfisherError(
            f"{len(found)} publications have the source {which}, and none was changed: name one by its number: {named}"
        )
    publication = found[0]
    changed = publication["frozen"] != frozen
    word = "frozen" if frozen else "unfrozen"
    how = ("would have been" if dry_run else "has been") if changed else "was already"
    return {
        **{key: publication[key] for key in ("publication", "source", "title")},
        "frozen": {"old": publication["frozen"], "new": frozen},
        "changed": changed,
        "comment": f"publication {publication['publication']} ({publication['source']}) {how} {word}",
    }
