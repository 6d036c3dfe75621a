"""The WSGI middleware's side of the server's contract, without a server."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from revoker.gateway import WSGIRevocationMiddleware, header_claims
from revoker.gateway.testing import TestGateway, ended
from revoker.gateway.wsgi import Environ, StartResponse

DEADLINE = 30.0
OVER = ended("alice", sessions=["s-1"])
Headers = list[tuple[str, str]]


@pytest.fixture
def gateway() -> Iterator[TestGateway]:
    running = TestGateway(close_grace=0.2)
    with running.run_in_thread() as thread:
        thread.ready(DEADLINE)
        yield running


class Server:
    """What a WSGI server does with one request."""

    def __init__(self, app: Callable[[Environ, StartResponse], Iterable[bytes]], method: str = "GET") -> None:
        self.started: list[tuple[str, Headers, bool]] = []
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": "/",
            "REMOTE_ADDR": "192.0.2.7",
            "HTTP_X_REVOKER_SUBJECT": "alice",
            "HTTP_X_REVOKER_SESSION": "s-1",
        }
        self._app = app

    def ask(self) -> Iterable[bytes]:
        return self._app(self.environ, self._start_response)

    def _start_response(self, status: str, headers: Headers, exc_info: object = None) -> Callable[[bytes], object]:
        # PEP 3333: to begin another answer is an error, but for one that tells why.
        assert exc_info or not self.started
        self.started.append((status, headers, exc_info is not None))
        return lambda _: None


def guarded(app: Any, gateway: TestGateway, method: str = "GET") -> Server:
    return Server(WSGIRevocationMiddleware(app, gateway, header_claims()), method)


class Parts:
    """An answer in parts, which the session's end meets where the test wants it."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = iter(parts)
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        self.closed = True


def ends_within(gateway: TestGateway, parts: Parts, *headers: tuple[str, str]) -> Any:
    def app(_: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(headers))
        gateway.apply(OVER)
        return parts

    return app


@pytest.mark.parametrize("headers", [(), (("Content-Length", "6"),), (("Content-Type", "text/event-stream"),)])
def test_a_request_that_waited_is_refused_like_a_new_one(
    gateway: TestGateway, headers: tuple[tuple[str, str], ...]
) -> None:
    parts = Parts(b"secret")
    server = guarded(ends_within(gateway, parts, *headers), gateway)

    body = b"".join(server.ask())

    assert b"secret" not in body
    assert [(status, again) for status, _, again in server.started] == [("200 OK", False), ("401 Unauthorized", True)]
    assert parts.closed


@pytest.mark.parametrize("headers", [(), (("Content-Length", "4"),)])
def test_the_answer_to_what_ended_the_session_passes(
    gateway: TestGateway, headers: tuple[tuple[str, str], ...]
) -> None:
    server = guarded(ends_within(gateway, Parts(b"done"), *headers), gateway, "POST")

    assert b"".join(server.ask()) == b"done"


def test_but_not_when_it_goes_on(gateway: TestGateway) -> None:
    server = guarded(ends_within(gateway, Parts(b"done", b"more"), ("Content-Type", "x/y")), gateway, "POST")

    assert b"".join(server.ask()) == b"done"


def test_an_application_that_answers_lazily_is_refused_too(gateway: TestGateway) -> None:
    def app(_: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"secret"

    lazy = guarded(app, gateway)
    body = lazy.ask()
    gateway.apply(OVER)

    assert list(body) == []


def test_a_client_that_does_not_read_is_shut_out(gateway: TestGateway) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(DEADLINE)
        server = guarded(lambda _, start: (start("200 OK", []), Parts(b"1", b"2"))[1], gateway)
        server.environ["gunicorn.socket"] = ours
        body = iter(server.ask())
        assert next(body) == b"1"

        gateway.apply(OVER)  # while the server sends: it does not ask for more

        assert theirs.recv(1) == b""


def test_a_server_that_asks_in_time_ends_by_itself(gateway: TestGateway) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = guarded(lambda _, start: (start("200 OK", []), Parts(b"1", b"2"))[1], gateway)
        server.environ["gunicorn.socket"] = ours
        body = iter(server.ask())
        next(body)
        feeding = threading.Thread(target=gateway.apply, args=[OVER])
        feeding.start()
        while len(gateway.connections):
            time.sleep(0.001)

        assert list(body) == []
        body.close()  # type: ignore[attr-defined] # as a server does
        feeding.join(DEADLINE)
        ours.send(b"open still")


def test_what_is_done_is_no_connection_any_more(gateway: TestGateway) -> None:
    server = guarded(lambda _, start: (start("200 OK", []), Parts(b"1", b"2"))[1], gateway)
    body = server.ask()
    assert list(body) == [b"1", b"2"]
    assert len(gateway.connections) == 1

    body.close()  # type: ignore[attr-defined] # as a server does

    assert len(gateway.connections) == 0
