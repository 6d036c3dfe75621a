"""What a gateway knows of whoever stands before it: the claims of a token, or what its own session store says.

Nothing here is a credential: `session_id` and `token_id` are names, or the digest of a cookie or token. What a gateway
does not know it leaves out, and then no predicate on it matches there; the ids in the notifications do.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from revoker.core.revocation import Credential

Moment = datetime | float | int
"""An aware datetime or Unix seconds: a float is that moment, an int the whole second that begins there, as in a JWT."""

SECOND: Final = 1_000_000
"""In microseconds, which is how times are compared."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400 * SECOND


class SessionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """One session or token, as far as it is known. None means not known.

    `issued_at` (the `iat` of a JWT) counts as `established_at` only where the index is told that it is the sign-in: a
    refresh mints a new one.
    """

    subject: str | None = None
    """Whose it is. May be left out where `session_id` or `token_id` is known."""
    tenant: str = ""
    session_id: str | None = None
    client_id: str | None = None
    """Give it where one sign-in serves several clients, of which one may be ended alone."""
    token_id: str | None = None
    key_id: str | None = None
    """Which key signed it."""
    established_at: Moment | None = None
    """When the first credential was checked (`auth_time`)."""
    issued_at: Moment | None = None
    device_id: str | None = None
    ip: str | None = None
    """The address at establishment, not that of today."""
    labels: Mapping[str, str] | None = None
    expires_at: Moment | None = None

    def __post_init__(self) -> None:
        """Refuses what says nothing of anybody, and times that mean another moment on another machine."""
        if self.subject is None and self.session_id is None and self.token_id is None:
            raise ValueError("claims name no subject, no session and no token")
        for moment in (self.established_at, self.issued_at, self.expires_at):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise ValueError("a time has no UTC offset")


def to_credential(claims: SessionClaims, *, iat_is_login: bool = False) -> Credential:
    """`claims` as the rule in `revoker.core.revocation` reads them."""
    established = established_at(claims, iat_is_login=iat_is_login)
    return Credential(
        tenant=claims.tenant,
        subject=claims.subject,
        session_id=claims.session_id,
        client_id=claims.client_id,
        token_id=claims.token_id,
        key_id=claims.key_id,
        device_id=claims.device_id,
        ip=claims.ip,
        labels=claims.labels,
        established_at=None if established is None else from_micros(micros(established)),
        whole_second=isinstance(established, int),
    )


def established_at(claims: SessionClaims, *, iat_is_login: bool) -> Moment | None:
    """When it was established, as far as `claims` tell."""
    if claims.established_at is None and iat_is_login:
        return claims.issued_at
    return claims.established_at


def micros(moment: Moment) -> int:
    """`moment` in microseconds since 1970."""
    if isinstance(moment, datetime):
        since = moment - _EPOCH
        return since.days * _DAY + since.seconds * SECOND + since.microseconds
    return moment * SECOND if isinstance(moment, int) else round(moment * SECOND)


def from_micros(value: int) -> datetime:
    """The moment that lies `value` microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=value)
