"""The middleware around applications as people write them, on the servers that people run them on."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from revoker.gateway.testing import ended, held, lifted
from tests.frameworks.served import Person, Served, closed, eventually, lives, serving

SERVED = [
    ("starlette", "uvicorn"),
    ("fastapi", "uvicorn"),
    ("litestar", "uvicorn"),
    ("django", "uvicorn"),
    ("django", "daphne"),
]


@pytest.fixture(scope="module", params=SERVED, ids="-".join)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(*request.param) as running:
        yield running


@pytest.fixture
def alice() -> Person:
    return Person()


def reason(served: Served, cause: str) -> str:
    """Daphne knows the code of a close, and no reason."""
    return "" if served.server == "daphne" else cause


def test_an_open_socket_of_an_ended_session_is_closed_and_nobody_elses(served: Served, alice: Person) -> None:
    kept, bob = replace(alice, session_id=f"{alice.session_id}-kept"), Person()
    with (
        served.socket(alice) as first,
        served.socket(alice) as second,
        served.socket(kept) as here,
        served.socket(bob) as other,
        served.socket(None) as anonymous,
    ):
        assert all(map(lives, (first, second, here, other, anonymous)))

        served.feed(ended(alice.name, sessions=[alice.session_id], keep=[kept.session_id]))

        assert closed(first) == closed(second) == (4401, reason(served, "password-changed"))
        assert all(map(lives, (here, other, anonymous)))
    assert eventually(lambda: served.ends(alice)[:2] == [("socket", 4401)] * 2)


def test_a_new_socket_of_an_ended_session_is_told_why(served: Served, alice: Person) -> None:
    served.feed(ended(alice.name, cause="account-disabled"))

    with served.socket(alice) as websocket:
        assert closed(websocket) == (4401, reason(served, "account-disabled"))
    assert served.ends(alice) == []


def test_a_socket_that_offers_a_subprotocol_gets_it_before_it_is_told(served: Served, alice: Person) -> None:
    served.feed(ended(alice.name))

    with served.socket(alice, subprotocols=["chat.v1"]) as websocket:
        assert websocket.subprotocol == "chat.v1"
        assert closed(websocket)[0] == 4401


def test_requests_of_an_ended_session_are_refused_with_the_cause(served: Served, alice: Person) -> None:
    assert served.request("/hello", alice).json() == {"hello": "world"}

    served.feed(ended(alice.name))

    for method in ("GET", "POST"):
        refused = served.request("/hello", alice, method)
        assert refused.status_code == 401
        assert (
            refused.headers["www-authenticate"] == 'Bearer error="invalid_token", error_description="password-changed"'
        )
        assert refused.headers["cache-control"] == "no-store"
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["cause"] == "password-changed"
        assert refused.json()["detail"] == "Your password was changed"
    assert served.request("/hello", alice, "HEAD").status_code == 401
    assert served.request("/hello", Person()).status_code == 200
    assert served.request("/hello").status_code == 200


def test_a_person_gets_a_page(served: Served, alice: Person) -> None:
    served.feed(ended(alice.name))

    page = served.request("/hello", alice, accept="text/html", sec_fetch_mode="navigate")

    assert page.status_code == 401
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Your password was changed" in page.text


def test_an_event_stream_ends_with_an_event_that_says_why(served: Served, alice: Person) -> None:
    bob = Person()
    with served.stream("/events", alice) as events, served.stream("/events", bob):
        served.feed(ended(alice.name))

        assert b'event: session-ended\ndata: {"cause":"password-changed","reason":"Your password' in events.rest()
    assert served.request("/events", alice).status_code == 401
    assert eventually(lambda: served.ends(alice) == [("events", None)])


def test_a_stream_ends(served: Served, alice: Person) -> None:
    with served.stream("/stream", alice) as lines:
        served.feed(ended(alice.name))

        assert lines.rest() == b""
    assert eventually(lambda: served.ends(alice) == [("lines", None)])


def test_a_download_is_cut(served: Served, alice: Person) -> None:
    with served.stream("/download", alice) as download:
        served.feed(ended(alice.name))

        if served.server != "daphne":  # it cannot close a connection that was promised more
            with pytest.raises(httpx.RemoteProtocolError):
                download.rest()
    assert eventually(lambda: served.ends(alice) == [("lines", None)])


def test_a_hold_cuts_and_refuses_until_it_is_lifted(served: Served, alice: Person) -> None:
    hold = f"hold-{alice.name}"
    with served.socket(alice) as websocket:
        assert lives(websocket)

        served.feed(held(alice.name, hold_id=hold))

        assert closed(websocket) == (4403, reason(served, "held"))
    refused = served.request("/hello", alice)
    assert (refused.status_code, "www-authenticate" in refused.headers) == (403, False)
    with served.socket(alice) as websocket:
        assert closed(websocket) == (4403, reason(served, "held"))

    served.feed(lifted(hold))

    assert served.request("/hello", alice).status_code == 200
    with served.socket(alice) as websocket:
        assert lives(websocket)


def test_another_clients_part_of_the_sign_in_feels_nothing(served: Served, alice: Person) -> None:
    mobile = replace(alice, client_id="mobile")
    with served.socket(alice) as web, served.socket(mobile) as other:
        assert lives(web)
        assert lives(other)

        served.feed(ended(alice.name, session_id=alice.session_id, client_id="web", cause="logged-out"))

        assert closed(web) == (4401, reason(served, "logged-out"))
        assert lives(other)
    assert served.request("/hello", mobile).status_code == 200
    assert served.request("/hello", alice).status_code == 401


def test_a_refreshed_token_drops_nothing(served: Served, alice: Person) -> None:
    refreshed = replace(alice, token_id="another")
    with served.socket(alice) as before, served.socket(refreshed) as after:
        assert lives(before)

        served.feed(ended(alice.name, token_id="the-refresh-token", cause="token-revoked"))

        assert lives(before)
        assert lives(after)
    assert served.request("/hello", refreshed).status_code == 200
