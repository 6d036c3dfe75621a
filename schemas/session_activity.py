"""What sessions and tokens exist: the events of `session-activity`, one closed union on `type`."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.cloudevent import SubjectEvent
from schemas.fields import Address, Id, Instant, Labels, Message, UserAgent


class TokenKind(StrEnum):
    """What a token is good for."""

    REFRESH = "refresh"
    REMEMBER_ME = "remember-me"
    ACCESS = "access"


class SessionEstablishedData(Message):
    """A sign-in, or a further client joining one."""

    session_id: Id
    established_at: Annotated[
        Instant | None, Field(description="When the first credential was checked; default the event's time.")
    ] = None
    client_id: Id | None = None
    device_id: Id | None = None
    user_agent: UserAgent | None = None
    ip: Address | None = None
    expires_at: Instant | None = None
    key_id: Annotated[Id | None, Field(description="The key that signed its tokens.")] = None
    labels: Labels = Field(default_factory=dict)


class SessionPresentedData(Message):
    """A session was used; may move its expiry forward."""

    session_id: Id
    client_id: Id | None = None
    ip: Address | None = None
    user_agent: UserAgent | None = None
    expires_at: Instant | None = None


class TokenIssuedData(Message):
    """A token was issued. Needed only for tokens without a session and for those that are to be ended one by one."""

    token_id: Annotated[Id, Field(description="The jti, or the lower-case hex SHA-256 of the value.")]
    session_id: Id | None = None
    client_id: Annotated[Id | None, Field(description="Whose part of the sign-in it belongs to, where known.")] = None
    kind: TokenKind
    expires_at: Instant | None = None


class SessionEstablished(SubjectEvent):
    """Somebody signed in."""

    type: Literal["session-established"]
    data: SessionEstablishedData


class SessionPresented(SubjectEvent):
    """A session was used."""

    type: Literal["session-presented"]
    data: SessionPresentedData


class TokenIssued(SubjectEvent):
    """A token was issued."""

    type: Literal["token-issued"]
    data: TokenIssuedData


SessionActivity = SessionEstablished | SessionPresented | TokenIssued
