"""Revocations and what they ended, as the notifications that announce it.

A pure function of stored rows, with no branch for "seen before": after a crash the same rows give the same bytes under
the same ids. What is announced never changes once it is ended: the database refuses to touch it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import msgspec

from revoker.core.ids import NotificationId, RevocationId, notification_id
from revoker.core.revocation import Revocation, Selector
from schemas.cloudevent import SPECVERSION
from schemas.fields import wire_time
from schemas.session_ended import Kind

SOURCE: Final = "revoker"
MAX_SESSIONS: Final = 500
"""In one part, tokens counted with them."""
MAX_PART_BYTES: Final = 400_000
"""Of ids in one part: far below the 1 MB that brokers take, whatever the ids look like."""

_ENTRY_BYTES: Final = 100
_FEW: Final = MAX_PART_BYTES // (_ENTRY_BYTES + 4 * 3 * 512)
"""So few rows fit into one part whatever they hold."""
_RARE: Final = ("token_id", "client_id", "key_id", "device_id", "ip_network")
_by_ids = attrgetter("session_id", "client_id")
_by_token_id = attrgetter("token_id")
_encode = msgspec.json.Encoder().encode


class EndedSession(msgspec.Struct, frozen=True, gc=False):
    """A session (one client's part of a sign-in) that a revocation ended."""

    session_id: str
    client_id: str
    expires_at: datetime | None
    subject: str | None = None
    """Only where the revocation names no subject."""


class EndedToken(msgspec.Struct, frozen=True, gc=False):
    """A token without a session that a revocation ended."""

    token_id: str
    expires_at: datetime | None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """One record for `session-ended`."""

    id: NotificationId
    kind: Kind
    key: bytes
    body: bytes


_Instant = datetime | str
"""The encoder's own way with times is the quickest; that it leaves out a fraction of zero is not the contract's."""


class _Session(msgspec.Struct, gc=False):
    session_id: str
    client_id: str
    subject: str | msgspec.UnsetType
    expires_at: _Instant | msgspec.UnsetType


class _Token(msgspec.Struct, gc=False):
    token_id: str
    expires_at: _Instant | msgspec.UnsetType


class _Data(msgspec.Struct, kw_only=True, gc=False):
    """`schemas.session_ended.SessionEndedData` as it is written, in this order."""

    revocation_id: RevocationId
    cause: str
    initiator: str
    reason_user: Mapping[str, str]
    kind: Kind
    selector: Mapping[str, Any]
    not_before: _Instant
    keep: Sequence[str]
    requested_at: _Instant
    committed_at: _Instant
    covers_until: _Instant
    keep_clients: Sequence[str] | msgspec.UnsetType
    sessions: Sequence[_Session] = ()
    tokens: Sequence[_Token] | msgspec.UnsetType = msgspec.UNSET


class _Envelope(msgspec.Struct, kw_only=True, gc=False):
    """`schemas.session_ended.SessionEnded` as it is written, in this order."""

    specversion: str = SPECVERSION
    type: str = "session-ended"
    id: NotificationId
    source: str = SOURCE
    tenant: str
    time: _Instant
    data: _Data
    subject: str | msgspec.UnsetType


def ended(
    revocation: Revocation, committed_at: datetime, sessions: Iterable[EndedSession], tokens: Iterable[EndedToken] = ()
) -> list[Notice]:
    """What `revocation` ended by itself: at least one notice, since the predicate counts where no row is known."""
    subject = revocation.selector.subject
    about = subject or ""
    rows = sorted(sessions, key=_by_ids if subject else _by_key)
    loose = sorted(tokens, key=_by_token_id)
    data = _shared(revocation, committed_at, Kind.ENDED)
    told = []
    for number, (part, tokens_of_part) in enumerate(_parts(rows, loose)):
        data.sessions = [_session(row) for row in part]
        data.tokens = [_token(row) for row in tokens_of_part] or msgspec.UNSET
        told.append(_notice(revocation, about, about, number, data))
    return told


def late(revocation: Revocation, subject: str, session: EndedSession, ended_at: datetime) -> Notice:
    """A session that was born ended, or that a token was issued for after its end.

    Made of rows that never change, so that a careless issuer heals the gateways by itself, under one id.
    """
    data = _shared(revocation, ended_at, Kind.LATE)
    data.sessions = [_session(session)]
    return _notice(revocation, subject, f"{session.session_id}\x1f{session.client_id}", 0, data)


def late_token(revocation: Revocation, subject: str, token: EndedToken, ended_at: datetime) -> Notice:
    """The same of a token that has no session."""
    data = _shared(revocation, ended_at, Kind.LATE)
    data.tokens = [_token(token)]
    return _notice(revocation, subject, f"\x1f\x1f{token.token_id}", 0, data)


def selector_on_wire(selector: Selector) -> dict[str, Any]:
    """The named attributes as `schemas.selectors.Selector` says them."""
    wire: dict[str, Any] = {}
    if selector.tenant is not None:
        wire["tenant"] = selector.tenant
    if selector.subject is not None:
        wire["subject"] = selector.subject
    if selector.session_ids:
        wire["session_id"] = selector.session_ids[0] if len(selector.session_ids) == 1 else selector.session_ids
    for name in _RARE:
        value = getattr(selector, name)
        if value is not None:
            wire[name] = value
    if selector.labels:
        wire["labels"] = dict(selector.labels)
    if selector.established_after is not None:
        wire["established_after"] = wire_time(selector.established_after)
    return wire if wire.keys() - {"tenant"} else wire | {"everyone": True}


def _shared(revocation: Revocation, committed_at: datetime, kind: Kind) -> _Data:
    return _Data(
        revocation_id=revocation.id,
        cause=revocation.cause,
        initiator=revocation.initiator,
        reason_user=_in_order(revocation.reason_user),
        kind=kind,
        selector=selector_on_wire(revocation.selector),
        not_before=_instant(revocation.not_before),
        keep=revocation.keep,
        requested_at=_instant(revocation.requested_at),
        committed_at=_instant(committed_at),
        covers_until=_instant(revocation.covers_until),
        keep_clients=revocation.keep_clients or msgspec.UNSET,
    )


def _notice(revocation: Revocation, subject: str, about: str, part: int, data: _Data) -> Notice:
    id_ = notification_id(revocation.id, data.kind, about, part)
    envelope = _Envelope(
        id=id_,
        tenant=revocation.selector.tenant or "",
        time=data.committed_at,
        data=data,
        subject=subject or msgspec.UNSET,
    )
    return Notice(id_, data.kind, (subject or str(revocation.id)).encode(), _encode(envelope))


def _in_order(reasons: Mapping[str, str]) -> Mapping[str, str]:
    """In one order: PostgreSQL gives back a stored one in an order of its own."""
    return reasons if len(reasons) < 2 else dict(sorted(reasons.items()))


def _by_key(row: EndedSession) -> tuple[str, str, str]:
    return row.session_id, row.client_id, row.subject or ""


def _instant(instant: datetime) -> _Instant:
    return instant if instant.microsecond else wire_time(instant)


def _session(row: EndedSession) -> _Session:
    expires_at = row.expires_at
    return _Session(
        row.session_id,
        row.client_id,
        msgspec.UNSET if row.subject is None else row.subject,
        msgspec.UNSET if expires_at is None else _instant(expires_at),
    )


def _token(row: EndedToken) -> _Token:
    return _Token(row.token_id, msgspec.UNSET if row.expires_at is None else _instant(row.expires_at))


def _parts(
    rows: Sequence[EndedSession], tokens: Sequence[EndedToken]
) -> Iterator[tuple[Sequence[EndedSession], Sequence[EndedToken]]]:
    """Both cut by count and by bytes, tokens first; one empty part where there are none."""
    if len(rows) <= _FEW and not tokens:
        yield rows, ()
        return
    lengths = [len(row.token_id) for row in tokens]
    lengths += [len(row.session_id) + len(row.client_id) + len(row.subject or "") for row in rows]
    start, size, first = 0, 0, len(tokens)
    for end, length in enumerate(lengths):
        more = _ENTRY_BYTES + 4 * length
        if end > start and (end - start == MAX_SESSIONS or size + more > MAX_PART_BYTES):
            yield rows[max(0, start - first) : max(0, end - first)], tokens[start:end]
            start, size = end, 0
        size += more
    yield rows[max(0, start - first) :], tokens[start:]
