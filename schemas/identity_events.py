"""What happened to an identity: the events of `identity-events`, one closed union on `type`.

Which of them ends what is policy (`revoker.core.policy`), not part of the message.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.cloudevent import MaybeSubjectEvent, SubjectEvent
from schemas.fields import MAX_IDS, Id, Initiator, Instant, Keep, Message, Reasons, Text


class Because(Message):
    """Who asked and why, as every identity event may say."""

    initiator: Initiator | None = None
    reason_user: Annotated[Reasons | None, Field(description="Shown to the person, by language.")] = None
    reason_admin: Annotated[Text | None, Field(description="For responders; never leaves the database.")] = None


class BecauseKeeping(Because):
    """Who asked and why, sparing some sessions."""

    keep: Annotated[Keep, Field(description="Session ids, as they are after the change, that stay.")] = ()


class SessionNamed(Because):
    """Who asked and why, about one session."""

    session_id: Id
    client_id: Annotated[Id | None, Field(description="Ends only this client's part of the sign-in.")] = None


class SessionsNamed(Because):
    """Who asked and why, about some sessions."""

    session_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_IDS)]


class TokenNamed(Because):
    """Who asked and why, about one token."""

    token_id: Annotated[Id, Field(description="The jti, or the lower-case hex SHA-256 of the value.")]
    expires_at: Instant | None = None


class ConcernData(BecauseKeeping):
    """Who asked and why, sparing some sessions, and how bad it is."""

    severity: Literal["low", "medium", "high"] | None = None


class PasswordChanged(SubjectEvent):
    """A password was changed or reset."""

    type: Literal["password-changed"]
    data: BecauseKeeping = BecauseKeeping()


class EmailChanged(SubjectEvent):
    """The e-mail address of an account was changed."""

    type: Literal["email-changed"]
    data: BecauseKeeping = BecauseKeeping()


class LoggedOut(MaybeSubjectEvent):
    """One sign-in, or one client's part of it, was left."""

    type: Literal["logged-out"]
    data: SessionNamed


class LoggedOutEverywhere(SubjectEvent):
    """All sign-ins were left, or all others."""

    type: Literal["logged-out-everywhere"]
    data: BecauseKeeping = BecauseKeeping()


class SessionRevoked(MaybeSubjectEvent):
    """A person or an admin chose sessions to end."""

    type: Literal["session-revoked"]
    data: SessionsNamed


class SecurityConcernReported(SubjectEvent):
    """A device was stolen, or "this was not me"."""

    type: Literal["security-concern-reported"]
    data: ConcernData = ConcernData()


class AccountDisabled(SubjectEvent):
    """The account may not be used for now."""

    type: Literal["account-disabled"]
    data: Because = Because()


class AccountDeleted(SubjectEvent):
    """The account is gone."""

    type: Literal["account-deleted"]
    data: Because = Because()


class RefreshTokenReused(MaybeSubjectEvent):
    """A rotated refresh token came back: the session that it belongs to is in two hands (RFC 9700, 4.14.2)."""

    type: Literal["refresh-token-reused"]
    data: SessionNamed


class TokenRevoked(MaybeSubjectEvent):
    """One token was revoked, its session lives on."""

    type: Literal["token-revoked"]
    data: TokenNamed


IdentityEvent = (
    PasswordChanged
    | EmailChanged
    | LoggedOut
    | LoggedOutEverywhere
    | SessionRevoked
    | SecurityConcernReported
    | AccountDisabled
    | AccountDeleted
    | RefreshTokenReused
    | TokenRevoked
)
