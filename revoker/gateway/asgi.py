"""`RevocationMiddleware`: around any ASGI application, whatever it is written with.

Outside of everything else but what adds headers to every answer (CORS), so that nothing is served that it did not see.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from revoker.core.claims import SessionClaims
from revoker.gateway.asgi_guard import Alarm, App, Receive, Scope, Send
from revoker.gateway.asgi_http import HTTPGuard
from revoker.gateway.asgi_lifespan import Lifespan
from revoker.gateway.asgi_websocket import WebSocketGuard
from revoker.gateway.claims_from import Identified
from revoker.gateway.gateway import Gateway

Identify = Callable[[Scope], Identified | Awaitable[Identified]]


class RevocationMiddleware:
    """Refuses and cuts off whose session is over or on hold.

    `identify(scope)` says who it is, as `SessionClaims`, several of them (one that is over is enough) or None; it may
    be a coroutine. Anonymous requests pass untouched. What it raises goes to the server: nobody is let in by a bug.

    `open_paths` are let pass whoever asks: signing in and out, and what a person needs for it. The path of
    `sign_in_url`, to which browsers are sent, is one of them where it is on this host.
    """

    def __init__(
        self,
        app: App,
        gateway: Gateway,
        identify: Identify,
        *,
        sign_in_url: str | None = None,
        open_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._identify = identify
        self._sign_in_url = sign_in_url
        self._open_paths = with_sign_in(open_paths, sign_in_url)
        self._alarm = Alarm()
        self._stopped = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        kind = scope["type"]
        if kind == "lifespan":
            try:
                await Lifespan(self._gateway, receive, send).serve(self._app, scope)
            finally:
                self._stopped = True
            return
        claims: Sequence[SessionClaims] = ()
        if kind in {"http", "websocket"}:
            if not self._stopped:
                await self._gateway.start()
            if scope["path"] not in self._open_paths:
                claims = await self._claims(scope)
        if not claims:
            await self._app(scope, receive, send)
        elif kind == "http":
            url, alarm = self._sign_in_url, self._alarm
            http = HTTPGuard(self._gateway, claims, scope, receive, send, alarm=alarm, sign_in_url=url)
            await http.serve(self._app)
        else:
            websocket = WebSocketGuard(self._gateway, claims, scope, receive, send, alarm=self._alarm)
            await websocket.serve(self._app)

    async def _claims(self, scope: Scope) -> Sequence[SessionClaims]:
        found: Any = self._identify(scope)
        return several(await found if inspect.isawaitable(found) else found)


def several(identified: Identified) -> Sequence[SessionClaims]:
    """What an `identify` answers, as a sequence."""
    if identified is None:
        return ()
    return (identified,) if isinstance(identified, SessionClaims) else identified


def with_sign_in(open_paths: Collection[str], sign_in_url: str | None) -> frozenset[str]:
    """A sign-in page that sends to itself whoever shows a dead cookie would lock that person out."""
    url = sign_in_url or ""
    here = {url.partition("?")[0]} if url.startswith("/") and not url.startswith("//") else set()
    return frozenset(open_paths) | here
