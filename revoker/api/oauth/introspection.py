"""`POST /v1/introspect` (RFC 7662): may whoever shows this token pass? Exactly `{"active":false}` wherever not, whether
the token is unknown, expired, over, held, or of a tenant that is none of the caller's business.
"""

from typing import Any, Final

from starlette.responses import JSONResponse, Response

from revoker.api.oauth.shown import look, passes
from revoker.api.parts import Parts
from revoker.api.problems import NO_STORE

INACTIVE: Final = {"active": False}


async def introspect(parts: Parts, tenant: str | None, token: bytes) -> Response:
    """The answer to somebody of `tenant` (None: of all). Raises `ProblemError` (503) where nobody can tell."""
    shown = await look(parts, token, tenant)
    members: dict[str, Any] = INACTIVE
    if shown is not None and passes(parts, shown):
        members = {**shown.members, "token_use": shown.use, "active": True}
    return JSONResponse(members, headers=NO_STORE)
