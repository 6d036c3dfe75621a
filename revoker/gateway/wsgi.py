"""`WSGIRevocationMiddleware`: around any WSGI application (Flask, Django), with the gateway in a thread of its own.

What a request is answered follows the rules of `revoker.gateway.asgi_http`. A stream is cut between two parts. Where
its thread waits within the application, nobody can be told anything from outside; if the server shows its socket
(gunicorn, Werkzeug) the connection is shut, at once; under any other server the stream ends with its next part.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, Final, Literal

from revoker.core.claims import SessionClaims
from revoker.gateway.asgi import several, with_sign_in
from revoker.gateway.asgi_http import SAFE
from revoker.gateway.claims_from import Identified, Scope
from revoker.gateway.connections import Handle
from revoker.gateway.gateway import Gateway
from revoker.gateway.refusals import Refusal
from revoker.gateway.responses import asked, last_event, refusal

Environ = dict[str, Any]
ExcInfo = Any
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_REASONS: Final = {303: "See Other", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}
_SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")

_Place = Literal["server", "here", "application", "over"]
_PATIENT: Final = 0.8
"""Of the grace: the rest is for the server, to close."""
_LOOK_SECONDS: Final = 0.01

_log: Final = logging.getLogger("revoker.gateway")


class WSGIRevocationMiddleware:
    """As `RevocationMiddleware`, for WSGI. `identify(scope)` gets a scope as of ASGI, and is no coroutine."""

    def __init__(
        self,
        app: WSGIApp,
        gateway: Gateway,
        identify: Callable[[Scope], Identified],
        *,
        sign_in_url: str | None = None,
        open_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._identify = identify
        self._sign_in_url = sign_in_url
        self._open_paths = with_sign_in(open_paths, sign_in_url)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI 1.0.1."""
        # With the first request, not before: a process that forks workers takes no thread with it.
        self._gateway.run_in_thread()
        scope = scope_of(environ)
        claims = () if scope["path"] in self._open_paths else several(self._identify(scope))
        if not claims:
            return self._app(environ, start_response)
        exchange = _Exchange(self._gateway, claims, scope, self._sign_in_url, start_response)
        verdict = self._gateway.connections.judged(claims)
        if verdict is not None:
            return exchange.refuse(verdict)
        body = self._app(environ, exchange.start_response)
        return exchange.answer(body, environ)


def scope_of(environ: Environ) -> Scope:
    """As much of an ASGI scope as identifying somebody takes."""
    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    address = environ.get("REMOTE_ADDR")
    return {
        "type": "http",
        "method": environ["REQUEST_METHOD"],
        "path": path.encode("latin-1").decode("utf-8", "replace"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "client": (address, 0) if address else None,
    }


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        gateway: Gateway,
        claims: Sequence[SessionClaims],
        scope: Scope,
        sign_in_url: str | None,
        start_response: StartResponse,
    ) -> None:
        self.gateway = gateway
        self.claims = claims
        self.scope = scope
        self._sign_in_url = sign_in_url
        self._start_response = start_response
        self.has_length = False
        self.is_events = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None
    ) -> Callable[[bytes], object]:
        """For the application."""
        said = {name.lower(): value for name, value in headers}
        self.has_length = "content-length" in said or status[:3] in {"204", "304"}
        plain = said.get("content-encoding", "identity") == "identity"
        self.is_events = plain and said.get("content-type", "").lower().startswith("text/event-stream")
        return self._start_response(status, headers, exc_info) if exc_info else self._start_response(status, headers)

    def refuse(self, verdict: Refusal, exc_info: ExcInfo = None) -> Iterable[bytes]:
        """Instead of the application's answer, of which nothing has been sent."""
        client = self.scope["client"]
        self.gateway.refused(self.claims[0], verdict, ip=client[0] if client else None)
        response = refusal(verdict, asked(self.scope["headers"]), self._sign_in_url)
        status, headers = f"{response.status} {_REASONS[response.status]}", list(response.headers)
        if exc_info:
            self._start_response(status, headers, exc_info)
        else:
            self._start_response(status, headers)
        return [b"" if self.scope["method"] == "HEAD" else response.body]

    def answer(self, body: Iterable[bytes], environ: Environ) -> Iterable[bytes]:
        """What the server sends of `body`."""
        changes = self.scope["method"] not in SAFE
        stream = _Stream(self, body, next((environ[name] for name in _SOCKETS if name in environ), None))
        if not (self.has_length or changes) or self.is_events:
            stream.register()
        verdict = stream.verdict
        if verdict is None and not changes:
            verdict = self.gateway.connections.judged(self.claims)
        if verdict is None:
            return stream
        stream.close()
        return self.refuse(verdict, _another_answer())


