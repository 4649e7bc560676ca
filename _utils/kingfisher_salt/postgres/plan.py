"""What differs between a server and pillar, and the statements that make it the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Plan:
    """Changes by what they are of, each with what was and what will be, and notes on what stays as it is."""

    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Statements by database, in order. Those of the key None cannot be in a transaction.
    statements: dict[str | None, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def change(self, what: str, old: Any, new: Any) -> None:
        """Note what differs. Of two mappings, only what differs is told."""
        if isinstance(old, dict) and isinstance(new, dict):
            differs = [key for key in new if old.get(key) != new[key]]
            old, new = {key: old.get(key) for key in differs}, {key: new[key] for key in differs}
        if old == new:
            return
        before = self.changes.get(what)
        if before and isinstance(before["new"], dict) and isinstance(new, dict):
            before["new"].update(new)
            if isinstance(before["old"], dict) and isinstance(old, dict):
                before["old"].update(old)
        else:
            self.changes[what] = {"old": old, "new": new}

    def do(self, database: str | None, *statements: str) -> None:
        self.statements.setdefault(database, []).extend(statements)
