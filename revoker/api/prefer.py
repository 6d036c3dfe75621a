"""`Prefer: wait=N` (RFC 7240) and `?until=committed|enforced`: for how long an answer may wait, and for what."""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.requests import Request

from revoker.api.problems import ProblemError

MOST_SECONDS: Final = 30

_PREFERENCE: Final = re.compile(
    r"""\s* ([!#$%&'*+.^_`|~0-9A-Za-z-]+) \s* (?: = \s* ("(?:[^"\\]|\\.)*" | [^\s,;"]*) )? \s* (?:;.*)?""",
    re.VERBOSE,
)
_DIGITS: Final = re.compile(r"[0-9]{1,9}")

Until = Literal["committed", "enforced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """For how many seconds to wait, and until what."""

    seconds: float = 0.0
    until: Until = "committed"
    preferred: bool = False
    """The client said for how long."""

    def headers(self) -> dict[str, str]:
        """What tells the client that it was heard (RFC 7240, section 3)."""
        return {"Preference-Applied": f"wait={self.seconds:g}"} if self.preferred else {}


NO_WAIT: Final = Waiting()
PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "Prefer",
        "in": "header",
        "description": f"`wait=N`: wait up to N seconds, {MOST_SECONDS} at most (RFC 7240).",
        "schema": {"type": "string"},
        "example": "wait=5",
    },
    {
        "name": "until",
        "in": "query",
        "description": "What to wait for.",
        "schema": {"type": "string", "enum": ["committed", "enforced"], "default": "committed"},
    },
]
"""What the OpenAPI document says of it."""


def waiting(request: Request, default: Waiting = NO_WAIT) -> Waiting:
    """What the client wants; `default` where it does not say. Raises `ProblemError` for an unknown `until`."""
    asked = request.query_params.get("until", default.until)
    if asked == "committed":
        until: Until = "committed"
    elif asked == "enforced":
        until = "enforced"
    else:
        raise ProblemError(400, "until is committed or enforced")
    seconds = _wait(",".join(request.headers.getlist("prefer")))
    if seconds is None:
        return Waiting(seconds=default.seconds, until=until)
    return Waiting(seconds=min(seconds, MOST_SECONDS), until=until, preferred=True)


def _wait(header: str) -> int | None:
    """The first `wait` counts; one that is no number of seconds does not exist (section 2)."""
    for part in header[:1_000].split(","):
        found = _PREFERENCE.fullmatch(part)
        if found is not None and found[1].lower() == "wait":
            value = (found[2] or "").strip('"')
            return int(value) if _DIGITS.fullmatch(value) else None
    return None
