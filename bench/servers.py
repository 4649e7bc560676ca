"""
Seconds of a first and a second ``state.apply`` of each role on a booted host, and which states cost most.

Needs root on Debian. Packages come from Debian's mirror and PyPI, so that the first is as fast as the network is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from bench.measuring import machine
from tests.fleet import network, test_collect, test_deposit, test_registry
from tests.fleet.fleet import Fleet, why_not
from tests.fleet.salt_master import CHECKOUT, Applied, Master
from tests.services.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from tests.fleet.hosts import Host

COSTLIEST = 5


def registry(host: Host, fleet: Fleet) -> dict[str, Any]:
    host.with_docker()
    directory = fleet.directory / "store"
    directory.mkdir()
    return test_registry.make_pillar(SeaweedFS(directory, address=network.GATEWAY))


def kingfisher_main(host: Host, fleet: Fleet) -> dict[str, Any]:
    test_collect.prepare(host)
    pillar = test_collect.make_pillar()
    pillar["postgres"]["replica_ipv4"] = [fleet.host("kingfisher-replica").address]
    return pillar


def kingfisher_replica(_host: Host, fleet: Fleet) -> dict[str, Any]:
    pillar: dict[str, Any] = yaml.safe_load((CHECKOUT / "pillar/kingfisher_replica.sls").read_text())
    password = test_collect.make_pillar()["postgres"]["users"]["replica"]["password"]
    pillar["postgres"]["replication"] |= {"primary": fleet.hosts["kingfisher-main"].address, "password": password}
    return pillar


def deposit(_host: Host, _fleet: Fleet) -> dict[str, Any]:
    pillar = test_deposit.make_pillar(f"http://{network.GATEWAY}:1/")
    pillar["deposit"]["server"]["workers"] = {"checker": False, "loader": False}
    return pillar


def docs(_host: Host, _fleet: Fleet) -> dict[str, Any]:
    return yaml.safe_load((CHECKOUT / "pillar/docs.sls").read_text())


ROLES: dict[str, Callable[[Host, Fleet], dict[str, Any]]] = {
    "registry": registry,
    "kingfisher-main": kingfisher_main,
    "kingfisher-replica": kingfisher_replica,  # after its primary
    "deposit": deposit,
    "docs": docs,
}


@contextmanager
def clock() -> Iterator[list[float]]:
    """Put the seconds that something took into a list."""
    taken: list[float] = []
    begin = time.monotonic()
    yield taken
    taken.append(time.monotonic() - begin)


def costly(applied: Applied) -> str:
    return ", ".join(f"{name.partition(': ')[0]} {seconds:.1f}" for seconds, name in applied.slowest[:COSTLIEST])


def main() -> None:
    if reason := why_not():
        sys.exit(f"bench.servers: {reason}")
    with Fleet() as fleet, Master() as master:
        for role in sys.argv[1:] or ROLES:
            host = fleet.hosts.get(role) or fleet.host(role)
            master.set_pillar(host, ROLES[role](host, fleet))
            master.accept(host)
            for which in ("first", "second"):
                with clock() as taken:
                    applied = master.apply(host)
                print(f"{role}: {which} {taken[0]:.1f} s, {len(applied.ids)} of {len(applied.states)} states changed")
                print(f"    the costliest: {costly(applied)}", flush=True)
    print(machine())


if __name__ == "__main__":
    main()
