"""`POST /v1/events`: whatever happened, from a program that may publish. Every type of both vocabularies, in every mode
of CloudEvents over HTTP; see `revoker.api.cloudevents`.

Each event is taken or refused by itself, and the answer says which. What was taken is on Kafka, under its own id: to
send it again, or the whole batch, changes nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from revoker.api import bodies, cloudevents
from revoker.api.asking import STATES, Asked, State
from revoker.api.grants import PUBLISH
from revoker.api.inlined import inlined
from revoker.api.parts import Parts
from revoker.api.prefer import PARAMETERS, Waiting, waiting
from revoker.api.problems import NO_STORE, ProblemError, documented
from revoker.api.who import Principal
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.service.intake import Intake, Taken, by_topic
from schemas.catalogue import PUBLISHED
from schemas.cloudevent import CONTENT_TYPE
from schemas.codec import Reason, Rejected
from schemas.fields import MAX_ID_BYTES
from schemas.topics import Topic

MOST: Final = 1_000
"""Events in one request."""

_LOOKING: Final = 8
"""Revocations that are waited for at once."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One event of a request, and what became of it."""

    id: str | None
    taken: Taken | None = None
    refusal: Rejected | None = None
    state: State | None = None

    def as_json(self) -> dict[str, Any]:
        """For the answer."""
        told = {
            "id": self.id,
            "status": "accepted" if self.taken else "rejected",
            "revocation_id": str(self.taken.revocation_id) if self.taken and self.taken.revocation_id else None,
            "state": self.state,
            "reason": str(self.refusal) if self.refusal else None,
        }
        return {name: value for name, value in told.items() if value is not None or name == "id"}


def routes(parts: Parts) -> APIRouter:
    """`POST /v1/events`."""
    router = APIRouter(tags=["publishers"])
    publishing = Publishing(parts)

    @router.post(
        "/v1/events",
        summary="Publish what happened",
        status_code=202,
        response_class=Response,
        responses=_RESPONSES,
        openapi_extra={"requestBody": _BODY, "parameters": PARAMETERS},
    )
    async def publish(request: Request, machine: Annotated[Principal, Depends(parts.who.machine(PUBLISH))]) -> Response:
        """One CloudEvent or a batch; each is accepted or rejected by itself. Safe to repeat: events are known by id."""
        return await publishing(request, machine)

    return router


