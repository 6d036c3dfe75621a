"""The other side of `tests.frameworks.serve`: a server process, and what a client and a test do to it."""

import base64
import contextlib
import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Person:
    """Signed in, with a token as an identity provider mints it. Nobody here verifies one."""

    name: str = field(default_factory=lambda: f"u-{uuid.uuid4().hex[:8]}")
    session_id: str = field(default_factory=lambda: f"s-{uuid.uuid4().hex[:8]}")
    client_id: str = "web"
    token_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def cookie(self) -> str:
        claims = {
            "sub": self.name,
            "sid": self.session_id,
            "azp": self.client_id,
            "jti": self.token_id,
            "auth_time": int(time.time()) - 3600,
            "iat": int(time.time()),
        }
        return ".".join([_base64({"alg": "RS256", "kid": "k-1"}), _base64(claims), "c2lnbmF0dXJl"])

    @property
    def headers(self) -> dict[str, str]:
        return {"cookie": f"theme=dark; session={self.cookie}"}


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    framework: str
    server: str
    port: int

    def socket(self, person: Person | None, **options: Any) -> ClientConnection:
        """A WebSocket of `person`."""
        who = person.name if person else "nobody"
        headers = person.headers if person else {}
        websocket: ClientConnection = connect(
            f"ws://127.0.0.1:{self.port}/socket?who={who}",
            additional_headers=headers,
            open_timeout=PATIENCE,
            proxy=None,
            **options,
        )
        return websocket

    def request(self, path: str, person: Person | None = None, method: str = "GET", **headers: str) -> httpx.Response:
        """A request of `person`."""
        return httpx.request(method, self._url(path), headers=self._headers(person, headers), timeout=PATIENCE)

    @contextlib.contextmanager
    def stream(self, path: str, person: Person | None, **headers: str) -> Iterator["Arriving"]:
        """An answer of which the first part has arrived."""
        url = f"{self._url(path)}?who={person.name if person else 'nobody'}"
        with httpx.stream("GET", url, headers=self._headers(person, headers), timeout=PATIENCE) as response:
            arriving = Arriving(response)
            arriving.until(b"hello")
            yield arriving

    def feed(self, notification: bytes) -> None:
        """Returns when it is applied, and all that it concerns is closed."""
        httpx.post(self._url("/-/feed"), content=notification, timeout=PATIENCE).raise_for_status()

    def ends(self, person: Person) -> list[tuple[str, int | None]]:
        """What the application has seen of `person` come to its end, with the code of it."""
        told = httpx.get(self._url("/-/ends"), timeout=PATIENCE).json()
        return [(kind, code) for kind, who, code in told if who == person.name]

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _headers(self, person: Person | None, headers: dict[str, str]) -> dict[str, str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (person.headers if person else {}) | given


class Arriving:
    """The body of a response, as it arrives."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.body = b""
        self._parts = response.iter_raw()

    def until(self, text: bytes) -> None:
        while text not in self.body:
            self.body += next(self._parts)

    def rest(self) -> bytes:
        """To the end of the stream. Raises `httpx.RemoteProtocolError` where that is not where it was promised."""
        before = len(self.body)
        for part in self._parts:
            self.body += part
        return self.body[before:]


@contextlib.contextmanager
def serving(framework: str, server: str) -> Iterator[Served]:
    """Starts one, and ends it."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        descriptor = str(listener.fileno())
        command = [sys.executable, "-m", "tests.frameworks.serve", framework, server, descriptor]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()])
        try:
            served = Served(framework, server, listener.getsockname()[1])
            httpx.get(f"http://127.0.0.1:{served.port}/-/open", timeout=PATIENCE).raise_for_status()
            yield served
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def closed(websocket: ClientConnection) -> tuple[int, str]:
    """Waits for the server to close it: the code and the reason."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv(timeout=PATIENCE)
    frame = websocket.protocol.close_rcvd
    assert frame is not None, "the connection was cut without a close frame"
    return frame.code, frame.reason


def lives(websocket: ClientConnection) -> bool:
    """Whether it still echoes."""
    word = uuid.uuid4().hex
    websocket.send(word)
    return websocket.recv(timeout=PATIENCE) == word


def eventually(probe: Callable[[], bool]) -> bool:
    """Whether `probe` comes true."""
    deadline = time.monotonic() + PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _base64(tree: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).rstrip(b"=").decode()
