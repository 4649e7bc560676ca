"""A fleet for the whole run, with a master; and the journals of hosts where a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import Fleet, why_not
from tests.fleet.image import SALT_OF, image
from tests.fleet.salt_master import Master

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test of a file the time to install a server."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(1200))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the images before the first test, whose time is limited."""
    if any(item.path.parent == HERE for item in session.items) and not why_not():
        for suite in SALT_OF:
            image(suite)


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Return a fleet without hosts."""
    if reason := why_not():
        pytest.skip(reason)
    with Fleet() as fleet:
        yield fleet


@pytest.fixture(scope="session")
def master(fleet: Fleet) -> Iterator[Master]:
    """Return a running master."""
    assert fleet.directory.exists()
    with Master() as master:
        yield master


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    fleet = getattr(item, "funcargs", {}).get("fleet")
    if report.failed and fleet:
        for host in fleet.hosts.values():
            report.sections.append((f"Journal of {host.name}", host.journal()))
    return report
