"""The issuer's public keys: found by discovery or by URL, fetched again by and by, and at once for an unknown key id.

Only one fetch runs at a time and everybody waits for that one. Whoever invents key ids causes at most one fetch every
ten seconds. While the issuer is away the keys that we have still count, for a day at most: one may have been withdrawn
meanwhile. `generation` moves when a key goes away, so that what was verified with it is verified again.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from revoker.errors import UnavailableError
from revoker.logs import get_logger
from revoker.settings import AuthSettings, is_protected

PublicKey = RSAKey | ECKey | OKPKey

_FETCH_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1_000_000
_COOL_DOWN_SECONDS: Final = 10.0
"""Between two fetches for the sake of an unknown key id."""
_RETRY_SECONDS: Final = 2.0
"""Between two fetches while there is no key at all, or the issuer did not answer."""
_TRUSTED_SECONDS: Final = 86_400.0
_PLACES: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
_MIN_RSA_BITS: Final = 2048
_BY_CURVE: Final[Mapping[str, frozenset[str]]] = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"Ed25519", "EdDSA"}),
}
_BY_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_log = get_logger(__name__)


class KeysUnavailableError(UnavailableError):
    """There is no key to verify a token with, and the issuer cannot be asked."""


class Keys:
    """Those of one issuer."""

    def __init__(
        self,
        auth: AuthSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generation = 0
        self._auth = auth
        self._transport = transport
        self._monotonic = monotonic
        self._keys: tuple[PublicKey, ...] = ()
        self._marks: frozenset[str] = frozenset()
        self._fetched: float | None = None
        self._tried: float | None = None
        self._failed: str | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key of that id that may sign so; None: the issuer has none. Raises `KeysUnavailableError`."""
        found = self._lookup(kid, algorithm)
        if found is None and self._may_fetch():
            await self.refresh()
            found = self._lookup(kid, algorithm)
        if found is None and not self._usable():
            raise KeysUnavailableError("the issuer's keys cannot be fetched")
        return found

    async def watch(self) -> None:
        """Fetches again and again, until cancelled."""
        while True:
            await self.refresh()
            pause = self._auth.refresh.total_seconds() if self._failed is None else _RETRY_SECONDS
            await asyncio.sleep(pause)

    async def refresh(self) -> None:
        """Fetches once, or waits for the fetch that runs. A failure is logged and told by `why_unready`."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._refreshed())
        await asyncio.shield(self._fetching)

    async def why_unready(self) -> str | None:
        """Why no token can be verified; None: it can."""
        return None if self._usable() else self._failed or "the issuer's keys were not fetched yet"

    def _lookup(self, kid: str | None, algorithm: str) -> PublicKey | None:
        if not self._usable():
            return None
        fitting = [key for key in self._keys if algorithm in _algorithms(key)]
        if kid is not None:
            return next((key for key in fitting if key.get("kid") == kid), None)
        # Without an id only one can be meant.
        return fitting[0] if len(fitting) == 1 else None

    def _usable(self) -> bool:
        return self._fetched is not None and self._monotonic() - self._fetched < _TRUSTED_SECONDS

    def _may_fetch(self) -> bool:
        if self._fetching is not None and not self._fetching.done():
            return True
        pause = _COOL_DOWN_SECONDS if self._failed is None else _RETRY_SECONDS
        return self._tried is None or self._monotonic() - self._tried >= pause

    async def _refreshed(self) -> None:
        self._tried = self._monotonic()
        try:
            async with asyncio.timeout(2 * _FETCH_SECONDS):
                keys = await self._fetch()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, TypeError, TimeoutError) as error:
            if self._failed is None:
                _log.warning("keys-unavailable", error=error)
            self._failed = f"the issuer's keys cannot be fetched ({type(error).__name__})"
            return
        marks = frozenset(key.thumbprint() for key in keys)
        if not self._marks <= marks:
            self.generation += 1
        if marks != self._marks or self._failed is not None:
            _log.info("keys-fetched", keys=len(keys))
        self._keys, self._marks, self._fetched, self._failed = keys, marks, self._monotonic(), None

    async def _fetch(self) -> tuple[PublicKey, ...]:
        # A redirect could lead anywhere, and proxies in the environment are not ours to trust with this.
        async with httpx.AsyncClient(
            transport=self._transport, timeout=_FETCH_SECONDS, follow_redirects=False, trust_env=False
        ) as client:
            url = self._auth.jwks_url or await self._discovered(client)
            return _read(await _json(client, url))

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        issuer = self._auth.issuer or ""
        for place in _PLACES:
            try:
                found = await _json(client, issuer.rstrip("/") + place)
            except httpx.HTTPStatusError as error:
                if error.response.status_code == 404 and place != _PLACES[-1]:
                    continue
                raise
            break
        url = found.get("jwks_uri")
        if found.get("issuer") != issuer or not isinstance(url, str):
            raise ValueError("the discovery document is of another issuer, or names no keys")
        if not (self._auth.allow_http or is_protected(url)):
            raise ValueError("jwks_uri must begin with https://")
        return url


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != 200:
            raise httpx.HTTPStatusError(f"status {answer.status_code}", request=answer.request, response=answer)
        body = bytearray()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES} bytes")
    read = httpx.Response(200, content=bytes(body)).json()
    if not isinstance(read, dict):
        raise TypeError("no JSON object")
    return read


def _read(document: Mapping[str, Any]) -> tuple[PublicKey, ...]:
    """Those that can sign. One that cannot be read is passed over: its neighbours must not suffer."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("no key set")  # noqa: TRY004 - the caller treats all of them alike
    found = [key for entry in entries if (key := _key(entry)) is not None]
    if not found:
        raise ValueError("no key that can sign")
    return tuple(found)


def _key(entry: object) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops")
    if operations is not None and "verify" not in operations:
        return None
    try:
        key = JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if not isinstance(key, RSAKey | ECKey | OKPKey):
        return None
    return key if _algorithms(key) else None


def _algorithms(key: PublicKey) -> frozenset[str]:
    """How this key may sign: what its kind can do, narrowed to what it says of itself (RFC 8725, section 3.1)."""
    if isinstance(key, RSAKey):
        fitting = _BY_RSA if key.public_key.key_size >= _MIN_RSA_BITS else frozenset()
    else:
        fitting = _BY_CURVE.get(str(key.get("crv")), frozenset())
    own = key.get("alg")
    if own in {"EdDSA", "Ed25519"}:
        return fitting  # two names of one
    return fitting if own is None else fitting & {str(own)}
