"""Free ports on 127.0.0.1.

Chosen below the range from which kernels take the ports of outgoing connections, not by binding port 0: a server
that was killed must find its port free when it comes back, while its clients are busy opening connections. A client
that connects to a free port in its own range can even be given that very port and connect to itself.
"""

import random
import socket

HOST = "127.0.0.1"
_RANGE = range(15_000, 32_000)


def free_ports(count: int) -> tuple[int, ...]:
    ports: set[int] = set()
    while len(ports) < count:
        port = random.choice(_RANGE)
        if _is_free(port):
            ports.add(port)
    return tuple(ports)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
