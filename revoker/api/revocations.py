"""`GET /v1/revocations/{id}`: what became of something that was asked for. `Prefer: wait` waits for more.

For whom it concerns, and whoever may look at everything: nobody else learns that it exists.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from revoker.api.asking import Asking, State
from revoker.api.grants import AUDITOR, PUBLISH, RESPONDER
from revoker.api.parts import Parts
from revoker.api.prefer import PARAMETERS, Waiting, waiting
from revoker.api.problems import NO_STORE, ProblemError, documented
from revoker.api.who import Principal
from revoker.errors import UnavailableError
from revoker.storage.reading import RevocationFound
from schemas.fields import wire_time

_EXAMPLE: Final = {
    "revocation_id": "0f0e2c5e-7a3b-5d1c-9d0a-6c8f1f2b3a4d",
    "state": "enforced",
    "cause": "password-changed",
    "initiator": "user",
    "reason_user": {"en": "Your password was changed"},
    "requested_at": "2026-11-21T09:00:00.000000Z",
    "committed_at": "2026-11-21T09:00:00.012000Z",
    "announced_at": "2026-11-21T09:00:00.020000Z",
    "enforced_at": "2026-11-21T09:00:00.410000Z",
    "sessions_ended": 2,
    "tokens_ended": 0,
}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = documented(400, 401, 404, 503) | {
    200: {"description": "How far it has come.", "content": {"application/json": {"example": _EXAMPLE}}}
}


def routes(parts: Parts) -> APIRouter:
    """The one route."""
    router = APIRouter(tags=["people", "publishers"])

    @router.get(
        "/v1/revocations/{id}",
        summary="See how far a revocation has come",
        response_class=JSONResponse,
        responses=_RESPONSES,
        openapi_extra={"parameters": PARAMETERS},
    )
    async def show(
        request: Request,
        id: Annotated[uuid.UUID, Path(description="As an answer named it.")],  # noqa: A002 - the contract's word
        principal: Annotated[Principal, Depends(parts.who.anybody)],
    ) -> Response:
        """`requested` is what Kafka has, `committed` what the database has, `enforced` what no gateway serves."""
        wish = waiting(request)
        try:
            state, found = await _looked(parts.asking, id, principal, wish)
        except UnavailableError as error:
            raise ProblemError(503, "Revocations cannot be looked up now", {"Retry-After": "2"}) from error
        return JSONResponse(_as_json(found, state), headers=NO_STORE | wish.headers())

    return router


async def _looked(asking: Asking, id_: uuid.UUID, principal: Principal, wish: Waiting) -> tuple[State, RevocationFound]:
    state, found = await asking.look(id_, wish)
    if found is None or not _may_see(principal, found):
        raise ProblemError(404, "There is no such revocation, or not yet")
    return state, found


def _may_see(principal: Principal, found: RevocationFound) -> bool:
    selector = found.revocation.selector
    tenant = selector.tenant or ""
    if principal.roles & {RESPONDER, AUDITOR} or PUBLISH in principal.scopes:
        return principal.tenant is None or principal.tenant == tenant
    claims = principal.claims
    return claims.subject is not None and (claims.tenant, claims.subject) == (tenant, selector.subject)


def _as_json(found: RevocationFound, state: State) -> dict[str, Any]:
    """Without what only responders may know, and without whose it is."""
    revocation = found.revocation
    return {
        "revocation_id": str(revocation.id),
        "state": state,
        "cause": revocation.cause,
        "initiator": revocation.initiator,
        "reason_user": dict(revocation.reason_user),
        "requested_at": wire_time(revocation.requested_at),
        "committed_at": wire_time(found.committed_at),
        "announced_at": _told(found.announced_at),
        "enforced_at": _told(found.enforced_at) if state == "enforced" else None,
        "sessions_ended": found.sessions_ended,
        "tokens_ended": found.tokens_ended,
    }


def _told(instant: datetime | None) -> str | None:
    return wire_time(instant) if instant is not None else None
