"""The rule, held against itself: the laws of its lattice, its twin in SQL, and an oracle that knows no order."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.revocation import Cover, Credential, Revocation, Selector, dominates
from revoker.storage import covering
from tests import factories

BASE = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def at(step: int) -> datetime:
    return BASE + timedelta(microseconds=step)


# Few values of everything, so that they collide.
STEPS = st.integers(0, 5)
TIMES = STEPS.map(at)
TENANTS = st.sampled_from(["", "acme"])
SUBJECTS = st.sampled_from(["alice", "bob"])
SESSION_IDS = st.sampled_from(["s-1", "s-2", "s-3"])
CLIENTS = st.sampled_from(["web", "app"])
TOKEN_IDS = st.sampled_from(["t-1", "t-2"])
LABELS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]), max_size=2)
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.200", "10.0.1.1", "::1", "2001:db8::1"])
NETWORKS = st.sampled_from(["10.0.0.0/24", "10.0.0.0/25", "10.0.0.1/32", "0.0.0.0/0", "::/0", "2001:db8::/32"])


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def few(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """None more often than not: what names many attributes matches nothing."""
    return st.just(()) | st.lists(values, max_size=2, unique=True).map(tuple)


NARROW = st.builds(
    Selector, tenant=TENANTS, subject=maybe(SUBJECTS), session_ids=few(SESSION_IDS), client_id=maybe(CLIENTS)
) | st.builds(Selector, tenant=TENANTS, subject=maybe(SUBJECTS), token_id=TOKEN_IDS)
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "tenant": TENANTS,
    "subject": SUBJECTS,
    "session_ids": few(SESSION_IDS),
    "token_id": TOKEN_IDS,
    "client_id": CLIENTS,
    "key_id": st.sampled_from(["k-1", "k-2"]),
    "device_id": st.sampled_from(["d-1", "d-2"]),
    "ip_network": NETWORKS,
    "labels": LABELS.map(lambda labels: tuple(sorted(labels.items()))),
    "established_after": TIMES,
}
WIDE = (
    st.lists(st.sampled_from(sorted(NAMED)), max_size=3, unique=True)
    .flatmap(lambda names: st.fixed_dictionaries({name: NAMED[name] for name in names}))
    .map(lambda named: Selector(**named))
)


def predicates(selectors: st.SearchStrategy[Selector]) -> st.SearchStrategy[Revocation]:
    return st.builds(
        factories.revocation,
        selectors,
        not_before=TIMES,
        keep=few(SESSION_IDS),
        keep_clients=st.just(()) | st.lists(CLIENTS, max_size=1).map(tuple),
        enforced=st.sampled_from([True, True, True, False]),
        covers_until=st.sampled_from([at(10), at(10), at(11)]),
    )


CREDENTIALS = st.builds(
    Credential,
    tenant=TENANTS,
    subject=maybe(SUBJECTS),
    session_id=maybe(SESSION_IDS),
    client_id=maybe(st.just("") | CLIENTS),
    token_id=maybe(TOKEN_IDS),
    key_id=maybe(st.sampled_from(["k-1", "k-2"])),
    device_id=maybe(st.sampled_from(["d-1", "d-2"])),
    ip=maybe(ADDRESSES),
    labels=maybe(LABELS),
    established_at=maybe(TIMES),
    whole_second=st.booleans(),
)


def is_ended(history: Sequence[Revocation], credential: Credential) -> bool:
    return any(revocation.covers(credential) is Cover.YES for revocation in history)


# The lattice.


@given(st.lists(predicates(WIDE), max_size=6), st.lists(predicates(WIDE), max_size=6), CREDENTIALS, st.randoms())
def test_order_duplication_and_splitting_change_nothing(
    first: list[Revocation], second: list[Revocation], credential: Credential, chance: random.Random
) -> None:
    shuffled = [*first, *second, *first]
    chance.shuffle(shuffled)

    assert is_ended(shuffled, credential) is (is_ended(first, credential) or is_ended(second, credential))


@given(predicates(WIDE), CREDENTIALS, st.data())
def test_to_know_more_turns_unknown_into_an_answer_and_never_turns_an_answer(
    revocation: Revocation, credential: Credential, data: st.DataObject
) -> None:
    known = data.draw(CREDENTIALS)
    blank = {
        name: getattr(known, name)
        for name in Credential.__dataclass_fields__
        if getattr(credential, name) is None and name not in {"session_id", "client_id"}
    }
    before, after = revocation.covers(credential), revocation.covers(replace(credential, **blank))

    assert before in {Cover.UNKNOWN, after}


@given(predicates(WIDE), CREDENTIALS, st.integers(0, 999_999))
def test_a_whole_second_is_answered_as_every_moment_in_it_would_be(
    revocation: Revocation, credential: Credential, microsecond: int
) -> None:
    truncated = replace(credential, established_at=BASE, whole_second=True)
    exact = replace(credential, established_at=at(microsecond), whole_second=False)

    assert revocation.covers(truncated) in {Cover.UNKNOWN, revocation.covers(exact)}


@given(predicates(WIDE), predicates(WIDE), CREDENTIALS)
def test_what_dominates_covers_all_that_the_other_covers(
    first: Revocation, second: Revocation, credential: Credential
) -> None:
    if dominates(first, second):
        assert first.covers(credential) is Cover.YES or second.covers(credential) is not Cover.YES
        assert first.covers_until >= second.covers_until


@given(predicates(NARROW))
def test_everything_dominates_itself_as_long_as_it_is_enforced(revocation: Revocation) -> None:
    assert dominates(revocation, revocation) is revocation.enforced


# The twin in SQL: every revocation against every row, in one round trip.

_AGAINST = """
select r.ordinal, {alias}.ordinal
from unnest(cast(:left as jsonb[])) with ordinality as lefts(row, ordinal)
cross join lateral (select lefts.ordinal, f.* from jsonb_populate_record(null\\:\\:revocations, lefts.row) as f) as r
cross join unnest(cast(:right as jsonb[])) with ordinality as rights(row, ordinal)
cross join lateral (
    select rights.ordinal, f.* from jsonb_populate_record(null\\:\\:{table}, rights.row) as f) as {alias}
