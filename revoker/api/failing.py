"""What becomes of an exception: a problem (RFC 9457) that names nothing of ours and repeats nothing of the request."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from revoker.api.problems import ProblemError


async def _problem(_request: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, ProblemError) else ProblemError(500).response()


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return ProblemError(500).response()
    headers: Mapping[str, str] = error.headers or {}
    return ProblemError(error.status_code, headers=headers).response()


async def _failed(_request: Request, _error: Exception) -> Response:
    return ProblemError(500).response()


HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    ProblemError: _problem,
    HTTPException: _refused,
    Exception: _failed,
}
