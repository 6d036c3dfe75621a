"""`POST /v1/revoke` (RFC 7009): a client gives a token of its own back.

An access token ends alone. With a refresh token ends what was granted with it: the client's part of the session, and so
its access tokens (section 2.1). Where nothing can be ended, nothing is to be done, and that is a success, too.

Nothing is skipped because the token is over already: a client that was told to try again may have been heard in part.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from revoker.api.oauth.forms import refusal
from revoker.api.oauth.shown import Shown, Use, look
from revoker.api.parts import Parts
from revoker.api.prefer import NO_WAIT, Waiting
from revoker.api.problems import NO_STORE, ProblemError, challenge
from revoker.api.who import Principal

_CLOCKS: Final = timedelta(minutes=10)
"""How much longer than it is valid a token is refused, since others may be more patient with clocks than we are."""


async def revoke(parts: Parts, client: Principal, token: bytes, waiting: Waiting) -> Response:
    """The answer to `client`. Raises `ProblemError`."""
    own = client.claims.client_id
    if client.by_cookie or own is None:
        raise ProblemError(401, "Clients show a token that names them", {"WWW-Authenticate": challenge()})
    shown = await look(parts, token, client.tenant)
    if shown is None:
        return Response(status_code=200, headers=NO_STORE)
    if shown.claims.client_id != own:
        raise refusal("invalid_grant", "The token was issued to another client")

    events = [
        parts.asking.prepare(type=type_, tenant=shown.claims.tenant, subject=shown.claims.subject, data=data)
        for type_, data in _events(shown)
    ]
    for event in events[:-1]:
        await parts.asking.ask(event, NO_WAIT)
    asked = await parts.asking.ask(events[-1], waiting)
    if not waiting.preferred:
        return Response(status_code=200, headers=NO_STORE)
    return JSONResponse(asked.as_json(), asked.status(waiting), asked.headers(waiting))


def _events(shown: Shown) -> Iterator[tuple[str, dict[str, Any]]]:
    """What happened, the widest last: whoever waits, waits for that. One subject's events are applied in order."""
    claims = shown.claims
    if claims.token_id is None:
        # Only a JWT can be so. Its hash would be told to gateways none of which knows it by that.
        raise refusal("unsupported_token_type", "A token without an id cannot be revoked alone")
    because = {"initiator": "user"}
    yield (
        "token-revoked",
        {"token_id": claims.token_id, "expires_at": shown.expires_at + _CLOCKS, **because},
    )
    if shown.use is not Use.ACCESS and claims.session_id is not None:
        yield "logged-out", {"session_id": claims.session_id, "client_id": claims.client_id, **because}
