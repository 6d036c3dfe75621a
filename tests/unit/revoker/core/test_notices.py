"""Notifications: what they say, how they are cut into parts, and under which ids."""

import json
import random
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.core import notices
from revoker.core.ids import RevocationId
from revoker.core.notices import MAX_PART_BYTES, MAX_SESSIONS, EndedSession, EndedToken, Notice
from revoker.core.revocation import Selector
from schemas.fields import MAX_ID_BYTES
from schemas.session_ended import Kind, SessionEnded
from tests import factories
from tests.factories import NOW, after

BROKER_LIMIT = 1_000_000
COMMITTED = after(seconds=1)


def read(notice: Notice) -> SessionEnded:
    return SessionEnded.model_validate_json(notice.body)


def sessions(count: int, length: int = 0) -> list[EndedSession]:
    return [EndedSession(f"s-{number:05}".ljust(length, "x"), "", None) for number in range(count)]


def test_the_bytes_of_a_notification_are_for_ever() -> None:
    revocation = factories.revocation(
        Selector(tenant="acme", subject="alice"),
        id=RevocationId(uuid.UUID(int=7)),
        keep=("s-9",),
        reason_user={"fr": "Changé", "en": "Changed"},
        reason_admin="ticket 7",
    )
    rows = [EndedSession("s-2", "web", after(days=1)), EndedSession("s-1", "", None), EndedSession("s-2", "app", None)]
    tokens = [EndedToken("t-2", None), EndedToken("t-1", after(days=2))]

    [notice] = notices.ended(revocation, COMMITTED, rows, tokens)

    assert (notice.kind, notice.key, notice.id) == (
        Kind.ENDED,
        b"alice",
        uuid.UUID("8f7e353e-216d-58fb-9c07-d73cbb8f5473"),
    )
    assert json.loads(notice.body) == {
        "specversion": "1.0",
        "type": "session-ended",
        "id": "8f7e353e-216d-58fb-9c07-d73cbb8f5473",
        "source": "revoker",
        "tenant": "acme",
        "time": "2026-11-21T09:00:01.000000Z",
        "data": {
            "revocation_id": "00000000-0000-0000-0000-000000000007",
            "cause": "password-changed",
            "initiator": "user",
            "reason_user": {"en": "Changed", "fr": "Changé"},
            "kind": "ended",
            "selector": {"tenant": "acme", "subject": "alice"},
            "not_before": "2026-11-21T09:00:00.000000Z",
            "keep": ["s-9"],
            "requested_at": "2026-11-21T09:00:00.000000Z",
            "committed_at": "2026-11-21T09:00:01.000000Z",
            "covers_until": "2026-12-21T09:00:00.000000Z",
            "sessions": [
                {"session_id": "s-1", "client_id": ""},
                {"session_id": "s-2", "client_id": "app"},
                {"session_id": "s-2", "client_id": "web", "expires_at": "2026-11-22T09:00:00.000000Z"},
            ],
            "tokens": [
                {"token_id": "t-1", "expires_at": "2026-11-23T09:00:00.000000Z"},
                {"token_id": "t-2"},
            ],
        },
        "subject": "alice",
    }


@given(st.randoms(), st.permutations(["de", "en", "fr"]))
def test_the_order_of_rows_and_reasons_does_not_matter(chance: random.Random, languages: list[str]) -> None:
    def told(order: list[str]) -> list[Notice]:
        revocation = factories.revocation(
            id=RevocationId(uuid.UUID(int=7)), reason_user={language: language for language in order}
        )
        return notices.ended(revocation, COMMITTED, rows, tokens)

    rows, tokens = sessions(520), [EndedToken(f"t-{number}", None) for number in range(9)]
    expected = told(["de", "en", "fr"])
    chance.shuffle(rows)
    chance.shuffle(tokens)

    assert told(languages) == expected


def test_a_predicate_that_ended_no_row_is_announced_all_the_same() -> None:
    revocation = factories.revocation(keep_clients=("tv",), not_before=after(minutes=5))

    [notice] = notices.ended(revocation, COMMITTED, [])

    data = read(notice).data
    assert (data.sessions, data.tokens, data.keep_clients) == ((), (), ("tv",))
    assert (data.not_before, data.requested_at) == (after(minutes=5), NOW)


def test_sessions_are_cut_by_count() -> None:
    parts = notices.ended(factories.revocation(), COMMITTED, sessions(2 * MAX_SESSIONS + 1), [EndedToken("t-1", None)])

    assert [len(read(part).data.sessions) for part in parts] == [MAX_SESSIONS - 1, MAX_SESSIONS, 2]
    assert [len(read(part).data.tokens) for part in parts] == [1, 0, 0]
    assert len({part.id for part in parts}) == 3
    ids = [entry.session_id for part in parts for entry in read(part).data.sessions]
    assert ids == [row.session_id for row in sessions(2 * MAX_SESSIONS + 1)]
    [exact] = notices.ended(factories.revocation(), COMMITTED, sessions(MAX_SESSIONS))
    assert len(read(exact).data.sessions) == MAX_SESSIONS


