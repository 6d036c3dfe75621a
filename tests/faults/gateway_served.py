"""The other side of `tests.faults.gateway_app`: its processes, and clients that mean well and ill."""

import asyncio
import base64
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from tests.frameworks.served import Person
from tests.processes import PATIENCE, Process, eventually, spawned

_ADDRESS: Final = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
_STOPPED_WITHIN: Final = 30.0


@dataclass
class App:
    """The application, as its clients see it."""

    process: Process
    port: int
    knocks: int = 0
    """How often somebody was refused."""
    _codes: list[int] = field(default_factory=list)

    async def request(self, person: Person | None, path: str = "/hello") -> tuple[int, str]:
        """The status and the body."""
        head, _, body = (await self._exchange(path, person)).partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.knocks += status == 401
        return status, body.decode()

    async def knock(self, person: Person) -> int | None:
        """Opens a WebSocket and is gone, as a client that has no manners. The code of the close; None: not closed."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = (
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        )
        answer = await self._exchange("/socket", person, upgrade, until=_has_close_frame)
        frame = answer.partition(b"\r\n\r\n")[2]
        if not _has_close_frame(answer):
            return None
        self.knocks += 1
        return int.from_bytes(frame[2:4], "big")

    @asynccontextmanager
    async def socket(self, person: Person) -> AsyncIterator[ClientConnection]:
        """A WebSocket of a client that waits."""
        url = f"ws://127.0.0.1:{self.port}/socket"
        async with connect(url, additional_headers=person.headers, open_timeout=PATIENCE, proxy=None) as websocket:
            yield websocket

    async def health(self) -> dict[str, Any]:
        """What the gateway says of itself: that of whichever process answers."""
        status, body = await self.request(None, "/-/health")
        assert status == 200
        told: dict[str, Any] = json.loads(body)
        return told

    async def until(self, is_so: Callable[[dict[str, Any]], bool], within: float = PATIENCE) -> dict[str, Any]:
        """The health that is so."""
        last: list[dict[str, Any]] = []

        async def asked() -> dict[str, Any] | None:
            last[:] = [await self.health()]
            return last[0] if is_so(last[0]) else None

        return await eventually(asked, lambda: (last, self.process.said[-3000:]), within)

    async def _exchange(
        self, path: str, person: Person | None, more: str = "", until: Callable[[bytes], bool] | None = None
    ) -> bytes:
        """What is answered, up to the end of the connection or what is waited for."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in (person.headers if person else {}).items())
        closing = "" if more else "Connection: close\r\n"
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: chat.test\r\n{more}{closing}{headers}\r\n".encode())
                answer = b""
                while (part := await reader.read(4096)) and not (until and until(answer + part)):
                    answer += part
                return answer + part
            finally:
                writer.transport.abort()


def _has_close_frame(answer: bytes) -> bool:
    head, _, frame = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 101 ") and frame[:1] == b"\x88" and len(frame) >= 4


@asynccontextmanager
async def served(env: Mapping[str, str], folder: Path, *, workers: int = 1) -> AsyncIterator[App]:
    """The application in so many processes. They answer, which says nothing of their gateways."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".log", delete=False) as log:
        words = (
            *(sys.executable, "-m", "uvicorn", "--factory", "tests.faults.gateway_app:make"),
            *("--port", "0", "--no-access-log", "--timeout-worker-healthcheck", "60", "--workers", str(workers)),
        )
        process = spawned(Path(log.name), env, *words)

    async def port() -> int | None:
        assert process.code is None, process.said[-3000:]
        found = _ADDRESS.search(process.said)
        return int(found[1]) if found else None

    async def answers() -> App | None:
        try:
            await app.health()
        except OSError:
            return None
        return app

    try:
        app = App(process, await eventually(port, lambda: process.said[-3000:]))
        yield await eventually(answers, lambda: process.said[-3000:])
    finally:
        process.signal(signal.SIGTERM)
        try:
            await process.gone(_STOPPED_WITHIN)
        finally:
            process.kill()
