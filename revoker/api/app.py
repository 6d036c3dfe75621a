"""The routes. `/check` is answered before anything is routed; the rest is Starlette's."""

from collections.abc import Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from revoker.api.check import Check
from revoker.api.notifications import Notifications
from revoker.api.problems import ProblemError
from revoker.api.receipts import Receipts

_CHECK: Final = "/check"


class Api:
    """The application. `operator` answers `/livez`, `/readyz` and `/metrics` where they have no port of their own."""

    def __init__(
        self,
        check: Check,
        notifications: Notifications | None = None,
        receipts: Receipts | None = None,
        operator: ASGIApp | None = None,
    ) -> None:
        self._check = check
        self._rest = _routed(_routes(notifications, receipts, operator))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith(_CHECK) and (len(path) == len(_CHECK) or path[len(_CHECK)] == "/"):
                await self._check(scope, receive, send)
                return
        await self._rest(scope, receive, send)


def _routes(
    notifications: Notifications | None, receipts: Receipts | None, operator: ASGIApp | None
) -> list[BaseRoute]:
    routes: list[BaseRoute] = []
    if notifications is not None:
        # A function, since Starlette takes an object that can be called for an ASGI application.
        async def follow(request: Request) -> Response:
            return await notifications(request)

        routes.append(Route("/v1/notifications", follow, methods=["GET"]))
    if receipts is not None:

        async def take(request: Request) -> Response:
            return await receipts(request)

        routes.append(Route("/v1/receipts", take, methods=["POST"]))
    if operator is not None:
        routes.append(Mount("/", operator))
    return routes


def _routed(routes: list[BaseRoute]) -> Starlette:
    app = Starlette(
        routes=routes,
        exception_handlers={ProblemError: _problem, HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


async def _problem(_request: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, ProblemError) else ProblemError(500).response()


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return ProblemError(500).response()
    headers: Mapping[str, str] = error.headers or {}
    return ProblemError(error.status_code, headers=headers).response()


async def _failed(_request: Request, _error: Exception) -> Response:
    return ProblemError(500).response()
