"""The routes, on FastAPI. Every module of a part makes its own of `Parts`."""

import re
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from revoker.api import documents, events, hooks, logout, me, notifications, oauth, receipts, revocations
from revoker.api.failing import HANDLERS
from revoker.api.pages import devices as devices_page
from revoker.api.parts import Parts
from revoker.api.problems import ProblemError, documented

_MODULES: Final = (logout, oauth, events, hooks, revocations, notifications, receipts, documents, me, devices_page)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_TAGS: Final = [
    {"name": "people", "description": "End users, with their own token or session cookie."},
    {"name": "publishers", "description": "Programs with the scope `revoker.publish`."},
    {"name": "resource servers", "description": "Programs with the scope `revoker.introspect`."},
    {"name": "gateways", "description": "Programs with the scope `revoker.gateway`."},
]


def application(parts: Parts, operator: ASGIApp | None = None) -> FastAPI:
    """All but `/check`. `operator` answers `/livez`, `/readyz` and `/metrics` where they have no port of their own."""
    app = FastAPI(
        title="Session revocation",
        version=version("revoker"),
        summary="Ends sessions, proves it, and tells everybody who serves them.",
        openapi_tags=_TAGS,
        # The documents have routes of their own: no page here loads anything from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        responses=documented(400, 401, 403, 503) | {"4XX": documented(404)[404]},
        exception_handlers=dict(HANDLERS) | {RequestValidationError: _invalid},
        redirect_slashes=False,
    )
    for module in _MODULES:
        app.include_router(module.routes(parts))
    if operator is not None:
        # Not mounted: what matches everything would answer for a route that does not take a method.
        app.router.default = operator
    return app


async def _invalid(_request: Request, error: Exception) -> Response:
    """What is wrong where, without what stood there: it may be a secret."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [{"place": _place(one["loc"]), "message": str(one["msg"])} for one in found[:20]]
    return ProblemError(400, "The request makes no sense", errors=errors).response()


def _place(path: tuple[int | str, ...]) -> str:
    """Keys are the sender's, too: one that is no name is not repeated."""
    return ".".join(str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "?" for part in path)
