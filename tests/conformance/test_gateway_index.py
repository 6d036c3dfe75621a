"""The gateway's index, held against the rule: whatever notices come, in whatever order, it answers as the rule does.

The oracle below looks at every notice, one by one, and asks `Revocation.covers`, which the suite beside this one holds
together with SQL. What it adds is what only a gateway does: ids that were named, and times that are not known.
"""

import json
import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from revoker.core import notices
from revoker.core.claims import SessionClaims, to_credential
from revoker.core.index import Index
from revoker.core.notices import EndedSession, EndedToken
from revoker.core.revocation import Cover, Credential, Revocation, Selector
from revoker.core.verdicts import Hold
from revoker.core.verdicts import Revocation as Over
from revoker.core.wire import Notice, decode_notice
from schemas.fields import wire_time
from tests.conformance.test_covering import (
    ADDRESSES,
    BASE,
    CLIENTS,
    LABELS,
    NARROW,
    SESSION_IDS,
    SUBJECTS,
    TENANTS,
    TIMES,
    TOKEN_IDS,
    WIDE,
    at,
    maybe,
    predicates,
)

MORE = settings(max_examples=120)
EXPIRIES = [at(10), at(11)]
"""As `predicates` draws them."""


def seconds(moment: datetime) -> float:
    return moment.timestamp()


# What is told. A sign-in either knows its clients or does not, as the registry has it.

ROWS = st.builds(
    EndedSession,
    session_id=SESSION_IDS,
    client_id=st.just("") | CLIENTS,
    expires_at=st.none(),
    subject=SUBJECTS,
)
LOOSE = st.builds(EndedToken, token_id=TOKEN_IDS, expires_at=st.none())


@st.composite
def told(draw: st.DrawFn) -> tuple[Revocation, bytes]:
    revocation = draw(predicates(NARROW | WIDE))
    rows = draw(st.lists(ROWS, max_size=2))
    subject = revocation.selector.subject
    if subject is not None:
        rows = [msgspec.structs.replace(row, subject=None) for row in rows]
    is_late: bool = draw(st.booleans())
    if rows and is_late:
        row = msgspec.structs.replace(rows[0], subject=None)
        return revocation, notices.late(revocation, subject or draw(SUBJECTS), row, BASE).body
    loose = draw(st.lists(LOOSE, max_size=1))
    return revocation, notices.ended(revocation, BASE, rows, loose)[0].body


@st.composite
def held(draw: st.DrawFn) -> list[bytes]:
    """A hold, perhaps lifted, perhaps more than once; each of these any number of times."""
    id_ = str(draw(st.uuids()))
    selector = draw(WIDE | NARROW)
    placed = envelope(
        "hold-placed",
        hold_id=id_,
        selector=notices.selector_on_wire(selector),
        until=wire_time(draw(st.sampled_from(EXPIRIES))),
        reason_user={"en": "wait"},
    )
    lifts = [envelope("hold-lifted", hold_id=id_, at=wire_time(draw(TIMES))) for _ in range(draw(st.integers(0, 2)))]
    return [placed, *lifts]


def envelope(type_: str, **data: Any) -> bytes:
    tree = {"specversion": "1.0", "type": type_, "id": "n", "source": "revoker", "tenant": "", "data": data}
    return json.dumps(tree).encode()


CLAIMS = (
    st.fixed_dictionaries(
        {
            "tenant": TENANTS,
            "subject": maybe(SUBJECTS),
            "session_id": maybe(SESSION_IDS),
            "client_id": maybe(st.just("") | CLIENTS),
            "token_id": maybe(TOKEN_IDS),
            "key_id": maybe(st.sampled_from(["k-1", "k-2"])),
            "device_id": maybe(st.sampled_from(["d-1", "d-2"])),
            "ip": maybe(ADDRESSES),
            "labels": maybe(LABELS),
            "established_at": maybe(TIMES | st.integers(-1, 1).map(lambda step: int(BASE.timestamp()) + step)),
        }
    )
    .filter(lambda known: known["subject"] or known["session_id"] or known["token_id"])
    .map(lambda known: SessionClaims(**known))
)


