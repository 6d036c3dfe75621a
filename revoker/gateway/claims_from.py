"""From a request to the claims that it shows, for `identify=` of the middlewares.

Nothing is verified here. That is safe because the middleware only ever denies: a forged claim lets nobody in, it can
only shut its own sender out. It is safe only if what the application believes is among what was judged, though: who
holds a dead cookie must not get past by showing a made-up token beside it, a second cookie of the same name, or the
same one in quotes. So all that a request shows is read, in every spelling that frameworks understand, and one that is
over is enough.

The address of today's request is no claim: a session's `ip` is where it was established.
"""

import hashlib
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from revoker.core.claims import SessionClaims

Scope = MutableMapping[str, Any]
"""Of ASGI; the WSGI middleware makes one."""
Identified = SessionClaims | Sequence[SessionClaims] | None
"""Who shows nothing is nobody: None, or an empty sequence."""

_YEAR_10000: Final = 253_402_300_800
_UNREADABLE: Final = (ValueError, msgspec.MsgspecError, RecursionError)
_ESCAPED: Final = re.compile(r"\\([0-3][0-7][0-7]|.)")

_decode = msgspec.json.Decoder().decode


def bearer_claims(
    *,
    cookie: str | None = None,
    header: str | None = "authorization",
    subprotocol: bool = False,
    query: str | None = None,
    tenant: str = "",
    tenant_claim: str | None = None,
    session_claim: str = "sid",
    client_claims: Sequence[str] = ("azp", "client_id"),
    established_claim: str = "auth_time",
) -> Callable[[Scope], tuple[SessionClaims, ...]]:
    """Reads JWTs: from `header`, and if named from a cookie, the WebSocket's subprotocols, a query parameter.

    What is no JWT, or names nobody, is passed over. `tenant_claim` wins over `tenant` where a token has it.
    """
    wanted = header.lower().encode() if header else None
    reader = _Reader(tenant, tenant_claim, session_claim, tuple(client_claims), established_claim)

    def shown(scope: Scope) -> Iterator[str]:
        if wanted:
            for value in _headers(scope, wanted):
                yield value.rpartition(" ")[2]
        if cookie:
            yield from _cookies(scope, cookie)
        if subprotocol:
            yield from scope.get("subprotocols") or ()
        if query:
            yield from parse_qs(bytes(scope.get("query_string") or b"").decode("latin-1")).get(query, ())

    def identify(scope: Scope) -> tuple[SessionClaims, ...]:
        read = (reader.read(token) for token in dict.fromkeys(shown(scope)))
        return tuple(dict.fromkeys(claims for claims in read if claims is not None))

    return identify


def hashed_cookie_claims(*, cookie: str, tenant: str = "") -> Callable[[Scope], tuple[SessionClaims, ...]]:
    """For cookies that mean nothing by themselves: the session id is the lower-case hex SHA-256 of the value."""

    def identify(scope: Scope) -> tuple[SessionClaims, ...]:
        return tuple(
            SessionClaims(tenant=tenant, session_id=hashlib.sha256(value.encode("latin-1", "replace")).hexdigest())
            for value in dict.fromkeys(_cookies(scope, cookie))
            if value
        )

    return identify


def header_claims(prefix: str = "x-revoker-") -> Callable[[Scope], SessionClaims | None]:
    """Reads what a proxy in front has verified: `<prefix>subject`, `session`, `tenant`, `client`, `token`, `key`,
    `device`, `ip`, and `established-at` (RFC 3339, or Unix seconds). `%` and what is not ASCII is percent-encoded, as
    `/check` writes it.

    Only behind a proxy that sets these headers itself and takes away those that a client sends.
    """
    start = prefix.lower()
    names = {f"{start}{name}".encode(): field for name, field in _HEADERS.items()}

    def identify(scope: Scope) -> SessionClaims | None:
        known: dict[str, str] = {}
        for name, value in scope.get("headers") or ():
            field = names.get(bytes(name).lower())
            if field is not None and (text := bytes(value).decode("utf-8", "replace").strip()):
                known[field] = unquote(text)
        if known.keys().isdisjoint({"subject", "session_id", "token_id"}):
            return None
        established = _written_moment(known.pop("established_at", None))
        return SessionClaims(established_at=established, **known)  # type: ignore[arg-type] # the rest is text

    return identify


_HEADERS: Final[Mapping[str, str]] = {
    "tenant": "tenant",
    "subject": "subject",
    "session": "session_id",
    "client": "client_id",
    "token": "token_id",
    "key": "key_id",
    "device": "device_id",
    "ip": "ip",
    "established-at": "established_at",
}


class _Reader(msgspec.Struct, frozen=True):
    """Which claims of a JWT mean what."""

    tenant: str
    tenant_claim: str | None
    session_claim: str
    client_claims: tuple[str, ...]
    established_claim: str

    def read(self, token: str) -> SessionClaims | None:
        """What `token` says of whom, if it is a JWT and says of anybody."""
        head, body = _parts(token)
        subject, session, named = _text(body.get("sub")), _text(body.get(self.session_claim)), _text(body.get("jti"))
        if subject is None and session is None and named is None:
            return None
        own_tenant = _text(body.get(self.tenant_claim)) if self.tenant_claim else None
        return SessionClaims(
            subject=subject,
            tenant=self.tenant if own_tenant is None else own_tenant,
            session_id=session,
            client_id=next(
                (name for claim in self.client_claims if (name := _text(body.get(claim))) is not None), None
            ),
            token_id=named,
            key_id=_text(head.get("kid")),
            established_at=_moment(body.get(self.established_claim)),
            issued_at=_moment(body.get("iat")),
            expires_at=_moment(body.get("exp")),
        )


def _headers(scope: Scope, name: bytes) -> Iterator[str]:
    for key, value in scope.get("headers") or ():
        if bytes(key).lower() == name:
            yield bytes(value).decode("latin-1").strip()


def _cookies(scope: Scope, name: str) -> Iterator[str]:
    """Every value under that name, in every spelling."""
    for header in _headers(scope, b"cookie"):
        for part in header.split(";"):
            key, equals, value = part.partition("=")
            if equals and key.strip() == name:
                yield from _spellings(value.strip())


def _spellings(value: str) -> Iterable[str]:
    yield value
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(lambda found: _unescaped(found[1]), value[1:-1])
        yield value
    if "%" in value:
        yield unquote(value, "latin-1")


def _unescaped(text: str) -> str:
    return chr(int(text, 8)) if len(text) > 1 else text


def _parts(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The header and the claims of what may be a JWT with something before it, such as `bearer.` in a subprotocol."""
    pieces = token.rsplit(".", 3)[-3:]
    return (_object(pieces[0]), _object(pieces[1])) if len(pieces) == 3 else ({}, {})


def _object(text: str) -> Mapping[str, Any]:
    try:
        # Characters that are not of the alphabet are passed over: rather read too much than too little.
        decoded = _decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except _UNREADABLE:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _text(value: object) -> str | None:
    """As a name. Some issuers number their users."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(value: object) -> float | int | None:
    """A NumericDate; a fraction makes it exact, a whole number means that second."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and 0 <= value < _YEAR_10000 else None


def _written_moment(text: str | None) -> datetime | float | int | None:
    if text is None:
        return None
    try:
        return _moment(int(text) if text.isdecimal() else float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
