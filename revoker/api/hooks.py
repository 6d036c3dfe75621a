"""`POST /v1/hooks/{name}`: what happened, as identity platforms post it that know nothing of us.

Each record is translated, and published as an event like anybody's. What cannot be read is set aside on
`rejected-events`, as consumers do it, and answered with success: a platform would send it again for days, or give up on
all the others. Only what Kafka did not take is answered with 503, and sent again.
"""

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from revoker.api import bodies, hook_bodies
from revoker.api.parts import Parts
from revoker.api.problems import NO_STORE, ProblemError, documented
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.service.intake import Intake, Taken, by_topic
from revoker.settings import HookSettings
from schemas import codec
from schemas.codec import Ignored, Reason, Rejected
from schemas.inputs import Format
from schemas.topics import Topic

MOST: Final = 1_000
"""Records in one request."""

_KINDS: Final = ("application/json", "application/x-ndjson", "application/jsonl", "text/plain")
_CHALLENGE: Final = "x-okta-verification-challenge"
_MOST_CHALLENGE: Final = 1_000
_TRIGGER: Final = "ory-webhook-trigger-id"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "Whatever the platform sends; see docs/formats.md.",
    "content": {"application/json": {"schema": {}}},
}
Name = Annotated[str, Path(description="As in `[[hooks]]`.", examples=["okta"])]
_log = get_logger(__name__)


def routes(parts: Parts) -> APIRouter:
    """`POST /v1/hooks/{name}`, and `GET` for Okta's verification."""
    router = APIRouter(tags=["publishers"])
    hooks = Hooks(parts)

    @router.post(
        "/v1/hooks/{name}",
        summary="Take what an identity platform posts",
        status_code=204,
        response_class=Response,
        responses=documented(400, 401, 413, 415, 503) | {204: {"description": "Kafka has it."}},
        openapi_extra={"requestBody": _BODY},
    )
    async def take(request: Request, name: Name) -> Response:
        """Configured in `[[hooks]]`. The `Authorization` header holds the hook's secret."""
        return await hooks.take(request, name)

    @router.get(
        "/v1/hooks/{name}",
        summary="Answer Okta's one-time verification",
        response_class=Response,
        responses=documented(404) | {200: {"description": "The challenge."}},
    )
    async def verify(request: Request, name: Name) -> Response:
        """Repeats the header `X-Okta-Verification-Challenge`."""
        return hooks.verify(request, name)

    return router


class Hooks:
    """The endpoints."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._sender = parts.sender
        self._published = parts.metrics.published
        self._intake = Intake(settings)
        self._rejected = settings.topic(Topic.REJECTED_EVENTS)
        self._most = settings.http.max_body
        self._hooks: Mapping[str, HookSettings] = {hook.name: hook for hook in settings.hooks}
        self._nobodys = secrets.token_bytes(32)
        self._proofs = {hook.name: _digest(hook.proof().encode()) for hook in settings.hooks}

    def verify(self, request: Request, name: str) -> Response:
        """Raises `ProblemError`. Proves nothing but that somebody reads at this address."""
        hook = self._hooks.get(name)
        challenge = request.headers.get(_CHALLENGE, "")
        if hook is None or hook.format is not Format.OKTA or not 0 < len(challenge) <= _MOST_CHALLENGE:
            raise ProblemError(404)
        return JSONResponse({"verification": challenge}, headers=NO_STORE)

    async def take(self, request: Request, name: str) -> Response:
        """Raises `ProblemError`."""
        hook = self._proven(request, name)
        body = await bodies.body(request, self._most, *_KINDS)
        try:
            records = hook_bodies.records(hook.format, body)
        except ValueError as error:
            raise ProblemError(400, "The body holds no JSON, or a number that JSON does not know") from error
        if len(records) > MOST:
            raise ProblemError(413, f"At most {MOST} records at once")
        if hook.format is Format.KRATOS:
            records = [_identified(record, request) for record in records]
        await self._pass_on(hook, records)
        return Response(status_code=204, headers=NO_STORE)

    def _proven(self, request: Request, name: str) -> HookSettings:
        """The hook whose secret the request has. Which names there are is told to nobody else."""
        hook, proof = self._hooks.get(name), self._proofs.get(name, self._nobodys)
        shown = request.headers.getlist("authorization")
        given = _digest(shown[0].encode("latin-1")) if len(shown) == 1 else b""
        if not hmac.compare_digest(given, proof) or hook is None:
            raise ProblemError(401, "The Authorization header does not hold this hook's secret")
        return hook

    async def _pass_on(self, hook: HookSettings, records: list[Any]) -> None:
        taken: list[Taken] = []
        refused: list[tuple[bytes, Rejected]] = []
        outcomes: Counter[str] = Counter()
        for record in records:
            value = record if isinstance(record, bytes) else to_json(record)
            try:
                event = self._event(hook, value)
            except Rejected as error:
                refused.append((value, error))
                outcomes["rejected"] += 1
            else:
                if event is not None:
                    taken.append(event)
                outcomes["ignored" if event is None else "accepted"] += 1
        try:
            for topic, events in by_topic(taken):
                await self._sender.send(topic, events)
            for value, refusal in refused:
                await self._sender.send(self._rejected, [(hook.name.encode(), value)], _why(hook, refusal))
        except PublishError as error:
            _log.error("publish-failed", error=error)
            raise ProblemError(503, "Not all of it was taken; send it again", {"Retry-After": "1"}) from error
        for outcome, count in outcomes.items():
            self._published.labels(hook.format.value, outcome).inc(count)

    def _event(self, hook: HookSettings, value: bytes) -> Taken | None:
        """What is to be published; None for what is none of our business. Raises `Rejected`."""
        event = codec.translated(hook, value)
        if isinstance(event, Ignored) or codec.skips(hook, event["type"]):
            return None
        if hook.types and event["type"] not in hook.types:
            raise Rejected(Reason.TYPE_NOT_ALLOWED, f"{event['type']} from hook {hook.name}")
        if hook.tenant is None and not hook.realms:
            # The platform does not say: it is that of the input.
            event.pop("tenant")
        return self._intake.take(to_json(event), None, translated=True)


def _identified(record: Any, request: Request) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Kratos names each delivery in a header, the same for all attempts, and nothing of the kind in the body."""
    trigger = request.headers.get(_TRIGGER, "")
    if isinstance(record, dict) and _UUID.fullmatch(trigger):
        return {"id": trigger} | record
    return record


def _why(hook: HookSettings, error: Rejected) -> list[tuple[str, bytes]]:
    return [("revoker-reason", str(error).encode()), ("revoker-topic", f"hooks/{hook.name}".encode())]


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
