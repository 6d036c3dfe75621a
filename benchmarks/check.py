"""`/check` over HTTP, against a bare ASGI answer of the same size from the same server.

Each side is a process of its own; both get the very same requests, from many connections, several at a time on each, so
that the server is what is measured and not the client. The tokens were seen before, as most are.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any, Final

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Goal, Note, Row, shown
from benchmarks.ground import Ground
from benchmarks.patience import Patience
from benchmarks.plan import Plan

_NAME: Final = "check"
_SIDES: Final = ("product", "bare")
_CONNECTIONS: Final = 8
_AT_ONCE: Final = 32
_TOKENS: Final = 1_024
_REVOKED: Final = 20_000
_REQUESTS: Final = 1_000
"""Bursts a round and side, spread over the connections."""


async def measure(ground: Ground, plan: Plan, say: Callable[[str], None]) -> tuple[list[Row], list[Note], str]:
    """The row."""
    del ground
    rates: dict[str, list[float]] = {side: [] for side in _SIDES}
    with _server("product", plan) as product, _server("bare", plan) as bare:
        servers = {"product": product, "bare": bare}
        for number in range(plan.rounds):
            for side in _SIDES if number % 2 else _SIDES[::-1]:
                await Patience(plan.patience / 10).quiet()
                rates[side].append(await asyncio.to_thread(_rate, servers[side], product["tokens"]))
            mine, its = rates["product"][-1], rates["bare"][-1]
            say(f"{_NAME}, round {number + 1}: product {shown(mine)}/s, bare {shown(its)}/s, ratio {shown(mine / its)}")
    against = "a bare ASGI answer of the same headers, same server, same requests"
    row = Row(_NAME, against, "requests/s", rates["product"], rates["bare"], Goal(0.5))
    values = {"revoked subjects in the index": _revoked(plan), "tokens": _TOKENS, "connections": _CONNECTIONS}
    return [row], [Note(_NAME, ", ".join(f"{what} {shown(value)}" for what, value in values.items()), values)], ""


def _revoked(plan: Plan) -> int:
    return min(plan.revoked, _REVOKED)


@contextmanager
def _server(side: str, plan: Plan) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.check_server", side, str(_revoked(plan)), str(_TOKENS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise BenchmarkError("the server does not start")
            yield json.loads(line)
        finally:
            server.kill()


def _rate(server: dict[str, Any], tokens: Sequence[str]) -> float:
    """Requests a second, the first burst of each connection not counted."""
    requests = [
        f"GET /check/orders/7 HTTP/1.1\r\nHost: check\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for token in tokens
    ]
    bursts = [b"".join(requests[at : at + _AT_ONCE]) for at in range(0, len(requests), _AT_ONCE)]
    each = _REQUESTS // _CONNECTIONS
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server["port"]))) for _ in range(_CONNECTIONS)
        ]
        for burst in bursts:
            _asked(clients[0], burst)
        threads = [Thread(target=_keep_asking, args=(client, bursts, each)) for client in clients]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return each * _CONNECTIONS * _AT_ONCE / (time.perf_counter() - began)


def _keep_asking(client: socket.socket, bursts: Sequence[bytes], count: int) -> None:
    for number in range(count):
        _asked(client, bursts[number % len(bursts)])


def _asked(client: socket.socket, burst: bytes) -> None:
    client.sendall(burst)
    answers = 0
    rest = b""
    while answers < _AT_ONCE:
        got = client.recv(65_536)
        if not got:
            raise BenchmarkError("the server hung up")
        rest += got
        *whole, rest = rest.split(b"\r\n\r\n")
        answers += len(whole)
        if not all(answer.startswith(b"HTTP/1.1 200") for answer in whole):
            raise BenchmarkError("a live session was refused")
