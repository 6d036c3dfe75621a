"""Refusals: RFC 9457 problem details that name nothing of ours, and the challenges of RFC 6750."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

PROBLEM: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_SCHEMA: Final = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "cause": {"type": "string", "description": "Why a session is over, in one word."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "message": {"type": "string"}},
                "required": ["place", "message"],
            },
        },
    },
    "required": ["title", "status"],
}
_MEANINGS: Final[Mapping[int, str]] = {
    400: "The request makes no sense; `errors` say where.",
    401: "Nobody, or with a token that does not hold: expired, or of a session that is over.",
    403: "Not allowed, or on hold.",
    404: "Nothing there, for whoever asks.",
    503: "Not now. Whatever was asked for did not happen; try again after `Retry-After` seconds.",
}


class ProblemError(Exception):
    """An answer that is a refusal. `more` are further members, such as `cause`."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def response(self) -> Response:
        """It on the wire."""
        headers = NO_STORE | {"Content-Type": PROBLEM} | self.headers
        return Response(body(self.status, self.detail, **self.more), self.status, headers)


def body(status: int, detail: str = "", **more: Any) -> bytes:  # noqa: ANN401 - members of a problem may be anything
    """The members of a problem."""
    told = {"title": title(status), "status": status}
    return msgspec.json.encode(told | ({"detail": detail} if detail else {}) | more)


def title(status: int) -> str:
    """What that status is called."""
    # Python's own names of these two are older than RFC 9110.
    renamed = {413: "Content Too Large", 422: "Unprocessable Content"}
    try:
        return renamed.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


def challenge(
    error: str | None = None, description: str | None = None, scope: str | None = None, max_age: int | None = None
) -> str:
    """`WWW-Authenticate` (RFC 6750, section 3). Our own words only: nothing of the request is repeated."""
    parts = {"error": error, "error_description": description, "scope": scope, "max_age": max_age}
    told = ", ".join(f'{name}="{value}"' for name, value in parts.items() if value is not None)
    return f"Bearer {told}" if told else "Bearer"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that refuses so."""
    return {
        status: {"description": _MEANINGS.get(status, title(status)), "content": {PROBLEM: {"schema": _SCHEMA}}}
        for status in statuses
    }
