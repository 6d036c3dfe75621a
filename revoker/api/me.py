"""`/v1/me`: a person's own sessions, for the person's own programs. The page for people stands on the same.

    GET    /v1/me/session              the one that asks
    GET    /v1/me/sessions             all, and for a while those that were ended, with the reason
    DELETE /v1/me/sessions/{id}        ends one
    POST   /v1/me/security-concerns    "this was not me": ends all others, and this one unless it is fresh
    GET    /v1/me/notifications        server-sent events: this session ended, and why (`revoker.api.watching`)

Whatever is not the caller's is a 404, whether it is somebody's or nobody's. Reasons are in the caller's language.
"""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response

from revoker.api.bodies import body
from revoker.api.devices import DatabaseAwayError, Devices, Ended, Shown
from revoker.api.languages import Language, languages
from revoker.api.parts import Parts
from revoker.api.places import Place
from revoker.api.prefer import PARAMETERS, waiting
from revoker.api.problems import ProblemError, documented
from revoker.api.watching import Watching
from revoker.storage.devices import Device
from revoker.storage.devices import Place as Position
from schemas.fields import Id, Instant

_MOST: Final = 100
_MAX_CURSOR: Final = 2_000
_MAX_CONCERN: Final = 4_096
_JSON: Final = "application/json"
_NO_STORE: Final = {"Cache-Control": "no-store"}


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class MyPlace(_Told):
    """Where a device was last seen, as far as its network tells."""

    city: str | None
    country: str | None
    code: Annotated[str | None, Field(description="Of the country, in two letters.")]


class MyEnded(_Told):
    """That a session is over, and why."""

    at: Instant
    cause: str | None
    initiator: str | None
    reason: Annotated[str, Field(description="In the language that was asked for, if there is such a text.")]
    revocation_id: str


class MySession(_Told):
    """One sign-in: on one device, maybe to several clients."""

    session_id: Annotated[str | None, Field(description="Null: this one, by a token that names no session.")]
    device: Annotated[str, Field(examples=["Firefox on Linux"])]
    place: MyPlace | None
    clients: tuple[str, ...]
    established_at: Instant | None
    last_active_at: Instant | None
    current: bool
    live: bool
    ended: MyEnded | None


class MySessions(_Told):
    """Some of them, live ones first."""

    sessions: list[MySession]
    next: Annotated[str | None, Field(description="`cursor` for the rest; null: that was all.")]


