"""Real servers, started once a run by the first test that asks for one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.deposit import DepositServer
    from tests.services.postgresql import PostgreSQL
    from tests.services.rabbitmq import RabbitMQ
    from tests.services.scrapyd import Scrapyd
    from tests.services.seaweedfs import SeaweedFS

# A service is imported by its fixture, because tests/unit also runs where no service is installed.


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Return a running SeaweedFS."""
    from tests.services.seaweedfs import SeaweedFS

    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """Return a running PostgreSQL, with Kingfisher Process' table in it."""
    from tests.services.postgresql import PostgreSQL

    with PostgreSQL(tmp_path_factory.mktemp("postgresql")) as server:
        server.create_collection_table()
        yield server


@pytest.fixture(scope="session")
def scrapyd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrapyd]:
    """Return a running Scrapyd, with the demo's project in it."""
    from demo.crawls import PROJECT, PROJECT_DIRECTORY
    from tests.services.scrapyd import Scrapyd

    with Scrapyd(tmp_path_factory.mktemp("scrapyd")) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        yield server


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """Return a running RabbitMQ."""
    from tests.services.rabbitmq import RabbitMQ

    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def deposit_server(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> Iterator[DepositServer]:
    """Return a running server of the Software Heritage deposit, with its scheduler."""
    from tests.services.deposit import DepositServer

    with DepositServer(tmp_path_factory.mktemp("deposit"), postgresql) as server:
        yield server


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> str:
    """Return the name of a new bucket."""
    name = f"test-{uuid.uuid4().hex}"
    seaweedfs.client().create_bucket(Bucket=name)
    return name
