"""Bearer JWTs, verified as RFC 8725 asks: issuer, audience, algorithm of the key, type, times. No reason leaves us that
tells more than "invalid" or "expired".
"""

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from revoker.api.keys import Keys
from revoker.settings import AuthSettings

MAX_TOKEN_BYTES: Final = 16_384
_MAX_HEADER_BYTES: Final = 4_096


class TokenRefusedError(Exception):
    """Not a token of ours, or not any more. The text is for whoever sent it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token says, once it is known who says so."""

    claims: Mapping[str, Any]
    kid: str | None
    expires_at: float
    """Unix time until which it is to be believed, skew included."""


class _Registry(JWSRegistry):
    """The library's own would warn about EdDSA, which is how many issuers still spell Ed25519."""

    max_header_length = _MAX_HEADER_BYTES

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - the base's
        """The algorithm, which was chosen before."""
        return self.algorithms[name]


class Verifier:
    """Verifies tokens of one issuer."""

    def __init__(self, auth: AuthSettings, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._issuer = auth.issuer
        self._audiences = frozenset((auth.audience or "").split())
        self._algorithms = frozenset(auth.algorithms)
        self._types = frozenset(_plain(kind) for kind in auth.types)
        self._skew = auth.skew.total_seconds()
        self._registry = _Registry(algorithms=auth.algorithms, strict_check_header=False)

    async def verify(self, token: bytes, *, even_expired: bool = False) -> Verified:
        """Raises `TokenRefusedError` and `KeysUnavailableError`. `even_expired` is for whoever wants to leave."""
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms or "crit" in header or not isinstance(kid, str | None):
            raise TokenRefusedError("The token is not valid")
        if _plain(header.get("typ", "")) not in self._types:
            raise TokenRefusedError("The token is of another type")
        key = await self._keys.find(kid, str(algorithm))
        if key is None:
            raise TokenRefusedError("The token is not valid")
        try:
            claims = json.loads(jws.deserialize_compact(token, key, registry=self._registry).payload)
        except (JoseError, ValueError, RecursionError) as error:
            raise TokenRefusedError("The token is not valid") from error
        if not isinstance(claims, dict):
            raise TokenRefusedError("The token is not valid")
        return Verified(claims, kid, self._judge(claims, even_expired=even_expired))

    def _judge(self, claims: Mapping[str, Any], *, even_expired: bool) -> float:
        now, expires = self._now(), _instant(claims.get("exp"))
        if expires is None:
            raise TokenRefusedError("The token is not valid")
        if expires + self._skew <= now and not even_expired:
            raise TokenRefusedError("The token expired")
        not_before = claims.get("nbf")
        if not_before is not None and (_instant(not_before) is None or not_before - self._skew > now):
            raise TokenRefusedError("The token is not valid yet")
        if claims.get("iss") != self._issuer:
            raise TokenRefusedError("The token is not valid")
        if "events" in claims:
            # A security event or a logout token: their issuers need not say so in `typ` (RFC 8417, OIDC back-channel).
            raise TokenRefusedError("The token is of another type")
        audience = claims.get("aud")
        named = {audience} if isinstance(audience, str) else set(_texts(audience))
        if self._audiences and not named & self._audiences:
            raise TokenRefusedError("The token is for somebody else")
        return expires + self._skew


def _header(token: bytes) -> Mapping[str, Any]:
    head, dot, _ = token.partition(b".")
    if not dot or len(token) > MAX_TOKEN_BYTES or len(head) > _MAX_HEADER_BYTES:
        raise TokenRefusedError("The token is not valid")
    try:
        header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise TokenRefusedError("The token is not valid") from error
    if not isinstance(header, dict):
        raise TokenRefusedError("The token is not valid")
    return header


def _plain(kind: object) -> str:
    """`application/at+jwt` is `at+jwt`, in any case (RFC 7515, section 4.1.9)."""
    return kind.lower().removeprefix("application/") if isinstance(kind, str) else "?"


def _instant(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -1e12 < value < 1e12 else None


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
