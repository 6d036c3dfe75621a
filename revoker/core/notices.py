"""Revocations and what they ended, as the notifications that announce it.

A pure function of stored rows, with no branch for "seen before": after a crash the same rows give the same bytes under
the same ids. What is announced never changes once it is ended: the database refuses to touch it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from revoker.core.ids import NotificationId, notification_id
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


class Notice(msgspec.Struct, frozen=True):
    """One record for `session-ended`."""

    id: NotificationId
    kind: Kind
    key: bytes
    body: bytes


def ended(
    revocation: Revocation, committed_at: datetime, sessions: Iterable[EndedSession], tokens: Iterable[EndedToken] = ()
) -> list[Notice]:
    """What `revocation` ended by itself: at least one notice, since the predicate counts where no row is known."""
    about = revocation.selector.subject or ""
    rows = sorted(sessions, key=_by_key)
    loose = sorted(tokens, key=lambda row: row.token_id)
    shared = _shared(revocation, committed_at, Kind.ENDED)
    told = []
    for number, (part, tokens_of_part) in enumerate(_parts(rows, loose)):
        data = shared | {"sessions": [_session(row) for row in part]}
        if tokens_of_part:
            data["tokens"] = [_token(row) for row in tokens_of_part]
        told.append(_notice(revocation, about, about, number, data))
    return told


def late(revocation: Revocation, subject: str, session: EndedSession, ended_at: datetime) -> Notice:
    """A session that was born ended, or that a token was issued for after its end.

    Made of rows that never change, so that a careless issuer heals the gateways by itself, under one id.
    """
    data = _shared(revocation, ended_at, Kind.LATE) | {"sessions": [_session(session)]}
    return _notice(revocation, subject, f"{session.session_id}\x1f{session.client_id}", 0, data)


def late_token(revocation: Revocation, subject: str, token: EndedToken, ended_at: datetime) -> Notice:
    """The same of a token that has no session."""
    data = _shared(revocation, ended_at, Kind.LATE) | {"sessions": [], "tokens": [_token(token)]}
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


def _shared(revocation: Revocation, committed_at: datetime, kind: Kind) -> dict[str, Any]:
    requested_at = wire_time(revocation.requested_at)
    same = revocation.not_before == revocation.requested_at
    data: dict[str, Any] = {
        "revocation_id": revocation.id,
        "cause": revocation.cause,
        "initiator": revocation.initiator,
        "reason_user": _in_order(revocation.reason_user),
        "kind": kind,
        "selector": selector_on_wire(revocation.selector),
        "not_before": requested_at if same else wire_time(revocation.not_before),
        "keep": revocation.keep,
        "requested_at": requested_at,
        "committed_at": wire_time(committed_at),
        "covers_until": wire_time(revocation.covers_until),
    }
    if revocation.keep_clients:
        data["keep_clients"] = revocation.keep_clients
    return data


def _notice(revocation: Revocation, subject: str, about: str, part: int, data: dict[str, Any]) -> Notice:
    kind: Kind = data["kind"]
    id_ = notification_id(revocation.id, kind, about, part)
    envelope: dict[str, Any] = {
        "specversion": SPECVERSION,
        "type": "session-ended",
        "id": id_,
        "source": SOURCE,
        "tenant": revocation.selector.tenant or "",
        "time": data["committed_at"],
        "data": data,
    }
    if subject:
        envelope["subject"] = subject
    return Notice(id_, kind, (subject or str(revocation.id)).encode(), _encode(envelope))


def _in_order(reasons: Mapping[str, str]) -> Mapping[str, str]:
    """In one order: PostgreSQL gives back a stored one in an order of its own."""
    return reasons if len(reasons) < 2 else dict(sorted(reasons.items()))


def _by_key(row: EndedSession) -> tuple[str, str, str]:
    return row.session_id, row.client_id, row.subject or ""


def _session(row: EndedSession) -> dict[str, str]:
    entry = {"session_id": row.session_id, "client_id": row.client_id}
    if row.subject is not None:
        entry["subject"] = row.subject
    if row.expires_at is not None:
        entry["expires_at"] = wire_time(row.expires_at)
    return entry


def _token(row: EndedToken) -> dict[str, str]:
    entry = {"token_id": row.token_id}
    if row.expires_at is not None:
        entry["expires_at"] = wire_time(row.expires_at)
    return entry


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