class Publishing:
    """The endpoint."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._intake = Intake(parts.settings)
        self._most = parts.settings.http.max_body

    async def __call__(self, request: Request, machine: Principal) -> Response:
        """Raises `ProblemError`."""
        wish = waiting(request)
        events = await self._events(request)
        began = time.monotonic()
        items = [self._judged(event, machine.tenant) for event in events]
        await self._sent([item.taken for item in items if item.taken is not None])
        self._count(items)
        if wish.seconds > 0:
            items = await self._followed(items, wish, began)
        return _answer(items, wish)

    async def _events(self, request: Request) -> list[Any]:
        headers = request.scope["headers"]
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        binary = cloudevents.is_binary(headers, kind) and cloudevents.is_json(kind)
        if not binary and kind not in {CONTENT_TYPE, cloudevents.BATCH, cloudevents.PLAIN}:
            raise ProblemError(415, f"Send {CONTENT_TYPE}, {cloudevents.BATCH} or {cloudevents.PLAIN}")
        events = cloudevents.events(kind, await bodies.body(request, self._most, kind), headers)
        if len(events) > MOST:
            raise ProblemError(413, f"At most {MOST} events at once")
        return events

    def _judged(self, event: Any, tenant: str | None) -> Item:  # noqa: ANN401 - whatever JSON can say
        try:
            taken = self._intake.take(to_json(event), tenant)
        except Rejected as error:
            return Item(_id(event), refusal=error)
        return Item(taken.id, taken)

    async def _sent(self, taken: Sequence[Taken]) -> None:
        try:
            for topic, records in by_topic(taken):
                await self._parts.sender.send(topic, records)
        except PublishError as error:
            _log.error("publish-failed", error=error)
            raise ProblemError(503, "Not all of it was taken; send it again", {"Retry-After": "1"}) from error

    def _count(self, items: Sequence[Item]) -> None:
        accepted = sum(item.taken is not None for item in items)
        self._parts.metrics.published.labels("events", "accepted").inc(accepted)
        self._parts.metrics.published.labels("events", "rejected").inc(len(items) - accepted)

    async def _followed(self, items: Sequence[Item], wish: Waiting, began: float) -> list[Item]:
        """How far each came within the time, which is one for all of them."""
        turn = asyncio.Semaphore(_LOOKING)

        async def follow(item: Item) -> Item:
            if item.taken is None or item.taken.revocation_id is None:
                return item
            asked = Asked(revocation_id=item.taken.revocation_id, state="requested", event_id=item.taken.id)
            async with turn:
                if time.monotonic() - began < wish.seconds:
                    asked = await self._parts.asking.awaited(asked, wish, began=began)
                return Item(item.id, item.taken, state=asked.state)

        return list(await asyncio.gather(*map(follow, items)))


def _answer(items: Sequence[Item], wish: Waiting) -> Response:
    results = [item.as_json() for item in items]
    refused = [item.refusal for item in items if item.refusal is not None]
    if refused and len(refused) == len(items):
        alone = len(items) == 1
        status = 413 if alone and refused[0].reason is Reason.TOO_LARGE else 400
        detail = str(refused[0]) if alone else "None of the events was accepted; see results"
        raise ProblemError(status, detail, results=results)
    headers = NO_STORE | wish.headers()
    if len(items) == 1 and items[0].taken is not None and items[0].taken.revocation_id is not None:
        headers["Location"] = f"/v1/revocations/{items[0].taken.revocation_id}"
    reached = wish.seconds > 0 and all(
        STATES.index(item.state or "requested") >= STATES.index(wish.until)
        for item in items
        if item.taken is not None and item.taken.revocation_id is not None
    )
    return JSONResponse({"results": results}, 200 if reached else 202, headers)


def _id(event: Any) -> str | None:  # noqa: ANN401 - whatever JSON can say
    """The id that a refused event claims, fit to be repeated to whoever sent it."""
    id_ = event.get("id") if isinstance(event, dict) else None
    return id_ if isinstance(id_, str) and len(id_) <= MAX_ID_BYTES and id_.isprintable() else None


_EXAMPLES: Final[dict[str, Any]] = {
    published.type: {"value": published.example.model_dump(mode="json", exclude_unset=True)}
    for published in PUBLISHED
    if published.topic in {Topic.IDENTITY_EVENTS, Topic.SESSION_ACTIVITY}
}
_EVENT: Final[dict[str, Any]] = {
    "oneOf": [
        inlined(type(published.example))
        for published in PUBLISHED
        if published.topic in {Topic.IDENTITY_EVENTS, Topic.SESSION_ACTIVITY}
    ],
}
_OBJECT: Final[dict[str, Any]] = {"type": "object", "description": "An event, as in structured mode."}
_BATCH: Final[dict[str, Any]] = {"type": "array", "items": _OBJECT, "maxItems": MOST}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "A CloudEvent, or several. In binary mode (`ce-*` headers) the body is its `data`.",
    "content": {
        CONTENT_TYPE: {"schema": _EVENT, "examples": _EXAMPLES},
        cloudevents.BATCH: {"schema": _BATCH},
        cloudevents.PLAIN: {"schema": {"oneOf": [_OBJECT, _BATCH]}},
    },
}
_RESULTS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "description": "What became of each event, in the order sent.",
            "items": {
                "type": "object",
                "required": ["id", "status"],
                "properties": {
                    "id": {"type": ["string", "null"], "description": "Null where a refused event has none."},
                    "status": {"type": "string", "enum": ["accepted", "rejected"]},
                    "revocation_id": {"type": "string", "format": "uuid"},
                    "state": {"type": "string", "enum": list(STATES)},
                    "reason": {"type": "string"},
                },
            },
        }
    },
}
_RESPONSES: Final = documented(400, 401, 403, 413, 415, 503) | {
    200: {"description": "It came as far as was asked for.", "content": {"application/json": {"schema": _RESULTS}}},
    202: {"description": "Kafka has what was accepted.", "content": {"application/json": {"schema": _RESULTS}}},
}