class MyConcern(_Told):
    """What a person reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_id: Annotated[Id | None, Field(description="The session that it is about, if it is one's own.")] = None


class MyOrder(_Told):
    """How far it has come."""

    revocation_id: str
    state: Literal["requested", "committed", "enforced"]
    event_id: str | None = None


_DONE: Final[dict[int | str, dict[str, Any]]] = documented(404, 413, 415) | {
    200: {"model": MyOrder, "description": "It has come as far as was asked for."},
    202: {"model": MyOrder, "description": "Kafka has it; `Location` says where to look."},
}
_EVENT: Final = (
    'event: session-ended\ndata: {"kind":"ended","cause":"password-changed","initiator":"user",'
    '"reason":"Your password was changed"}\n\n'
)


def routes(parts: Parts) -> APIRouter:
    """All of `/v1/me`."""
    me = _Me(parts)
    router = APIRouter(prefix="/v1/me", tags=["people"])
    router.add_api_route(
        "/session", me.session, methods=["GET"], response_model=MySession, summary="The session that asks"
    )
    router.add_api_route(
        "/sessions", me.sessions, methods=["GET"], response_model=MySessions, summary="All sessions of the person"
    )
    router.add_api_route(
        "/sessions/{session_id}",
        me.end,
        methods=["DELETE"],
        summary="End one of them",
        responses=_DONE,
        response_class=JSONResponse,
        openapi_extra={"parameters": PARAMETERS},
    )
    router.add_api_route(
        "/security-concerns",
        me.report,
        methods=["POST"],
        summary="This was not me",
        responses=_DONE,
        response_class=JSONResponse,
        openapi_extra={
            "parameters": PARAMETERS,
            "requestBody": {"content": {_JSON: {"schema": MyConcern.model_json_schema(), "example": {}}}},
        },
    )
    router.add_api_route(
        "/notifications",
        Watching(parts).follow,
        methods=["GET"],
        summary="Be told when this session is over",
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}}}},
        response_class=Response,
    )
    return router


class _Me:
    def __init__(self, parts: Parts) -> None:
        self._who = parts.who
        self._devices = Devices(parts, languages())

    async def session(self, request: Request, response: Response) -> MySession:
        """The session that asks."""
        who = await self._who.person(request)
        response.headers.update(_NO_STORE)
        return _session(await self._devices.own(who, _language(request)))

    async def sessions(
        self,
        request: Request,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
        cursor: Annotated[str | None, Query(max_length=_MAX_CURSOR)] = None,
    ) -> MySessions:
        """All sessions of the person: live ones by when they began, then ended ones by their end, newest first."""
        who = await self._who.person(request)
        try:
            found = await self._devices.listed(who, _language(request), position(cursor), limit)
        except DatabaseAwayError as error:
            raise error.problem() from error
        response.headers.update(_NO_STORE)
        return MySessions(sessions=[_session(one) for one in found.devices], next=cursor_of(found.next))

    async def end(self, request: Request, session_id: str) -> Response:
        """Ends one session of the person, whatever clients it serves."""
        who = await self._who.person(request)
        wanted = waiting(request)
        if not may_be_id(session_id):
            raise ProblemError(404, "There is no such session")
        asked = await self._devices.end(who, session_id, wanted)
        if isinstance(asked, Device):
            # It was over before: nothing is asked for.
            return JSONResponse({"revocation_id": str(asked.ended_by), "state": "committed"}, headers=_NO_STORE)
        return JSONResponse(asked.as_json(), asked.status(wanted), headers=asked.headers(wanted))

    async def report(self, request: Request) -> Response:
        """Takes a "this was not me": ends all other sessions of the person, and this one unless it began just now."""
        who = await self._who.person(request)
        wanted = waiting(request)
        asked = await self._devices.report(who, (await _concern(request)).session_id, wanted)
        return JSONResponse(asked.as_json(), asked.status(wanted), headers=asked.headers(wanted))


def position(cursor: str | None) -> Position | None:
    """Where `cursor` says that the list goes on. Raises `ProblemError`."""
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        live, at, session_id = msgspec.json.decode(raw, type=tuple[bool, datetime, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise ProblemError(400, "cursor is none of ours") from error
    if at.tzinfo is None or not may_be_id(session_id):
        raise ProblemError(400, "cursor is none of ours")
    return Position(live=live, at=at, session_id=session_id)


def cursor_of(place: Position | None) -> str | None:
    """It as `position` reads it."""
    if place is None:
        return None
    raw = msgspec.json.encode((place.live, place.at, place.session_id))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _language(request: Request) -> Language:
    return languages().best(request.headers.get("accept-language"))


def may_be_id(text: str) -> bool:
    """Whether the database would look it up at all."""
    try:
        return 0 < len(text.encode()) <= 512 and text.isprintable()
    except UnicodeEncodeError:
        return False


def _session(shown: Shown) -> MySession:
    return MySession(
        session_id=shown.session_id,
        device=shown.name,
        place=_place(shown.place),
        clients=shown.clients,
        established_at=shown.established_at,
        last_active_at=shown.seen_at,
        current=shown.current,
        live=shown.live,
        ended=_ended(shown.ended),
    )


def _place(place: Place | None) -> MyPlace | None:
    return None if place is None else MyPlace(city=place.city, country=place.country, code=place.code)


def _ended(ended: Ended | None) -> MyEnded | None:
    if ended is None:
        return None
    return MyEnded(
        at=ended.at,
        cause=ended.cause,
        initiator=ended.initiator,
        reason=ended.reason.text,
        revocation_id=ended.revocation_id,
    )


async def _concern(request: Request) -> MyConcern:
    """Without a body it is about no session in particular. Raises `ProblemError`."""
    if "content-type" not in request.headers:
        return MyConcern()
    try:
        return MyConcern.model_validate_json(await body(request, _MAX_CONCERN, _JSON))
    except ValidationError as error:
        raise ProblemError(400, "The report makes no sense") from error
