"""Who may ask the demo's page and its issuer, and what a browser may do with what they answer.

They listen on this machine alone, but any web site can send a person's browser there. So a name that is not this
machine's is refused (a name that was rebound to 127.0.0.1), and so is whatever does more than read and does not come
from the page itself: posts, and WebSockets, which know no same-origin policy.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES: Final = ("127.0.0.1", "localhost")
_READING: Final = frozenset({"GET", "HEAD"})
_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With "no-referrer" a form's Origin would be "null".
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def guarded(app: ASGIApp, *, names: Sequence[str] = NAMES, forms_lead_to: str = "") -> ASGIApp:
    """`app` behind the doors. Its forms may end at that origin, too: browsers look at where a redirect leads."""
    return TrustedHostMiddleware(Doors(app, forms_lead_to), allowed_hosts=names, www_redirect=False)


class Doors:
    """Same-origin proof and headers."""

    def __init__(self, app: ASGIApp, forms_lead_to: str) -> None:
        self._app = app
        self._policy = (*_POLICY, f"form-action 'self' {forms_lead_to}".rstrip())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told.update(_HEADERS)
                # Some browsers' 'self' leaves out WebSockets.
                told["Content-Security-Policy"] = "; ".join((*self._policy, f"connect-src 'self' ws://{host}"))
            await send(message)

        reads = scope["type"] == "http" and scope["method"] in _READING
        if reads or headers.get("origin") == f"http://{host}":
            await self._app(scope, receive, answer)
        elif scope["type"] == "http":
            await PlainTextResponse("This is for the page itself", 403)(scope, receive, answer)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "wrong origin"})