where {condition}
"""
# A pair that differs is a small enough example; to look for a smaller matrix takes minutes.
MATRICES = settings(
    max_examples=80,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def revocation_row(revocation: Revocation) -> dict[str, Any]:
    selector = revocation.selector
    return {
        "tenant": selector.tenant or "",
        "any_tenant": selector.tenant is None,
        "subject": selector.subject or "",
        "session_ids": list(selector.session_ids) or None,
        "token_id": selector.token_id,
        "client_id": selector.client_id,
        "key_id": selector.key_id,
        "device_id": selector.device_id,
        "ip_network": selector.ip_network,
        "labels": dict(selector.labels),
        "established_after": selector.established_after,
        "not_before": revocation.not_before,
        "keep": revocation.keep,
        "keep_clients": revocation.keep_clients,
        "covers_until": revocation.covers_until,
        "enforced": revocation.enforced,
    }


def session_row(credential: Credential) -> dict[str, Any]:
    return {
        "tenant": credential.tenant,
        "subject": credential.subject,
        "session_id": credential.session_id,
        "client_id": credential.client_id,
        "established_at": credential.established_at,
        "key_id": credential.key_id,
        "device_id": credential.device_id,
        "ip": credential.ip,
        "labels": credential.labels,
    }


def token_row(credential: Credential) -> dict[str, Any]:
    return {
        "tenant": credential.tenant,
        "subject": credential.subject,
        "token_id": credential.token_id,
        "session_id": credential.session_id,
        "client_id": credential.client_id,
        "issued_at": credential.established_at,
    }


async def agree(
    reader: AsyncEngine,
    condition: str,
    stored: list[Revocation],
    against: tuple[str, str, list[dict[str, Any]]],
    expected: Callable[[Revocation, int], bool],
) -> None:
    """Asserts that `condition` holds in SQL for just those pairs for which `expected` says so."""
    alias, table, rows = against
    statement = _AGAINST.format(alias=alias, table=table, condition=condition.replace("::", "\\:\\:"))
    columns = {
        "left": [json.dumps(revocation_row(each), default=str) for each in stored],
        "right": [json.dumps(row, default=str) for row in rows],
    }
    async with reader.connect() as connection:
        found = {(i - 1, j - 1) for i, j in (await connection.execute(text(statement), columns)).all()}
    wrong = [
        (each, row, (i, j) in found)
        for i, each in enumerate(stored)
        for j, row in enumerate(rows)
        if ((i, j) in found) is not expected(each, j)
    ]
    assert not wrong, f"{len(wrong)} pairs differ, such as {wrong[0]}"


SESSIONS = st.builds(
    Credential,
    tenant=TENANTS,
    subject=SUBJECTS,
    session_id=SESSION_IDS,
    client_id=st.just("") | CLIENTS,
    key_id=maybe(st.sampled_from(["k-1", "k-2"])),
    device_id=maybe(st.sampled_from(["d-1", "d-2"])),
    ip=maybe(ADDRESSES),
    labels=LABELS,
    established_at=TIMES,
)
TOKENS = st.builds(
    Credential,
    tenant=TENANTS,
    subject=SUBJECTS,
    session_id=maybe(SESSION_IDS),
    token_id=TOKEN_IDS,
    client_id=maybe(CLIENTS),
    established_at=TIMES,
)


@MATRICES
@given(st.lists(predicates(NARROW | WIDE), min_size=8, max_size=16), st.lists(SESSIONS, min_size=10, max_size=30))
async def test_the_database_covers_the_sessions_that_python_covers(
    reader: AsyncEngine, stored: list[Revocation], known: list[Credential]
) -> None:
    rows = [session_row(credential) for credential in known]

    def expected(revocation: Revocation, number: int) -> bool:
        return revocation.enforced and revocation.covers(known[number]) is Cover.YES

    await agree(reader, covering.SESSION, stored, ("s", "sessions", rows), expected)


@MATRICES
@given(st.lists(predicates(NARROW | WIDE), min_size=8, max_size=16), st.lists(TOKENS, min_size=10, max_size=30))
async def test_the_database_covers_the_tokens_that_python_covers(
    reader: AsyncEngine, stored: list[Revocation], known: list[Credential]
) -> None:
    rows = [token_row(credential) for credential in known]

    def expected(revocation: Revocation, number: int) -> bool:
        # A token that has a session lives and dies with it, unless it is named.
        stands_for_itself = revocation.selector.token_id is not None or known[number].session_id is None
        return revocation.enforced and stands_for_itself and revocation.covers(known[number]) is Cover.YES

    await agree(reader, covering.TOKEN, stored, ("t", "tokens", rows), expected)


@MATRICES
@given(st.lists(predicates(NARROW), min_size=8, max_size=16), st.lists(predicates(NARROW), min_size=8, max_size=16))
async def test_the_database_knows_what_dominates_as_python_does(
    reader: AsyncEngine, stored: list[Revocation], new: list[Revocation]
) -> None:
    rows = [revocation_row(each) for each in new]

    def expected(revocation: Revocation, number: int) -> bool:
        return dominates(revocation, new[number])

    await agree(reader, covering.DOMINATES, stored, ("n", "revocations", rows), expected)


EACH_ALONE: list[dict[str, Any]] = [
    *({"tenant": value} for value in ("", "acme")),
    *({"subject": value} for value in ("alice", "bob")),
    *({"session_ids": value} for value in (("s-1",), ("s-2", "s-3"))),
    *({"token_id": value} for value in ("t-1", "t-2")),
    *({"client_id": value} for value in ("web", "app")),
    *({"key_id": value} for value in ("k-1", "k-2")),
    *({"device_id": value} for value in ("d-1", "d-2")),
    *({"ip_network": value} for value in ("10.0.0.0/24", "10.0.0.1/32", "0.0.0.0/0", "::/0", "2001:db8::/32")),
    *({"labels": value} for value in ((("a", "1"),), (("a", "1"), ("b", "2")))),
    *({"established_after": at(step)} for step in (0, 2, 3)),
]
SESSION: dict[str, Any] = {"tenant": "", "subject": "alice", "session_id": "s-1", "client_id": "", "labels": {}}
TOKEN: dict[str, Any] = {"tenant": "", "subject": "alice", "token_id": "t-1"}
VARIED: list[dict[str, Any]] = [
    {},
    {"tenant": "acme"},
    {"subject": "bob"},
    {"session_id": "s-2"},
    {"client_id": "web"},
    {"key_id": "k-1"},
    {"device_id": "d-1"},
    *({"ip": value} for value in ("10.0.0.1", "10.0.0.2", "10.1.0.0", "::1", "2001:db8::1")),
    *({"labels": value} for value in ({"a": "1"}, {"a": "2"}, {"a": "1", "b": "2", "c": "3"})),
    *({"established_at": at(step)} for step in (1, 2, 3, 4)),
]


async def test_each_attribute_alone_is_compared_as_python_does(reader: AsyncEngine) -> None:
    stored = [
        factories.revocation(Selector(**selector), not_before=at(3), **kept)
        for selector in EACH_ALONE
        for kept in ({}, {"keep": ("s-1",)}, {"keep_clients": ("web",)})
    ]
    known = [Credential(**{**SESSION, "established_at": at(2), **varied}) for varied in VARIED]
    tokens = [
        Credential(**{**TOKEN, "established_at": at(2), **varied}) for varied in VARIED if varied.keys() < TOKEN_FACTS
    ]

    def covers_session(revocation: Revocation, number: int) -> bool:
        return revocation.covers(known[number]) is Cover.YES

    def covers_token(revocation: Revocation, number: int) -> bool:
        stands_for_itself = revocation.selector.token_id is not None or tokens[number].session_id is None
        return stands_for_itself and revocation.covers(tokens[number]) is Cover.YES

    await agree(reader, covering.SESSION, stored, ("s", "sessions", list(map(session_row, known))), covers_session)
    await agree(reader, covering.TOKEN, stored, ("t", "tokens", list(map(token_row, tokens))), covers_token)


TOKEN_FACTS = {"tenant", "subject", "session_id", "client_id", "token_id", "established_at"}
