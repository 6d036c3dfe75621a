"""What those who are not served are told."""

import json
from datetime import UTC, datetime

import pytest

from revoker.gateway import Hold, Revocation, Stale
from revoker.gateway.refusals import Refusal
from revoker.gateway.responses import Asked, asked, last_event, refusal

ENDED = Revocation(
    id="r-1",
    cause="password-changed",
    initiator="user",
    reason_user={"en": "Your password was <changed>", "de": "Dein Passwort wurde geändert"},
)
HELD = Hold(id="h-1", reason_user={"en": "Please wait"}, until=datetime(2026, 11, 21, tzinfo=UTC))
STALE = Stale(age=12.0, why="the view is too old")


@pytest.mark.parametrize(
    ("why", "status", "cause", "more"),
    [
        (ENDED, 401, "password-changed", {"www-authenticate"}),
        (HELD, 403, "held", set()),
        (STALE, 503, "stale", {"retry-after"}),
    ],
)
def test_a_program_gets_a_problem(why: Refusal, status: int, cause: str, more: set[str]) -> None:
    response = refusal(why, Asked(), sign_in_url="/login")
    headers = dict(response.headers)
    problem = json.loads(response.body)

    assert (response.status, problem["status"], problem["cause"]) == (status, status, cause)
    assert problem["type"].startswith("urn:revoker:session-")
    assert problem.keys() == {"type", "title", "status", "detail", "cause"}
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert int(headers["content-length"]) == len(response.body)
    assert headers.keys() & {"www-authenticate", "retry-after"} == more


@pytest.mark.parametrize("why", [ENDED, HELD, STALE])
def test_a_person_gets_a_page_without_anything_in_it_that_runs(why: Refusal) -> None:
    response = refusal(why, Asked(navigation=True))
    headers = dict(response.headers)

    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == "default-src 'none'"
    assert headers["cache-control"] == "no-store"
    assert b"<changed>" not in response.body


def test_the_reason_is_told_in_the_persons_language() -> None:
    german = Asked(navigation=True, languages="fr, de-AT;q=0.9, en;q=0.1")

    assert "geändert" in refusal(ENDED, german).body.decode()
    assert json.loads(refusal(ENDED, Asked(languages="de")).body)["detail"] == "Dein Passwort wurde geändert"
    assert "geändert" in last_event(ENDED, "de").decode()


def test_only_whom_signing_in_helps_is_sent_there() -> None:
    navigation = Asked(navigation=True)

    assert refusal(ENDED, navigation, "/login").status == 303
    assert refusal(HELD, navigation, "/login").status == 403
    assert refusal(STALE, navigation, "/login").status == 503


@pytest.mark.parametrize(
    ("headers", "navigation"),
    [
        ({}, False),
        ({b"Accept": b"text/html,*/*"}, True),
        ({b"accept": b"application/json"}, False),
        ({b"sec-fetch-mode": b"navigate"}, True),
        ({b"sec-fetch-mode": b"cors", b"accept": b"text/html"}, False),
        ({b"sec-fetch-mode": b"websocket"}, False),
    ],
)
def test_a_browser_that_opens_a_page_is_known(headers: dict[bytes, bytes], navigation: bool) -> None:  # noqa: FBT001 - the answer
    assert asked(headers.items()).navigation is navigation


def test_a_last_event_is_one_event() -> None:
    event = last_event(
        Revocation(id="r", cause="a\nb", initiator="user", reason_user={"en": "two\n\nlines\revent: x"})
    ).decode()

    assert event.endswith("\n\n")
    assert event.count("\n") == 3
    assert "\r" not in event
