"""Who is meant by a request to `/check`: a JWT that is verified here, or the headers of a proxy that has verified it.

A verified token is remembered by its SHA-256 until it expires, so that verifying costs nothing the second time. The
memory is bounded: the oldest go first. When a key of the issuer goes away, all of it is void.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.types import Scope

from revoker.api.keys import Keys
from revoker.api.networks import Networks
from revoker.api.tokens import TokenRefusedError, Verified, Verifier
from revoker.core.claims import SessionClaims
from revoker.settings import CheckSettings, ClaimSettings
from schemas.fields import MAX_ID_BYTES

_SAFE: Final = "!#$&'()*+,-./:;=?@[]^_`{|}~"
"""All that is visible in ASCII, but for what quotes and what would mean something else."""
_BEARER: Final = b"bearer "

Header = tuple[bytes, bytes]


class Caller(msgspec.Struct, frozen=True):
    """Somebody who is known, and what the proxy is told about it."""

    claims: SessionClaims
    headers: tuple[Header, ...]
    verified: bool
    until: float = 0.0
    generation: int = 0


class ByToken:
    """Callers by their JWTs."""

    def __init__(
        self,
        verifier: Verifier,
        keys: Keys,
        check: CheckSettings,
        names: ClaimSettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._keys = keys
        self._names = names
        self._cookies = frozenset(name.encode("latin-1") for name in check.cookies)
        self._most = check.tokens
        self._now = now
        self._known: dict[bytes, Caller] = {}

    async def callers(self, scope: Scope) -> Sequence[Caller]:
        """Whoever a request shows tokens of, the one that counts first; empty: it shows none.

        What stands in the Authorization header must hold. Of cookies those that hold count, since nobody can use the
        others: but each of them, or a dead one could hide behind another. Raises `TokenRefusedError` and
        `KeysUnavailableError`.
        """
        header, cookies = self._shown(scope)
        found = [] if header is None else [self.known(header) or await self.verify(header)]
        refused = None
        for token in cookies:
            try:
                found.append(self.known(token) or await self.verify(token))
            except TokenRefusedError as error:
                refused = error
        if refused is not None and not found:
            raise refused
        return found

    def _shown(self, scope: Scope) -> tuple[bytes | None, Sequence[bytes]]:
        """The tokens of a request, as they were sent."""
        header, cookies = None, []
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == _BEARER:
                if header is not None:
                    raise TokenRefusedError("There are several tokens")
                header = value[7:].strip()
            elif name == b"cookie" and self._cookies:
                cookies += [token for token in _cookies(value, self._cookies) if token not in cookies]
        return header, cookies

    def known(self, token: bytes) -> Caller | None:
        """Whoever showed this token before; no more than a look-up."""
        caller = self._known.get(hashlib.sha256(token).digest())
        if caller is None or caller.until <= self._now() or caller.generation != self._keys.generation:
            return None
        return caller

    async def verify(self, token: bytes) -> Caller:
        """Raises `TokenRefusedError` and `KeysUnavailableError`."""
        generation = self._keys.generation
        verified = await self._verifier.verify(token)
        claims = session_claims(verified, self._names)
        caller = Caller(claims, told(claims), verified=True, until=verified.expires_at, generation=generation)
        if self._most:
            self._known.pop(digest := hashlib.sha256(token).digest(), None)
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[digest] = caller
        return caller


class ByHeaders:
    """Callers as a proxy names them, if it is one that is trusted."""

    def __init__(self, claims: Callable[[Scope], SessionClaims | None], networks: Networks) -> None:
        self._claims = claims
        self._networks = networks

    def trusted(self, scope: Scope) -> bool:
        """Whether the peer may say who is meant."""
        client = scope.get("client")
        return client is not None and self._networks.hold(client[0])

    def callers(self, scope: Scope) -> Sequence[Caller]:
        """One, or none. Raises `ValueError` for headers that make no sense."""
        claims = self._claims(scope)
        return [Caller(claims, told(claims), verified=False)] if claims is not None else []


def session_claims(verified: Verified, names: ClaimSettings) -> SessionClaims:
    """What a verified token says of a session. Raises `TokenRefusedError`."""
    claims = verified.claims
    labels = {name: value for name, claim in names.labels.items() if (value := _text(claims, claim)) is not None}
    try:
        return SessionClaims(
            subject=_text(claims, names.subject),
            tenant=tenant_of(claims, names) or "",
            session_id=_text(claims, names.session_id),
            client_id=first_text(claims, names.client_id),
            token_id=_text(claims, names.token_id),
            key_id=verified.kid,
            established_at=_moment(claims, names.established_at),
            issued_at=_moment(claims, "iat"),
            device_id=_text(claims, names.device_id) if names.device_id else None,
            labels=labels if names.labels else None,
            expires_at=_moment(claims, "exp"),
        )
    except ValueError as error:
        raise TokenRefusedError("The token names nobody") from error


def tenant_of(claims: Mapping[str, Any], names: ClaimSettings) -> str | None:
    """The tenant that a token is bound to, where there are several."""
    return _text(claims, names.tenant) if names.tenant is not None else None


def first_text(claims: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The first claim that is there."""
    return next((value for name in names if (value := _text(claims, name)) is not None), None)


def told(claims: SessionClaims) -> tuple[Header, ...]:
    """The headers of a 200. Both are always there, so that what a client sent under their names never survives."""
    return (
        (b"cache-control", b"no-store"),
        (b"content-length", b"0"),
        (b"x-revoker-subject", header_safe(claims.subject)),
        (b"x-revoker-session", header_safe(claims.session_id)),
    )


def header_safe(value: str | None) -> bytes:
    """Visible ASCII, the rest percent-encoded as UTF-8; empty for what is not known."""
    return quote(value or "", safe=_SAFE).encode()


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or not _fits(value):
        raise TokenRefusedError("The token holds a claim that cannot be")
    return value


def _fits(value: str) -> bool:
    try:
        return len(value.encode()) <= MAX_ID_BYTES and value.isprintable()
    except UnicodeEncodeError:
        return False


def _moment(claims: Mapping[str, Any], name: str) -> float | int | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2.5e11:
        raise TokenRefusedError("The token holds a claim that cannot be")
    return value


def _cookies(header: bytes, names: frozenset[bytes]) -> Iterator[bytes]:
    """Every value under one of `names`; a browser may send several."""
    for part in header.split(b";"):
        name, equals, value = part.partition(b"=")
        if equals and name.strip() in names:
            token = value.strip().strip(b'"')
            if token:
                yield token
