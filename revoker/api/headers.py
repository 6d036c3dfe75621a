"""What every answer but that of `/check` carries, and how much a request may carry: plain ASGI around all routes.

What a route says for itself stays: a page has a policy of its own, a stream its own caching. `Referrer-Policy` is
`same-origin` and not `no-referrer`, under which browsers send `Origin: null` with forms, and we could not tell whose a
form is. Nothing is let across origins but to those that `[http]` names: `origins`, and `cors_origins` without cookies.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revoker.api.bodies import Bodies
from revoker.settings import HttpSettings

POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""For what is no page: nothing runs, loads or frames it."""
_FEATURES: Final = (
    "accelerometer",
    "autoplay",
    "camera",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "usb",
    "xr-spatial-tracking",
)
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_HSTS: Final = "max-age=31536000"
"""A year, and of this host alone: its subdomains are not ours to speak for."""
_METHODS: Final = ("GET", "POST", "DELETE")
_ASKED: Final = ("Authorization", "Content-Type", "Prefer", "Last-Event-ID")
_SHOWN: Final = ("Location", "Preference-Applied", "Retry-After", "WWW-Authenticate")
_PREFLIGHT_SECONDS: Final = 600


def guarded(app: ASGIApp, http: HttpSettings) -> ASGIApp:
    """`app`, with all that is in here."""
    inner: ASGIApp = Bodies(app, http.max_body)
    if http.origins or http.cors_origins:
        inner = _Across(inner, http)
    return SecurityHeaders(inner, is_https=(http.public_url or "").startswith("https://"))


class _Across:
    """Lets scripts of other origins read answers: with cookies those that may act for people, the others without."""

    def __init__(self, app: ASGIApp, http: HttpSettings) -> None:
        self._trusted = frozenset(http.origins)
        self._with_cookies = _cors(app, http.origins, cookies=True)
        self._without = _cors(app, http.cors_origins, cookies=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trusted = scope["type"] == "http" and Headers(scope=scope).get("origin") in self._trusted
        await (self._with_cookies if trusted else self._without)(scope, receive, send)


def _cors(app: ASGIApp, origins: Iterable[str], *, cookies: bool) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=tuple(origins),
        allow_credentials=cookies,
        allow_methods=_METHODS,
        allow_headers=_ASKED,
        expose_headers=_SHOWN,
        max_age=_PREFLIGHT_SECONDS,
    )


class SecurityHeaders:
    """Adds what is missing of them to each answer."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        wanted = {**HEADERS, "strict-transport-security": _HSTS} if is_https else HEADERS
        self._wanted = tuple((name.encode(), value.encode()) for name, value in wanted.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message = {**message, "headers": given + [pair for pair in self._wanted if pair[0] not in names]}
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)
