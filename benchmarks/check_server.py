"""The server of `benchmarks.check`: `/check` as `revoker serve` answers it, or a bare ASGI answer of the same headers.

    python -m benchmarks.check_server product|bare REVOKED TOKENS

Writes one line of JSON when it listens: its port, and the tokens that are live.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httpx
import uvloop
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from revoker.api.app import Api
from revoker.api.callers import ByToken
from revoker.api.check import Check
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.server import answering, listen
from revoker.api.tokens import Verifier
from revoker.gateway.testing import TestGateway, ended
from revoker.settings import AuthSettings, CheckSettings, ClaimSettings

_ISSUER = "https://issuer.bench"
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-length", b"0"),
    (b"x-revoker-subject", b"subject-000001"),
    (b"x-revoker-session", b"session-000001"),
]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """The least that an ASGI application can do."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b""})


async def main(side: str, revoked: int, tokens: int) -> None:
    """Until killed."""
    key = ECKey.generate_key("P-256", {"kid": "k"})
    shown = [_token(key, number) for number in range(tokens)]
    async with TestGateway() as gateway:
        app: ASGIApp = bare
        if side == "product":
            await gateway.feed(*(ended(f"gone-{n:06}", sessions=[f"gone-session-{n:06}"]) for n in range(revoked)))
            app = _product(gateway, key)
        listening = listen("127.0.0.1", 0)
        async with answering(app, listening, asyncio.Event()):
            print(json.dumps({"port": listening.getsockname()[1], "tokens": shown}), flush=True)
            await asyncio.Event().wait()


def _product(gateway: TestGateway, key: ECKey) -> ASGIApp:
    auth, check = AuthSettings(issuer=_ISSUER), CheckSettings()
    keys = Keys(auth, transport=httpx.ASGITransport(_issuer(key)))
    by_token = ByToken(Verifier(auth, keys), keys, check, ClaimSettings())
    return Api(Check(gateway, by_token, Networks(()), ApiMetrics().answered, lets_anonymous_pass=False))


def _issuer(key: ECKey) -> Any:  # noqa: ANN401 - an ASGI application, as httpx types it
    async def issuer(scope: Scope, receive: Receive, send: Send) -> None:
        found = {"issuer": _ISSUER, "jwks_uri": f"{_ISSUER}/keys"}
        keys = {"keys": [dict(key.as_dict(private=False))]}
        await JSONResponse(keys if scope["path"] == "/keys" else found)(scope, receive, send)

    return issuer


def _token(key: ECKey, number: int) -> str:
    claims = {"iss": _ISSUER, "sub": f"subject-{number:06}", "sid": f"session-{number:06}", "exp": time.time() + 3600}
    return jwt.encode({"alg": "ES256", "kid": "k", "typ": "at+jwt"}, claims, key, algorithms=["ES256"])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
