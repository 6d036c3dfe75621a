"""Refusals: RFC 9457 problem details that name nothing of ours, and the challenges of RFC 6750."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

PROBLEM: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
TITLES: Final[Mapping[int, str]] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ProblemError(Exception):
    """An answer that is a refusal."""

    def __init__(self, status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """It on the wire."""
        headers = NO_STORE | {"Content-Type": PROBLEM} | self.headers
        return Response(body(self.status, self.detail), self.status, headers)


def body(status: int, detail: str = "", **more: Any) -> bytes:  # noqa: ANN401 - members of a problem may be anything
    """The members of a problem."""
    told = {"title": TITLES.get(status, "Refused"), "status": status}
    return msgspec.json.encode(told | ({"detail": detail} if detail else {}) | more)


def challenge(error: str | None = None, description: str | None = None, scope: str | None = None) -> str:
    """`WWW-Authenticate` (RFC 6750, section 3). Our own words only: nothing of the request is repeated."""
    parts = {"error": error, "error_description": description, "scope": scope}
    told = ", ".join(f'{name}="{value}"' for name, value in parts.items() if value is not None)
    return f"Bearer {told}" if told else "Bearer"