# The oracle.


def is_over(history: Iterable[tuple[Revocation, bytes]], claims: SessionClaims, now: datetime) -> bool:
    credential = to_credential(claims)
    return any(
        revocation.covers_until > now
        and (is_named(revocation, json.loads(body), credential) or is_covered(revocation, credential))
        for revocation, body in history
    )


def is_covered(revocation: Revocation, credential: Credential) -> bool:
    cover = revocation.covers(credential)
    if cover is Cover.UNKNOWN and credential.session_id is None:
        timeless = msgspec.structs.replace(revocation.selector, established_after=None)
        return timeless.matches(credential) is Cover.YES
    return cover is Cover.YES


def is_named(revocation: Revocation, notice: Any, c: Credential) -> bool:
    said = notice["data"]
    if c.tenant != notice["tenant"]:
        return False
    sessions = [
        (row["session_id"], row["client_id"], row.get("subject", notice.get("subject"))) for row in said["sessions"]
    ]
    tokens = [(row["token_id"], notice.get("subject")) for row in said.get("tokens", ())]
    selector = revocation.selector
    if selector.tenant is not None:
        if named(selector) <= {"subject", "session_ids", "client_id"} and not (
            selector.client_id and revocation.keep_clients
        ):
            sessions += [
                (id_, selector.client_id or "", selector.subject)
                for id_ in selector.session_ids
                if id_ not in revocation.keep
            ]
        if named(selector) <= {"subject", "token_id"} and selector.token_id and not revocation.keep:
            tokens += [] if revocation.keep_clients else [(selector.token_id, selector.subject)]
    return any(
        c.session_id == id_ and whose in {None, c.subject or whose} and of_client(client, c, revocation.keep_clients)
        for id_, client, whose in sessions
    ) or any(c.token_id == id_ and whose in {None, c.subject or whose} for id_, whose in tokens)


def of_client(client: str, c: Credential, keep_clients: Sequence[str]) -> bool:
    return c.client_id in {None, client} if client else c.client_id not in keep_clients


def named(selector: Selector) -> set[str]:
    return {name for name in selector.__struct_fields__ if getattr(selector, name)} - {"tenant"}


def is_held(history: Iterable[Sequence[bytes]], claims: SessionClaims, now: datetime) -> bool:
    return any(stands(list(map(json.loads, told)), claims, now) for told in history)


def stands(told: Sequence[Any], claims: SessionClaims, now: datetime) -> bool:
    placed, *lifts = told
    ends = min([placed["data"]["until"], *(lift["data"]["at"] for lift in lifts)])
    wire = dict(placed["data"]["selector"])
    ids = wire.pop("session_id", ())
    after = wire.pop("established_after", None)
    wire.pop("everyone", None)
    selector = Selector(
        **wire | {"labels": tuple(wire.get("labels", {}).items())},
        session_ids=(ids,) if isinstance(ids, str) else tuple(ids),
        established_after=None if after is None else datetime.fromisoformat(after),
    )
    credential = to_credential(claims)
    cover = selector.matches(credential)
    timeless = msgspec.structs.replace(selector, established_after=None)
    matches = cover is Cover.YES or (
        cover is Cover.UNKNOWN and claims.session_id is None and timeless.matches(credential) is Cover.YES
    )
    return wire_time(now) < ends and matches


# The laws.


def index_of(bodies: Iterable[bytes]) -> Index:
    index = Index()
    for body in bodies:
        index.apply(decoded(body))
    return index


def decoded(body: bytes) -> Notice:
    notice = decode_notice(body)
    assert notice is not None
    return notice


def answer(index: Index, claims: SessionClaims, now: datetime) -> type | None:
    found = index.find(claims, seconds(now))
    return None if found is None else type(found)


def expected(
    revocations: Sequence[tuple[Revocation, bytes]],
    holds: Sequence[Sequence[bytes]],
    claims: SessionClaims,
    now: datetime,
) -> type | None:
    if is_over(revocations, claims, now):
        return Over
    return Hold if is_held(holds, claims, now) else None


