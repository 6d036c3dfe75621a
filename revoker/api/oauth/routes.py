"""The three endpoints, and what their callers have to show."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from revoker.api.bodies import body
from revoker.api.grants import GLOBAL_REVOCATION, INTROSPECT
from revoker.api.inlined import inlined
from revoker.api.oauth import everywhere, introspection, revocation
from revoker.api.oauth.everywhere import GlobalRevocation
from revoker.api.oauth.forms import FORM, MOST_FIELDS, token_of
from revoker.api.parts import Parts
from revoker.api.prefer import PARAMETERS, waiting
from revoker.api.problems import ProblemError, challenge, documented
from revoker.api.who import Principal

_MOST_BYTES: Final = 16_384
_JSON: Final = "application/json"
_TOKEN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["token"],
    "properties": {
        "token": {"type": "string", "minLength": 1, "description": "As it is shown to whoever accepts it."},
        "token_type_hint": {"type": "string", "description": "All kinds are looked for, whatever it says."},
    },
    # No parameter may be there twice.
    "additionalProperties": {"type": "string"},
    "maxProperties": MOST_FIELDS,
    "example": {"token": "mF_9.B5f-4.1JqM", "token_type_hint": "refresh_token"},
}
_INTROSPECTED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["active"],
    "properties": {
        "active": {"type": "boolean"},
        "token_use": {
            "type": "string",
            "enum": ["access_token", "refresh_token", "remember_me"],
            "description": "Only an access token opens anything; the others are for whoever issued them.",
        },
        "token_type": {"type": "string"},
        "scope": {"type": "string"},
        "client_id": {"type": "string"},
        "sub": {"type": "string"},
        "exp": {"type": "number"},
        "iat": {"type": "number"},
        "jti": {"type": "string"},
        "sid": {"type": "string"},
        "cnf": {"type": "object", "description": "The key that the token is bound to, for you to check."},
    },
}
_ASKED: Final[dict[str, Any]] = {
    "content": {
        _JSON: {
            "example": {
                "revocation_id": "0f0e2c5e-7a3b-5d1c-9d0a-6c8f1f2b3a4d",
                "state": "committed",
                "event_id": "5f0c4c9e-3b7a-4a39-8e6a-0a5f6d1c2b3e",
            }
        }
    }
}
"""Told to whoever says `Prefer: wait`."""


def _form() -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {FORM: {"schema": _TOKEN}}}}


def routes(parts: Parts) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["OAuth"])

    @router.post(
        "/v1/introspect",
        summary="Is this token active?",
        response_class=Response,
        responses={
            200: {
                "description": "What it is; or `active` false and nothing else.",
                "content": {_JSON: {"schema": _INTROSPECTED, "example": {"active": False}}},
            },
            **documented(400, 401, 403, 413, 415, 429, 503),
        },
        openapi_extra=_form(),
    )
    async def introspect(
        request: Request, caller: Annotated[Principal, Depends(parts.who.machine(INTROSPECT))]
    ) -> Response:
        """RFC 7662, for resource servers. A token is active while it holds and is neither over nor on hold; whoever
        keeps the answer keeps a session alive for so long after its end.
        """
        return await introspection.introspect(parts, caller.tenant, await token_of(request))

    @router.post(
        "/v1/revoke",
        summary="Give a token back",
        response_class=Response,
        responses={
            200: {"description": "It will be over, or never was. With `Prefer: wait` it says how far that has come."},
            202: {"description": "It will be; `Prefer: wait` was not long enough.", **_ASKED},
            **documented(400, 401, 403, 413, 415, 429, 503),
        },
        openapi_extra={**_form(), "parameters": PARAMETERS},
    )
    async def revoke(request: Request) -> Response:
        """RFC 7009, for OAuth clients, which show a token of their own. With a refresh token ends the client's part of
        the session. 503 means that the token is still valid.
        """
        if "authorization" not in request.headers:
            raise ProblemError(401, "", {"WWW-Authenticate": challenge()})
        client = await parts.who.anybody(request)
        until = waiting(request)
        return await revocation.revoke(parts, client, await token_of(request), until)

    @router.post(
        "/v1/global-token-revocation",
        summary="End everything of a person",
        status_code=204,
        response_class=Response,
        responses={
            200: {"description": "It is so, as far as `until` asked.", **_ASKED},
            202: {"description": "It will be; `Prefer: wait` was not long enough.", **_ASKED},
            204: {"description": "It has begun."},
            **documented(400, 401, 403, 404, 413, 415, 422, 429, 503),
        },
        openapi_extra={
            "parameters": PARAMETERS,
            "requestBody": {"required": True, "content": {_JSON: {"schema": inlined(GlobalRevocation)}}},
        },
    )
    async def end_everything(
        request: Request, machine: Annotated[Principal, Depends(parts.who.machine(GLOBAL_REVOCATION))]
    ) -> Response:
        """Global token revocation, for incident tools: all sessions and refresh tokens of a subject end, and the
        person has to sign in again. Subjects that nobody has heard of are ended as well.
        """
        until = waiting(request)
        return await everywhere.end_everything(parts, machine, await body(request, _MOST_BYTES, _JSON), until)

    return router
