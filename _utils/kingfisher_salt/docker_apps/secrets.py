"""Take secrets out of what programs say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|DSN|CREDENTIAL", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^\s:/@]*:([^\s@]+)@")
_SHORTEST = 4


class Mask:
    """What of an application's variables is secret: all of those with such names, and the passwords in addresses."""

    def __init__(self, env: Mapping[str, Any]):
        found = {str(value) for name, value in env.items() if _NAME.search(str(name))}
        for value in env.values():
            found.update(_PASSWORD.findall(str(value)))
        # The longest first, since one may be in another.
        self._secrets = sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return a text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "**")
        return _PASSWORD.sub(lambda match: match[0].replace(f":{match[1]}@", ":**@"), text)