class _AnotherAnswerError(Exception):
    pass


def _another_answer() -> ExcInfo:
    """What makes a server forget the status and the headers that the application has given."""
    error = _AnotherAnswerError()
    return type(error), error, None


class _Stream:
    """The parts of an answer. Registered at the latest when a second part is asked for."""

    def __init__(self, exchange: _Exchange, body: Iterable[bytes], connection: socket.socket | None) -> None:
        self._exchange = exchange
        self._body = body
        self._parts: Iterator[bytes] | None = None
        self._socket = connection
        self._lock = Lock()
        self._handle: Handle | None = None
        self._at: _Place = "server"
        self._told = False
        self._rest = b""
        self._sent = 0

    @property
    def verdict(self) -> Refusal | None:
        return None if self._handle is None else self._handle.verdict

    def register(self) -> None:
        self._handle = self._exchange.gateway.connections.add(self._exchange.claims, self._fall)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._at = "here"
        try:
            return self._part()
        finally:
            self._at = "server"

    def close(self) -> None:
        """The server is done with it, or we are."""
        self._at = "over"
        if self._handle is not None:
            self._handle.remove()
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def _part(self) -> bytes:
        if self._handle is None and self._sent:
            self.register()
        self._judge()
        if self.verdict is None:
            part = self._next()
            self._judge()
            if part is not None and self.verdict is None:
                self._sent += 1
                self._rest = (self._rest + part)[-4:]
                return part
        return self._farewell()

    def _next(self) -> bytes | None:
        """The application's next part; None: it fell before the application was asked."""
        if self._parts is None:
            self._parts = iter(self._body)
        with self._lock:
            if self.verdict is not None:
                return None
            self._at = "application"
        try:
            return next(self._parts)
        finally:
            with self._lock:
                self._at = "here"

    def _judge(self) -> None:
        handle = self._handle
        if handle is not None and handle.verdict is None:
            verdict = self._exchange.gateway.connections.judged(self._exchange.claims)
            if verdict is not None:
                handle.drop(verdict)

    def _farewell(self) -> bytes:
        verdict = self.verdict
        if self._told or verdict is None or not self._exchange.is_events:
            self._cut_short()
            raise StopIteration
        self._told = True
        middle = self._rest and not self._rest.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))
        languages = asked(self._exchange.scope["headers"]).languages
        return (b"\n\n" if middle else b"") + last_event(verdict, languages)

    def _cut_short(self) -> None:
        """A client that was promised a length must not wait for the rest."""
        if self._exchange.has_length:
            self._shut()

    def _fall(self, verdict: Refusal) -> Awaitable[None] | None:
        """Called by whoever ends it, in any thread."""
        del verdict
        with self._lock:
            if self._at == "application":
                self._shut()
            return self._patience() if self._at == "server" else None

    async def _patience(self) -> None:
        """While the server writes: a client that does not read must not keep it."""
        began, most = time.monotonic(), self._exchange.gateway.connections.close_grace * _PATIENT
        while self._at == "server":
            if time.monotonic() - began > most:
                self._shut()
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _shut(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                _log.debug("a socket was shut already: %s", error)