TOLD = st.lists(told(), max_size=6)
HELD = st.lists(held(), max_size=2)


@MORE
@given(TOLD, HELD, st.lists(CLAIMS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_it_answers_as_the_rule_does_in_whatever_order_it_heard(
    revocations: list[tuple[Revocation, bytes]],
    holds: list[list[bytes]],
    asked: list[SessionClaims],
    chance: random.Random,
) -> None:
    bodies = [body for _, body in revocations] + [body for told in holds for body in told]
    shuffled = [*bodies, *chance.sample(bodies, len(bodies) // 2)]
    chance.shuffle(shuffled)
    index = index_of(shuffled)

    for claims in asked:
        for now in (BASE, at(3), at(10), at(11)):
            assert answer(index, claims, now) is expected(revocations, holds, claims, now)


@MORE
@given(TOLD, TOLD, HELD, st.lists(CLAIMS, min_size=1, max_size=5), st.sampled_from([BASE, at(3), *EXPIRIES]))
def test_what_expired_may_be_forgotten_in_the_middle_and_heard_again(
    first: list[tuple[Revocation, bytes]],
    second: list[tuple[Revocation, bytes]],
    holds: list[list[bytes]],
    asked: list[SessionClaims],
    now: datetime,
) -> None:
    index = index_of(body for _, body in first)
    index.forget(seconds(now), limit=1_500)
    for body in [*(body for told in holds for body in told), *(body for _, body in [*second, *first])]:
        index.apply(decoded(body))
    index.forget(seconds(now))
    index.forget(seconds(now))

    for claims in asked:
        for later in {now, *EXPIRIES} - {moment for moment in EXPIRIES if moment < now}:
            assert answer(index, claims, later) is expected([*first, *second], holds, claims, later)


@given(TOLD, HELD)
def test_what_was_heard_is_no_news(revocations: list[tuple[Revocation, bytes]], holds: list[list[bytes]]) -> None:
    heard = [decoded(body) for body in [*(body for _, body in revocations), *(body for told in holds for body in told)]]
    index = Index()
    for notice in heard:
        index.apply(notice)
    before = index.counts(), index.size_bytes

    assert [index.apply(notice) for notice in heard] == [None] * len(heard)
    assert (index.counts(), index.size_bytes) == before


@MORE
@given(TOLD, told(), CLAIMS)
def test_whoever_falls_by_a_notice_is_among_those_that_it_hits(
    before: list[tuple[Revocation, bytes]], last: tuple[Revocation, bytes], claims: SessionClaims
) -> None:
    index = index_of(body for _, body in before)
    was_in = index.find(claims) is None
    hit = index.apply(decoded(last[1]))

    if was_in and index.find(claims) is not None:
        assert hit is not None
        assert (
            hit.wide
            or (claims.tenant, claims.subject) in hit.subjects
            or (claims.tenant, claims.session_id) in hit.session_ids
            or (claims.tenant, claims.token_id) in hit.token_ids
        )


@given(TOLD)
def test_all_is_gone_when_all_has_expired(revocations: list[tuple[Revocation, bytes]]) -> None:
    index = index_of(body for _, body in revocations)
    empty = Index().size_bytes
    index.forget(seconds(at(12)), limit=10**9)

    assert len(index) == 0
    # Numbers in the ledger stay, to be given out again.
    assert index.size_bytes - empty <= 66 * len(revocations)


@MORE
@given(predicates(NARROW | WIDE), CLAIMS)
def test_a_predicate_alone_is_the_rule(revocation: Revocation, claims: SessionClaims) -> None:
    """Said once more without the ids, since this is what the vectors publish."""
    body = notices.ended(revocation, BASE, ())[0].body
    found = index_of([body]).find(claims)
    cover = revocation.covers(to_credential(claims))

    if cover is Cover.YES:
        assert found is not None
        assert found.id == str(revocation.id)
    if cover is Cover.NO:
        assert found is None
