"""The application: `/check` is answered before anything is routed; `revoker.api.routing` has the rest."""

from typing import Final

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from revoker.api.check import Check
from revoker.api.failing import HANDLERS

_CHECK: Final = "/check"


class Api:
    """`rest` answers whatever is not `/check`."""

    def __init__(self, check: Check, rest: ASGIApp | None = None) -> None:
        self._check = check
        self._rest = rest or nothing_else()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith(_CHECK) and (len(path) == len(_CHECK) or path[len(_CHECK)] == "/"):
                await self._check(scope, receive, send)
                return
        await self._rest(scope, receive, send)


def nothing_else(operator: ASGIApp | None = None) -> ASGIApp:
    """For `--only check`: `/livez`, `/readyz` and `/metrics` where they have no port of their own."""
    app = Starlette(routes=[Mount("/", operator)] if operator is not None else [], exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    return app
