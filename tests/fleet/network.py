"""The network between hosts: a bridge on this machine, which leads outside through it."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

BRIDGE = "br-fleet"
SUBNET = "10.77.0.0/24"
GATEWAY = "10.77.0.1"
GATEWAY6 = "fd77::1"

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_before = Path("/run/kingfisher-fleet.ip_forward")

# Added at the beginning of a chain, and removed by their whole text.
RULES = (
    ("nat", "POSTROUTING", "-s", SUBNET, "!", "-o", BRIDGE, "-j", "MASQUERADE"),
    ("filter", "FORWARD", "-i", BRIDGE, "-j", "ACCEPT"),
    ("filter", "FORWARD", "-o", BRIDGE, "-j", "ACCEPT"),
)


def command(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def up() -> None:
    """Make the bridge, unless it is there."""
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        return
    command("ip", "link", "add", BRIDGE, "type", "bridge")
    command("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    with suppress(RuntimeError):  # where there is no IPv6
        command("ip", "address", "add", f"{GATEWAY6}/64", "dev", BRIDGE, "nodad")
    command("ip", "link", "set", BRIDGE, "up")
    _before.write_text(FORWARDING.read_text())
    FORWARDING.write_text("1")
    for table, chain, *rule in RULES:
        command("iptables", "--table", table, "--insert", chain, *rule)


def down() -> None:
    for table, chain, *rule in RULES:
        with suppress(RuntimeError):
            command("iptables", "--table", table, "--delete", chain, *rule)
    with suppress(RuntimeError):
        command("ip", "link", "delete", BRIDGE)
    if _before.exists():
        FORWARDING.write_text(_before.read_text())
        _before.unlink()


def plug(number: int) -> None:
    """Make a network namespace for a host, with eth0 on the bridge."""
    unplug(number)
    outside, name = _link(number), namespace(number)
    command("ip", "netns", "add", name)
    # The same after a reboot: others remember it for a while.
    hardware = ("address", f"02:4b:46:00:00:{number:02x}")
    command("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", *hardware, "netns", name)
    command("ip", "link", "set", outside, "master", BRIDGE, "up")
    inside = ("ip", "-netns", name)
    command(*inside, "link", "set", "lo", "up")
    command(*inside, "address", "add", f"{address(number)}/24", "dev", "eth0")
    with suppress(RuntimeError):
        command(*inside, "address", "add", f"{address6(number)}/64", "dev", "eth0", "nodad")
    command(*inside, "link", "set", "eth0", "up")
    command(*inside, "route", "add", "default", "via", GATEWAY)


def unplug(number: int) -> None:
    for argv in (("ip", "netns", "delete", namespace(number)), ("ip", "link", "delete", _link(number))):
        with suppress(RuntimeError):  # the last process of a namespace takes both with it, sooner or later
            command(*argv)


def processes(number: int) -> list[int]:
    """Return the ids of the processes in a host's namespace."""
    done = subprocess.run(["ip", "netns", "pids", namespace(number)], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def cut(number: int) -> None:
    command("ip", "link", "set", _link(number), "down")


def mend(number: int) -> None:
    command("ip", "link", "set", _link(number), "up")


def address(number: int) -> str:
    return f"10.77.0.{number}"


def address6(number: int) -> str:
    return f"fd77::{number:x}"


def namespace(number: int) -> str:
    return f"fleet{number}"


def _link(number: int) -> str:
    return f"fleet{number}"
