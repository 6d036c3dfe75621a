"""What a chunk of session activity says in the end: one row a session, one a token, one a visit.

Activity only grows, like revocations: the earliest establishment ever heard counts, the first attribute that is known
stays, an expiry moves forward. So the order of records, and how they fall into chunks, changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import msgspec
from msgspec.structs import replace

from schemas.session_activity import SessionActivity, SessionEstablished, SessionPresented, TokenIssued


class SessionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One client's part of a sign-in; `client_id` is empty where there is none."""

    tenant: str
    subject: str
    session_id: str
    client_id: str
    established_at: datetime
    expires_at: datetime | None = None
    device_id: str | None = None
    device_name: str | None = None
    ip: str | None = None
    key_id: str | None = None
    labels: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its primary key."""
        return self.tenant, self.subject, self.session_id, self.client_id

    def merged(self, later: "SessionSeen") -> "SessionSeen":
        """Both as one: this was heard first."""
        return replace(
            self,
            established_at=min(self.established_at, later.established_at),
            expires_at=latest(self.expires_at, later.expires_at),
            device_id=self.device_id or later.device_id,
            device_name=self.device_name or later.device_name,
            ip=self.ip or later.ip,
            key_id=self.key_id or later.key_id,
            labels={**later.labels, **self.labels},
        )


class TokenSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was issued."""

    tenant: str
    subject: str
    token_id: str
    session_id: str | None
    client_id: str | None
    kind: str
    issued_at: datetime
    expires_at: datetime | None

    @property
    def key(self) -> tuple[str, str, str]:
        """Its primary key."""
        return self.tenant, self.subject, self.token_id

    def merged(self, later: "TokenSeen") -> "TokenSeen":
        """Both as one: this was heard first."""
        return replace(
            self,
            session_id=self.session_id or later.session_id,
            client_id=self.client_id or later.client_id,
            issued_at=min(self.issued_at, later.issued_at),
            expires_at=latest(self.expires_at, later.expires_at),
        )


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A session was used; None for the client means any part of the sign-in."""

    tenant: str
    subject: str
    session_id: str
    client_id: str | None
    at: datetime
    ip: str | None
    expires_at: datetime | None
    source: str
    """Who told of it."""

    @property
    def key(self) -> tuple[str, str, str, str | None]:
        """What it is about."""
        return self.tenant, self.subject, self.session_id, self.client_id

    def merged(self, other: "Visit") -> "Visit":
        """The later of the two, with the expiry that reaches further."""
        last = other if other.at >= self.at else self
        return replace(last, ip=last.ip or self.ip or other.ip, expires_at=latest(self.expires_at, other.expires_at))


Seen = SessionSeen | TokenSeen | Visit


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A chunk, merged, in key order."""

    sessions: tuple[SessionSeen, ...]
    tokens: tuple[TokenSeen, ...]
    visits: tuple[Visit, ...]

    @property
    def subjects(self) -> frozenset[tuple[str, str]]:
        """Whose they are: what must be locked."""
        return frozenset(row.key[:2] for row in self.sessions) | frozenset(row.key[:2] for row in self.tokens)


def seen(event: SessionActivity, appended_at: datetime, device_name: Callable[[str], str | None]) -> Seen:
    """What `event` says. Its times are clamped to `appended_at`, the last moment at which Kafka can have taken it."""
    happened = min(event.time or appended_at, appended_at)
    match event:
        case SessionEstablished(data=data):
            return SessionSeen(
                tenant=event.tenant,
                subject=event.subject,
                session_id=data.session_id,
                client_id=data.client_id or "",
                established_at=min(data.established_at or happened, appended_at),
                expires_at=data.expires_at,
                device_id=data.device_id,
                device_name=device_name(data.user_agent) if data.user_agent else None,
                ip=data.ip,
                key_id=data.key_id,
                labels=data.labels,
            )
        case SessionPresented(data=data):
            return Visit(
                tenant=event.tenant,
                subject=event.subject,
                session_id=data.session_id,
                client_id=data.client_id,
                at=happened,
                ip=data.ip,
                expires_at=data.expires_at,
                source=event.source,
            )
        case TokenIssued(data=data):
            return TokenSeen(
                tenant=event.tenant,
                subject=event.subject,
                token_id=data.token_id,
                session_id=data.session_id,
                client_id=data.client_id,
                kind=data.kind.value,
                issued_at=happened,
                expires_at=data.expires_at,
            )
        case _:
            assert_never(event)


def is_ahead(event: SessionActivity, appended_at: datetime) -> bool:
    """Whether a time of `event` lies after `appended_at`, and is clamped to it."""
    established = event.data.established_at if isinstance(event, SessionEstablished) else None
    return any(time is not None and time > appended_at for time in (event.time, established))


def too_old(row: Seen, appended_at: datetime, lifetime: timedelta) -> bool:
    """Whether it was over by age alone when it was reported: to take it in could bring a pruned id back to life."""
    match row:
        case SessionSeen():
            return row.established_at < appended_at - lifetime
        case TokenSeen():
            return row.issued_at < appended_at - lifetime
        case Visit():
            return False
        case _:
            assert_never(row)


def merge(rows: Iterable[Seen]) -> Registration:
    """`rows`, in the order heard, as one registration."""
    sessions: dict[tuple[str, ...], SessionSeen] = {}
    tokens: dict[tuple[str, ...], TokenSeen] = {}
    visits: dict[tuple[str | None, ...], Visit] = {}
    for row in rows:
        match row:
            case SessionSeen():
                sessions[row.key] = sessions[row.key].merged(row) if row.key in sessions else row
            case TokenSeen():
                tokens[row.key] = tokens[row.key].merged(row) if row.key in tokens else row
            case Visit():
                visits[row.key] = visits[row.key].merged(row) if row.key in visits else row
            case _:
                assert_never(row)
    return Registration(
        sessions=tuple(sessions[key] for key in sorted(sessions)),
        tokens=tuple(tokens[key] for key in sorted(tokens)),
        visits=tuple(sorted(visits.values(), key=lambda row: (*row.key[:3], row.client_id or ""))),
    )


def latest(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later of two times, either of which may be missing."""
    if one is None or other is None:
        return one or other
    return max(one, other)
