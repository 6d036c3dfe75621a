"""The WSGI middleware around Flask and Django, on servers that show their socket and on one that does not."""

import importlib
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
import werkzeug.serving

from revoker.gateway import WSGIRevocationMiddleware, bearer_claims
from revoker.gateway.testing import TestGateway, ended, held, lifted
from tests.frameworks import flask_app
from tests.frameworks.served import PATIENCE, Person, Served, eventually


class ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class QuietWerkzeug(werkzeug.serving.WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class ServedHere(Served):
    """In a thread of the test's own process."""

    gateway: TestGateway

    def feed(self, notification: bytes) -> None:
        self.gateway.apply(notification)


@contextmanager
def serving(framework: str, server: str) -> Iterator[ServedHere]:
    app = importlib.import_module(f"tests.frameworks.{framework}_app").app
    gateway = TestGateway()
    guarded = WSGIRevocationMiddleware(app, gateway, bearer_claims(cookie="session"))
    running: Any
    if server == "werkzeug":
        running = werkzeug.serving.make_server("127.0.0.1", 0, guarded, threaded=True, request_handler=QuietWerkzeug)
        running.daemon_threads = True
    else:
        running = make_server("127.0.0.1", 0, guarded, ThreadingServer, Quiet)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with gateway.run_in_thread():
        yield ServedHere(framework, server, running.server_port, gateway)
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(
    scope="module", params=[("flask", "werkzeug"), ("django_wsgi", "werkzeug"), ("flask", "wsgiref")], ids="-".join
)
def served(request: pytest.FixtureRequest) -> Iterator[ServedHere]:
    with serving(*request.param) as running:
        yield running


@pytest.fixture
def alice() -> Person:
    return Person()


def test_requests_of_an_ended_session_are_refused_with_the_cause(served: ServedHere, alice: Person) -> None:
    assert served.request("/hello", alice).json() == {"hello": "world"}

    served.feed(ended(alice.name))

    for method in ("GET", "POST"):
        refused = served.request("/hello", alice, method)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
        assert refused.headers["cache-control"] == "no-store"
        assert refused.json()["cause"] == "password-changed"
    assert served.request("/hello", alice, "HEAD").status_code == 401
    assert served.request("/hello", Person()).status_code == 200
    assert served.request("/hello").status_code == 200


def test_a_person_gets_a_page(served: ServedHere, alice: Person) -> None:
    served.feed(ended(alice.name))

    page = served.request("/hello", alice, accept="text/html", sec_fetch_mode="navigate")

    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")


def test_a_hold_refuses_until_it_is_lifted(served: ServedHere, alice: Person) -> None:
    hold = f"hold-{alice.name}"

    served.feed(held(alice.name, hold_id=hold))
    assert served.request("/hello", alice).status_code == 403

    served.feed(lifted(hold))
    assert served.request("/hello", alice).status_code == 200


@pytest.mark.parametrize("path", ["/events", "/stream", "/download"])
def test_a_stream_is_cut_while_its_thread_waits(served: ServedHere, alice: Person, path: str) -> None:
    with served.stream(path, alice) as arriving:
        assert flask_app.WAITING[alice.name].wait(PATIENCE)
        served.feed(ended(alice.name))
        assert len(served.gateway.connections) == 0

        if served.server == "wsgiref":  # where nobody can be cut from outside
            flask_app.MORE[alice.name].release()
            if path != "/download":
                assert (b"event: session-ended" in arriving.rest()) == (path == "/events")
        else:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                arriving.rest()
    flask_app.MORE[alice.name].release()
    assert b"more" not in arriving.body
    assert served.request(path, alice).status_code == 401


def test_a_stream_of_somebody_else_goes_on(served: ServedHere, alice: Person) -> None:
    with served.stream("/stream", alice) as lines:
        served.feed(ended("somebody-else"))
        flask_app.MORE[alice.name].release()

        lines.until(b"more")
    flask_app.MORE[alice.name].release()
    flask_app.MORE[alice.name].release()
    assert eventually(lambda: len(served.gateway.connections) == 0)
