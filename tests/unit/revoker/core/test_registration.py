"""What a chunk of activity says in the end, in whatever order it was said."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.core.registration import Seen, SessionSeen, TokenSeen, Visit, is_ahead, latest, merge, seen, too_old
from tests import factories
from tests.factories import NOW, after, established, issued, presented, registered

MOMENTS = st.integers(0, 5).map(lambda step: NOW + timedelta(microseconds=step))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


SESSIONS = st.builds(
    SessionSeen,
    tenant=st.just(""),
    subject=st.just("alice"),
    session_id=st.sampled_from(["s-1", "s-2"]),
    client_id=st.sampled_from(["", "web"]),
    established_at=MOMENTS,
    expires_at=maybe(MOMENTS),
    device_id=maybe(st.sampled_from(["d-1", "d-2"])),
    device_name=maybe(st.sampled_from(["Firefox", "curl"])),
    ip=maybe(st.sampled_from(["10.0.0.1", "10.0.0.2"])),
    key_id=maybe(st.sampled_from(["k-1", "k-2"])),
    labels=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
)
TOKENS = st.builds(
    TokenSeen,
    tenant=st.just(""),
    subject=st.just("alice"),
    token_id=st.sampled_from(["t-1", "t-2"]),
    session_id=maybe(st.sampled_from(["s-1", "s-2"])),
    client_id=maybe(st.just("web")),
    kind=st.just("refresh"),
    issued_at=MOMENTS,
    expires_at=maybe(MOMENTS),
)
VISITS = st.builds(
    Visit,
    tenant=st.just(""),
    subject=st.just("alice"),
    session_id=st.sampled_from(["s-1", "s-2"]),
    client_id=maybe(st.just("web")),
    at=MOMENTS,
    ip=maybe(st.sampled_from(["10.0.0.1", "10.0.0.2"])),
    expires_at=maybe(MOMENTS),
)
ROWS = st.lists(SESSIONS | TOKENS | VISITS, max_size=12)


@given(ROWS, st.integers(0, 12))
def test_merging_in_pieces_is_merging_at_once(rows: list[Seen], cut: int) -> None:
    first, second = merge(rows[:cut]), merge(rows[cut:])
    pieces: list[Seen] = []
    for part in (first, second):
        pieces += [*part.sessions, *part.tokens, *part.visits]

    once, again = merge(rows), merge(pieces)
    assert (again.sessions, again.tokens) == (once.sessions, once.tokens)
    # Of the address of a visit only the last chunk's is promised.
    assert [(row.key, row.at, row.expires_at) for row in again.visits] == [
        (row.key, row.at, row.expires_at) for row in once.visits
    ]


@given(ROWS)
def test_merging_again_changes_nothing(rows: list[Seen]) -> None:
    once = merge(rows)

    assert merge([*once.sessions, *once.tokens, *once.visits]) == once
    assert merge([*rows, *once.sessions, *once.tokens]).sessions == once.sessions


@given(st.lists(SESSIONS | TOKENS, max_size=8), st.randoms())
def test_times_do_not_depend_on_the_order(rows: list[Seen], chance: Any) -> None:
    before = merge(rows)
    chance.shuffle(rows)
    after_ = merge(rows)

    assert [(row.key, row.established_at, row.expires_at) for row in before.sessions] == [
        (row.key, row.established_at, row.expires_at) for row in after_.sessions
    ]
    assert [(row.key, row.issued_at, row.expires_at) for row in before.tokens] == [
        (row.key, row.issued_at, row.expires_at) for row in after_.tokens
    ]


@given(ROWS)
def test_rows_come_in_key_order_once_each(rows: list[Seen]) -> None:
    merged = merge(rows)

    for keys in ([row.key for row in merged.sessions], [row.key for row in merged.tokens]):
        assert keys == sorted(set(keys))
    visited = [row.key for row in merged.visits]
    assert len(visited) == len(set(visited)) == len({row.key for row in rows if isinstance(row, Visit)})
    assert visited == sorted(visited, key=lambda key: (*key[:3], key[3] or ""))


def test_whose_rows_must_be_locked() -> None:
    chunk = factories.registration(
        established("s-1", "alice"), issued("t-1", "bob", "acme"), issued("t-2", "alice"), presented("s-1", "carol")
    )

    assert chunk.subjects == {("", "alice"), ("acme", "bob")}, "a visit ends nothing, and starts nothing"


def test_the_first_that_is_known_stays_and_times_reach_out() -> None:
    first = registered(established(expires_at=after(hours=1), ip="10.0.0.1", labels={"a": "1"}))
    second = registered(
        established(
            established_at=after(hours=-2),
            expires_at=after(hours=3),
            ip="10.0.0.2",
            device_id="d-1",
            user_agent="Firefox",
            key_id="k-1",
            labels={"a": "2", "b": "2"},
        )
    )
    third = registered(established(device_id="d-2", user_agent="curl", key_id="k-2"))
    [row] = merge([first, second, third]).sessions

    assert (row.established_at, row.expires_at) == (after(hours=-2), after(hours=3))
    assert (row.ip, row.device_id, row.device_name, row.key_id) == ("10.0.0.1", "d-1", "Firefox", "k-1")
    assert row.labels == {"a": "1", "b": "2"}


def test_the_last_visit_counts_with_the_last_address_that_is_known() -> None:
    visits = [
        registered(presented(time=after(minutes=-3), ip="10.0.0.3", expires_at=after(hours=2))),
        registered(presented(time=after(minutes=-1), ip="10.0.0.1", expires_at=after(hours=1))),
        registered(presented(time=NOW)),
    ]

    for order in itertools.permutations(visits[:2]):
        [visit] = merge([*order, visits[2]]).visits
        assert (visit.at, visit.ip, visit.expires_at) == (NOW, "10.0.0.1", after(hours=2))


# What one event says.


@pytest.mark.parametrize(
    ("time", "established_at", "expected"),
    [
        (None, None, NOW),
        (after(minutes=-1), None, after(minutes=-1)),
        (after(minutes=-1), after(hours=-1), after(hours=-1)),
        (after(minutes=1), None, NOW),
        (None, after(minutes=1), NOW),
        (after(minutes=-2), after(minutes=-1), after(minutes=-1)),
    ],
)
def test_a_session_began_when_its_first_credential_was_checked(
    time: datetime | None, established_at: datetime | None, expected: datetime
) -> None:
    data = {"session_id": "s-1"} | ({} if established_at is None else {"established_at": established_at})
    attributes: dict[str, Any] = {} if time is None else {"time": time}
    event = factories.activity("session-established", data=data, **attributes)
    row = registered(event)

    assert isinstance(row, SessionSeen)
    assert row.established_at == expected


def test_a_session_says_what_it_was_told() -> None:
    told = {"client_id": "web", "device_id": "d", "user_agent": "curl/8", "ip": "::ffff:10.0.0.1", "key_id": "k"}
    event = established("s-1", "alice", "acme", expires_at=after(days=1), labels={"a": "1"}, **told)
    row = seen(event, NOW, lambda user_agent: user_agent.partition("/")[0])

    assert row == SessionSeen(
        tenant="acme",
        subject="alice",
        session_id="s-1",
        client_id="web",
        established_at=after(hours=-1),
        expires_at=after(days=1),
        device_id="d",
        device_name="curl",
        ip="10.0.0.1",
        key_id="k",
        labels={"a": "1"},
    )


def test_a_session_that_says_little_has_no_client_and_no_device() -> None:
    def never(user_agent: str) -> str:
        raise AssertionError(user_agent)

    row = seen(established(), NOW, never)

    assert isinstance(row, SessionSeen)
    assert (row.client_id, row.device_name, row.expires_at, row.labels) == ("", None, None, {})


@pytest.mark.parametrize(("time", "issued_at"), [(after(minutes=-1), after(minutes=-1)), (after(days=1), NOW)])
def test_a_token_says_what_it_was_told(time: datetime, issued_at: datetime) -> None:
    row = registered(
        issued("t-1", session_id="s-1", client_id="web", kind="access", time=time, expires_at=after(days=1))
    )

    assert row == TokenSeen(
        tenant="",
        subject="alice",
        token_id="t-1",
        session_id="s-1",
        client_id="web",
        kind="access",
        issued_at=issued_at,
        expires_at=after(days=1),
    )


@pytest.mark.parametrize(("time", "at"), [(after(minutes=-1), after(minutes=-1)), (after(days=1), NOW)])
def test_a_visit_says_what_it_was_told(time: datetime, at: datetime) -> None:
    row = registered(presented(client_id="web", ip="10.0.0.1", time=time, expires_at=after(days=1)))

    assert row == Visit(
        tenant="",
        subject="alice",
        session_id="s-1",
        client_id="web",
        at=at,
        ip="10.0.0.1",
        expires_at=after(days=1),
        source="login",
    )


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (established(established_at=after(days=-30)), False),
        (established(established_at=after(days=-30) - timedelta(microseconds=1)), True),
        (established(established_at=datetime(1, 1, 1, tzinfo=UTC)), True),
        (issued(time=after(days=-30)), False),
        (issued(time=after(days=-31)), True),
        (presented(time=after(days=-31)), False),
    ],
)
def test_what_was_over_by_age_alone_is_too_old(event: Any, expected: bool) -> None:  # noqa: FBT001 - what a table expects
    assert too_old(registered(event), NOW, timedelta(days=30)) is expected


def test_the_later_of_two_times() -> None:
    assert latest(NOW, after(hours=1)) == latest(after(hours=1), NOW) == after(hours=1)
    assert latest(None, NOW) == latest(NOW, None) == NOW
    assert latest(None, None) is None


@pytest.mark.parametrize(
    ("event", "ahead"),
    [
        (established(), False),
        (established(established_at="2999-01-01T00:00:00Z"), True),
        (factories.activity("session-presented", time="2999-01-01T00:00:00Z", data={"session_id": "s-1"}), True),
        (issued(), False),
    ],
)
def test_a_time_after_the_append_is_ahead_whichever_it_is(event: Any, ahead: bool) -> None:  # noqa: FBT001 - a table
    assert is_ahead(event, after(days=1)) is ahead
