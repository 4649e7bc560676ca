"""Free TCP ports on this machine."""

import random
import socket

# Below the kernel's range for outgoing connections (net.ipv4.ip_local_port_range starts at 32768), so that
# no client takes a port between the moment it is found free and the moment the server binds it.
CANDIDATES = range(20000, 32000)
_given: set[int] = set()


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return as many free ports as asked for, none of which this process was given before."""
    found: list[int] = []
    for port in random.sample(CANDIDATES, len(CANDIDATES)):
        if len(found) == count:
            break
        if port not in _given and is_free(port):
            found.append(port)
    _given.update(found)
    return found


def free_port() -> int:
    return free_ports(1)[0]
