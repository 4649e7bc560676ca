"""Keep what is returned small enough for Salt's master to pass it on."""

from __future__ import annotations

import json
from typing import Any

from .errors import KingfisherError

#: Bytes of a return. Of one that is larger than max_event_size, 1 MiB by default, a master shows VALUE_TRIMMED alone.
LIMIT = 900_000
#: What may be left out of a return that has a summary, in this order.
_SECTIONS = ("ignored", "kept", "archives", "crawls", "would_delete", "deleted")
#: How to get what is left out.
HOW = "ask for them with source=NAME, or with salt-call on the minion"


def fit(result: Any, limit: int = LIMIT, how: str = HOW) -> Any:
    """
    Return a function's result without the long lists that would make it too large, and with a note on each.

    Of ``crawls``, those that are archived stay, if there is room.

    :param how: what to do to get the rest
    :raises KingfisherError: if a list is all that there is
    """
    if not isinstance(result, dict) or _size(result) <= limit:
        return result
    if "summary" not in result:
        raise KingfisherError(f"{len(result)} entries are more than a master passes on: {how}")
    fitted = {**result, "notes": list(result.get("notes", []))}
    for section in _SECTIONS:
        entries = fitted.get(section)
        if not entries or _size(fitted) <= limit:
            continue
        kept = {key: entry for key, entry in entries.items() if section == "crawls" and entry["decision"] == "archive"}
        fitted[section] = kept if _size({**fitted, section: kept}) <= limit else {}
        left_out = len(entries) - len(fitted[section])
        fitted["notes"].append(f"{left_out} {section} are left out, which a master would not pass on: {how}")
    return fitted


def _size(result: dict[str, Any]) -> int:
    return len(json.dumps(result, default=str))
