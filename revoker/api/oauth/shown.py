"""What a token is that somebody shows: a JWT that is verified here, or one that the registry knows by its SHA-256.

Only the digest of the whole value finds a token in the registry, never an id that stands in it: ids are no secrets, and
whoever knows one must not get an answer for the token.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from revoker.api.callers import session_claims
from revoker.api.keys import KeysUnavailableError
from revoker.api.parts import Parts
from revoker.api.problems import ProblemError
from revoker.api.tokens import MAX_TOKEN_BYTES, TokenRefusedError, Verified
from revoker.core.claims import SessionClaims
from revoker.errors import RevokerError
from revoker.gateway.health import Stale
from revoker.logs import get_logger
from revoker.service import reach
from revoker.storage import tokens
from revoker.storage.tokens import NamedToken


class Use(StrEnum):
    """What a token is for. Nobody must take one of the others for an access token."""

    ACCESS = "access_token"
    REFRESH = "refresh_token"
    REMEMBER_ME = "remember_me"


_USES: Final[Mapping[str, Use]] = {"access": Use.ACCESS, "refresh": Use.REFRESH, "remember-me": Use.REMEMBER_ME}
_LOOK_SECONDS: Final = 5.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A token that is what it says."""

    claims: SessionClaims
    use: Use
    expires_at: datetime
    is_live: bool
    """As far as the registry knows; the gateway is asked besides."""
    members: Mapping[str, Any]
    """What introspection tells of it."""


async def look(parts: Parts, token: bytes, tenant: str | None) -> Shown | None:
    """What `token` is, for somebody of `tenant` (None: of all of them). None: nothing that they may know of.

    Raises `ProblemError` (503) where that cannot be known.
    """
    if len(token) > MAX_TOKEN_BYTES:
        return None
    found = await _verified(parts, token) or await _registered(parts, token, tenant)
    return found if found is not None and tenant in {None, found.claims.tenant} else None


def passes(parts: Parts, shown: Shown) -> bool:
    """Whether it is live: neither over nor held. Raises `ProblemError` (503) where nobody can know."""
    verdict = parts.gateway.check(shown.claims)
    if isinstance(verdict, Stale):
        raise ProblemError(503, "Nobody can tell now what is over", {"Retry-After": "1"})
    return verdict is None and shown.is_live


async def _verified(parts: Parts, token: bytes) -> Shown | None:
    if parts.verifier is None or token.count(b".") != 2:
        return None
    try:
        verified = await parts.verifier.verify(token)
        claims = session_claims(verified, parts.settings.claims)
    except TokenRefusedError:
        # It may be a refresh token of an issuer who makes them JWTs, by keys that are nobody else's business.
        return None
    except KeysUnavailableError as error:
        raise ProblemError(503, "Tokens cannot be verified now", {"Retry-After": "5"}) from error
    return Shown(
        claims=claims,
        use=Use.ACCESS,
        expires_at=datetime.fromtimestamp(verified.expires_at, UTC),
        is_live=True,
        members=_members_of_jwt(parts, verified, claims),
    )


def _members_of_jwt(parts: Parts, verified: Verified, claims: SessionClaims) -> dict[str, Any]:
    """All of its claims, since whoever shows it can read them; a binding to a key (`cnf`) must not get lost."""
    names = parts.settings.claims
    scope = next((verified.claims[name] for name in names.scope if name in verified.claims), None)
    bound = verified.claims.get("cnf")
    members = {name: value for name, value in verified.claims.items() if value is not None}
    members["token_type"] = "DPoP" if isinstance(bound, dict) and "jkt" in bound else "Bearer"
    if isinstance(scope, list):
        members["scope"] = " ".join(item for item in scope if isinstance(item, str))
    if claims.client_id is not None:
        members["client_id"] = claims.client_id
    return members


async def _registered(parts: Parts, token: bytes, tenant: str | None) -> Shown | None:
    lifetime = parts.settings.sessions.lifetime
    digest = hashlib.sha256(token).hexdigest()
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            with reach.database_errors(parts.settings):
                found = await tokens.named(parts.engine, digest, tenant=tenant, lifetime=lifetime)
    except (RevokerError, TimeoutError) as error:
        _log.warning("dependency-unavailable", error=error)
        raise ProblemError(503, "Tokens cannot be looked up now", {"Retry-After": "2"}) from error
    if found is None:
        return None
    return Shown(
        claims=SessionClaims(
            subject=found.subject,
            tenant=found.tenant,
            session_id=found.session_id,
            client_id=found.client_id,
            token_id=found.token_id,
            key_id=found.key_id,
            established_at=found.established_at,
            device_id=found.device_id,
            ip=found.ip,
            labels=found.labels,
            expires_at=found.expires_at,
        ),
        use=_USES[found.kind],
        expires_at=found.expires_at,
        is_live=found.is_live,
        members=_members_of_row(parts, found),
    )


def _members_of_row(parts: Parts, found: NamedToken) -> dict[str, Any]:
    members = {
        "sub": found.subject,
        "client_id": found.client_id,
        "iss": parts.settings.auth.issuer,
        "jti": found.token_id,
        "sid": found.session_id,
        "iat": int(found.issued_at.timestamp()),
        "exp": int(found.expires_at.timestamp()),
        "token_type": "Bearer" if found.kind == "access" else None,
        parts.settings.claims.tenant or "tenant": found.tenant or None,
    }
    return {name: value for name, value in members.items() if value is not None}
