"""Pillar ``tinyproxy``."""

from __future__ import annotations

from .. import checks
from ..settings import REQUIRED, Key, positive

#: Without it, tinyproxy would let everybody through.
ALLOW = Key((list,), REQUIRED, checks.some_texts)
SCHEMA = {
    # On a server that goes through a proxy: where it is, and what is reached without it.
    "url": Key(),
    "no_proxy": Key(),
    # On the server with the proxy: addresses, networks or names that may use it.
    "allow": Key((list,), None, checks.some_texts),
    "listen": Key(check=checks.one_line),
    "port": Key((int,), 8888, checks.port),
    # The ports that CONNECT may reach.
    "connect_ports": Key((list,), [443, 563], checks.ports),
    "max_clients": Key((int,), 100, positive),
    "timeout": Key((int,), 600, positive),
}
