"""What tests of origins share: a web hook and a realm that really listen, and a member of the group in this process.

The web hook checks signatures by the formula of RFC 2104, not by the library that made them.
"""

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from consumers.app import _broker
from consumers.origins import Origins
from revoker.settings import OriginSettings, Settings
from revoker.telemetry import Metrics

SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()
_BLOCK: Final = 64


@asynccontextmanager
async def member(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Origins]:
    """One member of the groups, until the end of the context."""
    origins = Origins(settings, metrics or Metrics())
    broker = _broker(settings)
    origins.subscribe(broker)
    work = asyncio.create_task(origins.run())
    try:
        await broker.start()
        yield origins
    finally:
        origins.hurry()
        await broker.stop()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def hooked(url: str, **given: Any) -> OriginSettings:
    """The settings of a web hook."""
    return OriginSettings(**{"name": "login", "kind": "webhook", "url": url, "secret": SECRET} | given)


@dataclass(frozen=True)
class Delivery:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found

    @property
    def subject(self) -> str | None:
        found: str | None = self.event.get("subject")
        return found


@dataclass(frozen=True)
class Reply:
    """What is answered, and after how many seconds."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0.0


class Server:
    """Listens, remembers, and answers as `behave` says."""

    def __init__(self, behave: Callable[[Delivery], Reply]) -> None:
        self.behave = behave
        self.came: list[Delivery] = []
        self.taken: list[Delivery] = []
        """Those that were answered with a 2xx."""
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                one = Delivery(self.command, self.path, headers, body, time.monotonic())
                with server._lock:
                    server.came.append(one)
                    reply = server.behave(one)
                if reply.after:
                    server.over.wait(reply.after)
                with suppress(OSError):
                    self._write(reply)
                    if 200 <= reply.status < 300:
                        server.taken.append(one)

            def _write(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.status != 204:
                    self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - as the library wants it

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        return Handler


@contextmanager
def serving(behave: Callable[[Delivery], Reply] = lambda _: Reply()) -> Iterator[Server]:
    """A server until the end of the context."""
    server = Server(behave)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def is_signed(delivery: Delivery, secret: str = SECRET, within: float = 300) -> bool:
    """Whether one of the signatures is right, and the time is now: Standard Webhooks 1.0.0, step by step."""
    headers = delivery.headers
    if abs(time.time() - int(headers["webhook-timestamp"])) > within:
        return False
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + delivery.body
    right = "v1," + base64.b64encode(hmac_sha256(base64.b64decode(secret.removeprefix("whsec_")), content)).decode()
    return right in headers["webhook-signature"].split(" ")


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """RFC 2104, section 2."""
    key = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)
    return hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).digest()


class Realm:
    """A realm of Keycloak's that answers as 26.7 was seen to. Its server's `behave`."""

    def __init__(self) -> None:
        self.online: dict[str, dict[str, Any]] = {}
        self.offline: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = set()
        self.issued = 0
        self.lasts = 300
        self.fails_with: int | None = None
        """The admin API does."""
        self.hidden = False
        """A proxy in front answers instead of the admin API."""
        self.returning: set[str] = set()
        """Sessions that come back once, out of sight, when they are deleted."""
        self.unseen: set[str] = set()

    def sign_in(self, id_: str, user: str, start: int, *clients: str, offline: bool = False) -> None:
        """`start` in seconds, as Keycloak counts."""
        entry = {
            "id": id_,
            "userId": user,
            "start": start * 1000,
            "clients": {f"uuid-{name}": name for name in clients},
        }
        (self.offline if offline else self.online)[id_] = entry

    def __call__(self, asked: Delivery) -> Reply:
        parts = urlsplit(asked.path)
        match [unquote(part) for part in parts.path.split("/")]:
            case ["", "realms", "people", "protocol", "openid-connect", "token"]:
                return self._token(parse_qs(asked.body.decode()))
            case ["", "admin", "realms", "people", *rest] if not self.hidden:
                if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
                    return _said(401, {"error": "HTTP 401 Unauthorized"})
                if self.fails_with is not None:
                    return _said(self.fails_with, {"error": "unknown_error"})
                return self._admin(asked.method, rest, "isOffline=true" in parts.query)
        return Reply(404, {"content-type": "text/html"}, b"<html>Not here</html>")

    def _token(self, form: dict[str, list[str]]) -> Reply:
        if (form.get("client_id"), form.get("client_secret")) != (["revoker"], ["s3cret"]):
            return _said(401, {"error": "unauthorized_client"})
        self.issued += 1
        self.tokens.add(f"token-{self.issued}")
        return _said(200, {"access_token": f"token-{self.issued}", "expires_in": self.lasts})

    def _admin(self, method: str, rest: list[str], offline: bool) -> Reply:  # noqa: FBT001 - as the query says
        store = self.offline if offline else self.online
        match method, rest:
            case "DELETE", ["sessions", id_] if id_ in store or (id_ in self.unseen and not offline):
                store.pop(id_, None)
                self.unseen.discard(id_)
                if id_ in self.returning:
                    self.returning.remove(id_)
                    self.unseen.add(id_)
                return Reply(204)
            case "DELETE", ["sessions", _]:
                return _said(404, {"error": "Sesssion not found"})
            case "GET", ["users", user, "sessions"] if self._knows(user):
                return _said(200, [one for one in self.online.values() if one["userId"] == user])
            case "GET", ["users", user, "consents"] if self._knows(user):
                uuids = {uuid for one in self.offline.values() if one["userId"] == user for uuid in one["clients"]}
                grants = [{"client": uuid, "key": "Offline Token"} for uuid in sorted(uuids)]
                return _said(200, [{"clientId": "any", "additionalGrants": grants}])
            case "GET", ["users", user, "offline-sessions", uuid]:
                mine = (one for one in self.offline.values() if one["userId"] == user and uuid in one["clients"])
                return _said(200, [one | {"clients": {uuid: one["clients"][uuid]}} for one in mine])
        return _said(404, {"error": "User not found"})

    def _knows(self, user: str) -> bool:
        return any(one["userId"] == user for one in (*self.online.values(), *self.offline.values()))


def _said(status: int, body: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(body).encode())
