"""What a gateway reads is what `schemas` describes."""

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from revoker.core import notices
from revoker.core.claims import from_micros
from revoker.core.notices import EndedSession, EndedToken
from revoker.core.revocation import Selector
from revoker.core.wire import (
    HoldLiftedNotice,
    HoldPlacedNotice,
    NoticeError,
    SessionEndedNotice,
    WireSelector,
    decode_notice,
)
from schemas import selectors
from schemas.session_ended import Notification
from tests import factories
from tests.factories import NOW, after

PUBLISHED = sorted((Path(__file__).parents[4] / "tests" / "wire" / "v1" / "session-ended").glob("*.json"))
READER: TypeAdapter[Any] = TypeAdapter(Notification)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_it_reads_what_the_schema_reads(path: Path) -> None:
    notice, described = decode_notice(path.read_bytes()), READER.validate_json(path.read_bytes())
    data = described.data

    assert notice is not None
    assert (notice.id, notice.tenant, notice.subject) == (described.id, described.tenant, described.subject)
    match notice:
        case SessionEndedNotice():
            assert (notice.revocation_id, notice.cause, notice.kind) == (data.revocation_id, data.cause, data.kind)
            assert (notice.keep, notice.keep_clients) == (data.keep, data.keep_clients)
            assert [from_micros(t) for t in (notice.not_before, notice.requested_at, notice.committed_at)] == [
                *(data.not_before, data.requested_at, data.committed_at)
            ]
            assert from_micros(notice.covers_until) == data.covers_until
            assert [(s.session_id, s.client_id, s.subject) for s in notice.sessions] == [
                (s.session_id, s.client_id, s.subject) for s in data.sessions
            ]
            assert [t.token_id for t in notice.tokens] == [t.token_id for t in data.tokens]
            assert same(notice.selector, data.selector)
            assert notice.revocation.reason_user == data.reason_user
        case HoldPlacedNotice():
            assert (notice.hold_id, from_micros(notice.until)) == (data.hold_id, data.until)
            assert same(notice.selector, data.selector)
            assert notice.hold.until == data.until
        case HoldLiftedNotice():
            assert (notice.hold_id, from_micros(notice.at)) == (data.hold_id, data.at)


def same(read: WireSelector | None, described: selectors.Selector) -> bool:
    return read is not None and msgspec.structs.asdict(read) == described.model_dump()


def test_a_selector_has_the_fields_that_the_schema_has() -> None:
    assert set(WireSelector.__struct_fields__) == set(selectors.Selector.model_fields)


def test_it_reads_what_we_write() -> None:
    selector = Selector(tenant="acme", labels=(("a", "1"),), established_after=after(hours=-1), session_ids=("a", "b"))
    rows = [EndedSession("s-1", "web", NOW, "alice"), EndedSession("s-2", "", None, "bob")]
    body = notices.ended(factories.revocation(selector, keep=("k",)), NOW, rows, [EndedToken("t-1", NOW)])[0].body
    notice = decode_notice(body)

    assert isinstance(notice, SessionEndedNotice)
    assert notice.selector is not None
    assert notice.selector.session_ids == ("a", "b")
    assert notice.selector.established_after == after(hours=-1)
    assert [(s.session_id, s.client_id, s.subject) for s in notice.sessions] == [
        ("s-1", "web", "alice"),
        ("s-2", "", "bob"),
    ]


def changed(**data: Any) -> bytes:
    tree = json.loads(next(path for path in PUBLISHED if path.stem == "session-ended").read_bytes())
    tree["data"] |= data
    return json.dumps(tree).encode()


def test_what_it_does_not_know_it_leaves_out() -> None:
    assert decode_notice(b'{"type": "session-suspended", "id": "x", "data": 7}') is None
    assert decode_notice(changed(kind="another", more={"a": [1]})) is not None


def test_a_selector_to_come_matches_nothing_but_the_ids_are_read() -> None:
    notice = decode_notice(changed(selector={"tenant": "", "shoe_size": 43}))

    assert isinstance(notice, SessionEndedNotice)
    assert notice.selector is None
    assert [each.session_id for each in notice.sessions] == ["s-2"]


JUNK = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"type": 7}',
    b'{"type": "session-ended"}',
    b'{"type": "hold-placed", "id": "x", "data": {"hold_id": "h", "selector": {"a": 1}}}',
    changed(selector=None),
    changed(selector={}),
    changed(selector={"tenant": "acme"}),
    changed(selector={"everyone": False}),
    changed(selector={"ip_network": "everywhere"}),
    changed(selector={"subject": 7}),
    changed(not_before="2026-11-21T09:00:00"),
    changed(not_before=1_795_251_600),
    changed(covers_until=None),
    changed(sessions=[{"session_id": "a\x1fb"}]),
    changed(sessions=[{"session_id": "a"}], selector={"new": 1, "subject": "a\x1eb"}, keep=["\x00"]),
    changed(sessions=[{"client_id": "web"}]),
]


@pytest.mark.parametrize("value", JUNK)
def test_junk_is_called_junk(value: bytes) -> None:
    with pytest.raises(NoticeError):
        decode_notice(value)


TREES = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "data", "selector", "id"]), inner),
)


@given(st.binary() | TREES.map(lambda tree: json.dumps(tree).encode()))
def test_nothing_else_is_ever_raised(value: bytes) -> None:
    with contextlib.suppress(NoticeError):
        assert decode_notice(value) is None
