"""An identity provider: keys that rotate, tokens of every kind, and a discovery document. Its application is ASGI."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from revoker.api.server import answering, listen

ISSUER: Final = "https://login.example"
AUDIENCE: Final = "https://service.example"

SigningKey = ECKey | RSAKey | OKPKey | OctKey


class Issuer:
    """`token(...)` signs by the newest key, unless told otherwise."""

    def __init__(self, url: str = ISSUER) -> None:
        self.url = url
        self.keys: list[SigningKey] = [new_key("first")]
        self.published: dict[str, Any] | None = None
        """What is served in place of the keys."""
        self.documents: dict[str, dict[str, Any]] = {}
        """What is served in place of the discovery documents, by path."""
        self.failing = False
        self.fetched = 0

    def rotate(self, kid: str, *, keep: bool = True) -> None:
        """A new key; the old ones go away or stay."""
        self.keys = [*(self.keys if keep else []), new_key(kid)]

    def token(
        self,
        *,
        key: SigningKey | None = None,
        header: dict[str, Any] | None = None,
        lasts: float = 300.0,
        **claims: Any,
    ) -> str:
        """A token of `alice`; a claim that is given as None is left out."""
        key = key or self.keys[-1]
        now = int(time.time())
        body = {"iss": self.url, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + lasts} | claims
        head = {"alg": algorithm_of(key), "kid": key.kid, "typ": "at+jwt"} | (header or {})
        return jwt.encode(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in body.items() if value is not None},
            key,
            registry=JWSRegistry(algorithms=[head["alg"]], strict_check_header=False),
            default_type=None,
        )

    def machine(self, scope: str = "revoker.gateway", **claims: Any) -> str:
        """A token of a program, the gateway `chat` unless told otherwise."""
        return self.token(**{"sub": "chat", "client_id": "chat", "scope": scope} | claims)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves discovery and keys."""
        del receive
        request = Request(scope)
        self.fetched += request.url.path == "/keys"
        await self._answer(request.url.path)(scope, _nothing, send)

    def _answer(self, path: str) -> Response:
        if self.failing:
            return Response(status_code=500)
        if path == "/keys":
            return JSONResponse(
                self.published or {"keys": [key.as_dict(private=False) | {"use": "sig"} for key in self.keys]}
            )
        if path in self.documents:
            return JSONResponse(self.documents[path])
        if path == "/.well-known/openid-configuration" and not self.documents:
            return JSONResponse({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        return Response(status_code=404)


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """One that other processes can ask."""
    listening = listen("127.0.0.1", 0)
    issuer = Issuer(f"http://127.0.0.1:{listening.getsockname()[1]}")
    try:
        async with answering(issuer, listening, asyncio.Event()):
            yield issuer
    finally:
        listening.close()


def new_key(kid: str, kind: str = "EC") -> SigningKey:
    """A private key."""
    parameters: Any = {"kid": kid}
    match kind:
        case "RSA":
            return RSAKey.generate_key(2048, parameters)
        case "OKP":
            return OKPKey.generate_key("Ed25519", parameters)
        case _:
            return ECKey.generate_key("P-256", parameters)


def algorithm_of(key: SigningKey) -> str:
    """How that key signs by default."""
    return {"RSA": "RS256", "OKP": "Ed25519", "EC": "ES256", "oct": "HS256"}[key.key_type]


async def _nothing() -> Any:
    return {"type": "http.disconnect"}
