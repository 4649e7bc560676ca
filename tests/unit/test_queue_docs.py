"""The numbers in what is said of the queues."""

from __future__ import annotations

from pathlib import Path

from kingfisher_salt.rabbitmq.counts import SETTLED

ROOT = Path(__file__).parents[2]


def test_the_pause_between_two_looks_is_told_as_it_is() -> None:
    assert f"It looks twice, {SETTLED:g} seconds" in (ROOT / "docs" / "queues.md").read_text()
    assert f"The default, {SETTLED:g}, is" in (ROOT / "_modules" / "rabbitmq_queue.py").read_text()