@pytest.mark.parametrize("letter", ["x", '"', "\\", "é", "🔐"])
@pytest.mark.parametrize("loose", [0, 3000])
def test_no_part_is_larger_than_brokers_take(letter: str, loose: int) -> None:
    longest = letter * (MAX_ID_BYTES // len(letter.encode()))
    rows = [EndedSession(f"{number}{longest}"[: len(longest)], longest, after(), longest) for number in range(600)]
    tokens = [EndedToken(f"{number}{longest}"[: len(longest)], after()) for number in range(loose)]
    revocation = factories.revocation(
        Selector(tenant=longest, session_ids=tuple(f"{n:03}{longest}"[: len(longest)] for n in range(100)))
    )

    parts = notices.ended(revocation, COMMITTED, rows, tokens)

    assert max(len(part.body) for part in parts) < BROKER_LIMIT
    events = [read(part) for part in parts]
    assert {entry.session_id for event in events for entry in event.data.sessions} == {row.session_id for row in rows}
    assert [entry.token_id for event in events for entry in event.data.tokens] == sorted(row.token_id for row in tokens)
    assert len(parts) <= 12 + loose // 100
    assert MAX_PART_BYTES < BROKER_LIMIT


def test_as_many_as_fit_go_into_a_part() -> None:
    """Short ids are cut by count alone, long ones by bytes: not one notification a session."""
    parts = notices.ended(factories.revocation(), COMMITTED, sessions(600, length=400))

    sizes = [len(read(part).data.sessions) for part in parts]
    assert sum(sizes) == 600
    assert sizes[:-1] == [sizes[0]] * (len(sizes) - 1)
    assert MAX_PART_BYTES // 2000 <= sizes[0] < MAX_SESSIONS


def test_a_revocation_without_a_subject_names_those_of_its_rows_and_is_keyed_by_its_id() -> None:
    revocation = factories.revocation(Selector(tenant="", session_ids=("s-1",)))
    rows = [EndedSession("s-1", "", None, subject) for subject in ("bob", "alice")]

    [notice] = notices.ended(revocation, COMMITTED, rows)

    event = read(notice)
    assert (event.subject, notice.key) == (None, str(revocation.id).encode())
    assert [entry.subject for entry in event.data.sessions] == ["alice", "bob"]


def test_a_late_session_and_a_late_token_have_ids_of_their_own() -> None:
    revocation = factories.revocation(id=RevocationId(uuid.UUID(int=7)))
    one = notices.late(revocation, "alice", EndedSession("s-1", "web", after(days=1)), COMMITTED)
    other = notices.late(revocation, "alice", EndedSession("s-1", "", None), COMMITTED)
    token = notices.late_token(revocation, "alice", EndedToken("s-1", None), COMMITTED)

    assert [one.id, other.id, token.id] == [
        uuid.UUID(text)
        for text in (
            "a114b6b7-054e-52cf-abfe-72ca52af9783",
            "106b9d5b-6ac3-56fa-82b5-efb896c44c14",
            "8cef23c9-8613-5c86-8fcc-4139ab7bafaa",
        )
    ]
    assert {notice.kind for notice in (one, other, token)} == {Kind.LATE}
    event = read(one)
    assert (event.subject, event.time, event.data.committed_at, one.key) == ("alice", COMMITTED, COMMITTED, b"alice")
    assert [(e.session_id, e.client_id, e.expires_at) for e in event.data.sessions] == [("s-1", "web", after(days=1))]
    assert (read(token).data.sessions, [entry.token_id for entry in read(token).data.tokens]) == ((), ["s-1"])


@pytest.mark.parametrize(
    ("selector", "wire"),
    [
        ({"tenant": "", "subject": "alice"}, {"tenant": "", "subject": "alice"}),
        ({"tenant": "acme"}, {"tenant": "acme", "everyone": True}),
        ({}, {"everyone": True}),
        ({"session_ids": ("s-1",)}, {"session_id": "s-1"}),
        ({"session_ids": ("s-2", "s-1")}, {"session_id": ("s-2", "s-1")}),
        ({"token_id": "t"}, {"token_id": "t"}),
        ({"subject": "a", "client_id": "c"}, {"subject": "a", "client_id": "c"}),
        ({"key_id": "k"}, {"key_id": "k"}),
        ({"device_id": "d"}, {"device_id": "d"}),
        ({"ip_network": "10.0.0.0/8"}, {"ip_network": "10.0.0.0/8"}),
        ({"labels": (("a", "1"), ("b", "2"))}, {"labels": {"a": "1", "b": "2"}}),
        ({"established_after": NOW}, {"established_after": "2026-11-21T09:00:00.000000Z"}),
    ],
)
def test_a_selector_says_on_the_wire_what_it_names(selector: dict[str, Any], wire: dict[str, Any]) -> None:
    assert notices.selector_on_wire(Selector(**selector)) == wire
