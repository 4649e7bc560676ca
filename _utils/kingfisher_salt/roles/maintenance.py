"""Pillar ``maintenance``."""

from __future__ import annotations

from ..settings import Key

MAINTENANCE = Key(
    (dict,),
    keys={
        # Stop every timer, cron job, worker and backup that states own. They are as before once it is False.
        "halted": Key((bool,), False),
        # What other states may have there.
        "enabled": Key((bool,)),
        "patching": Key(),
    },
)
