"""One revocation that closes ten thousand WebSockets, against closing them in a bare loop.

A real server in a process of its own, real sockets, and a client that answers each close as a browser does. The clock
runs from the notification (or the start of the loop) until the last connection is closed, its client told why. Told
earlier is told beside: a loop that gives nobody else a turn tells its clients first, and serves nobody meanwhile.
"""

import asyncio
import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, Final

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Goal, Note, Row, shown
from benchmarks.ground import Ground
from benchmarks.patience import Patience
from benchmarks.plan import Plan
from benchmarks.sockets_server import CAUSE, CODE

_NAME: Final = "sockets"
_SIDES: Final = ("product", "bare")
_SPARE_FILES: Final = 500
_PATIENCE: Final = 120.0
_MOST_ASKING: Final = 500
_HANDSHAKE: Final = (
    b"GET /%d HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_TOLD: Final = bytes([0x88, 2 + len(CAUSE)]) + CODE.to_bytes(2, "big") + CAUSE.encode()
_ANSWER: Final = b"\x88\x82\x00\x00\x00\x00" + CODE.to_bytes(2, "big")


async def measure(ground: Ground, plan: Plan, say: Callable[[str], None]) -> tuple[list[Row], list[Note], str]:
    """The row."""
    del ground
    count = min(plan.sockets, _files() - _SPARE_FILES)
    rates: dict[str, list[float]] = {side: [] for side in _SIDES}
    told: dict[str, list[float]] = {side: [] for side in _SIDES}
    for number in range(plan.rounds):
        for side in _SIDES if number % 2 else _SIDES[::-1]:
            await Patience(plan.patience / 10).quiet()
            knew, gone = await asyncio.to_thread(_closed, side, count)
            rates[side].append(count / gone)
            told[side].append(knew)
        mine, its = rates["product"][-1], rates["bare"][-1]
        say(f"{_NAME}, round {number + 1}: product {shown(mine)}/s, bare {shown(its)}/s, ratio {shown(mine / its)}")
    against = f"a bare loop over the same {count:,} sockets of the same server, until the last is closed"
    row = Row(_NAME, against, "sockets/s", rates["product"], rates["bare"], Goal(1 / 1.5))
    values = {f"the last client was told, {side}, ms": median(told[side]) * 1000 for side in _SIDES}
    return [row], [Note(_NAME, ", ".join(f"{what} {shown(value)}" for what, value in values.items()), values)], ""


def _closed(side: str, count: int) -> tuple[float, float]:
    """Opens so many sockets, has them closed: the seconds until the last client knew, and until the last was gone."""
    with tempfile.TemporaryDirectory(prefix="revoker-bench-") as folder, ExitStack() as stack:
        path = f"{folder}/s"
        server = stack.enter_context(_server(side, path))
        clients = stack.enter_context(_clients(path, count))
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("close\n")
        server.stdin.flush()
        knew, gone = _read_closes(clients)
        told: dict[str, Any] = json.loads(server.stdout.readline())
        if told["closed"] != count:
            raise BenchmarkError(f"{told['closed']} of {count} sockets were open")
        return knew - told["began"], gone - told["began"]


@contextmanager
def _server(side: str, path: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.sockets_server", side, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own
        deadline = time.monotonic() + _PATIENCE
        while not _answers(path):
            if server.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError("the server does not start")
            time.sleep(0.02)
        try:
            yield server
        finally:
            server.kill()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@contextmanager
def _clients(path: str, count: int) -> Iterator[selectors.BaseSelector]:
    """So many open WebSockets; a few handshakes at a time, as the backlog allows."""
    with selectors.DefaultSelector() as open_, selectors.DefaultSelector() as asking:
        try:
            made = 0
            while made < count or asking.get_map():
                while made < count and len(asking.get_map()) < _MOST_ASKING:
                    client = socket.socket(socket.AF_UNIX)
                    client.connect(path)
                    client.send(_HANDSHAKE % made)
                    asking.register(client, selectors.EVENT_READ)
                    made += 1
                for client, _ in _ready(asking):
                    if not client.recv(4096).startswith(b"HTTP/1.1 101"):
                        raise BenchmarkError("a handshake was refused")
                    asking.unregister(client)
                    open_.register(client, selectors.EVENT_READ)
            yield open_
        finally:
            for key in [*open_.get_map().values(), *asking.get_map().values()]:
                key.fileobj.close()  # type: ignore[union-attr] # sockets, all of them


def _read_closes(clients: selectors.BaseSelector) -> tuple[float, float]:
    """When the last had read its close, and when the last was closed. Each is answered."""
    knew = 0.0
    while clients.get_map():
        for client, _ in _ready(clients):
            match client.recv(4096):
                case b"":
                    clients.unregister(client)
                    client.close()
                case frame if frame == _TOLD:
                    knew = time.monotonic()
                    client.send(_ANSWER)
                case _:
                    raise BenchmarkError("a socket was closed without its cause")
    return knew, time.monotonic()


def _ready(clients: selectors.BaseSelector) -> list[tuple[socket.socket, int]]:
    ready = clients.select(_PATIENCE)
    if not ready:
        raise BenchmarkError("the server is silent")
    return [(key.fileobj, events) for key, events in ready]  # type: ignore[misc] # as above


def _files() -> int:
    """How many this process may open, and its children after it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard > 0 else os.sysconf("SC_OPEN_MAX")
