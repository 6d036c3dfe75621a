"""`GET /v1/notifications`: the stream over HTTP, as server-sent events.

A stream ends when its token expires, when its reader does not read for ten seconds, when the topic changes, and when
the process stops. Each time the reader comes back with `Last-Event-ID` and misses nothing.
"""

import asyncio
import time
from contextlib import aclosing
from typing import Annotated, Final

from aiokafka.errors import KafkaError
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from revoker.api.grants import GATEWAY
from revoker.api.history import History
from revoker.api.metrics import ApiMetrics
from revoker.api.parts import Parts
from revoker.api.problems import NO_STORE, ProblemError, documented
from revoker.api.stream import CutError, Stream
from revoker.api.tail import Tail
from revoker.api.who import Principal
from revoker.logs import get_logger

_MOST: Final = 2_000
"""Streams in one process."""
_SEND_SECONDS: Final = 10.0
_MAX_CURSOR: Final = 20_000
_RESPONSES: Final = documented(400, 401, 403, 503) | {
    200: {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
_PARAMETERS: Final = [
    {
        "name": "lifetime",
        "in": "query",
        "description": "How many seconds back the snapshot reaches: as long as a credential lives.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e9},
        "example": 3600,
    },
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Where the reader had come to.",
        "schema": {"type": "string"},
    },
]
_log = get_logger(__name__)


def routes(parts: Parts, *, send_seconds: float = _SEND_SECONDS) -> APIRouter:
    """`GET /v1/notifications`."""
    router = APIRouter(tags=["gateways"])
    endpoint = Notifications(parts.tail, parts.history, parts.metrics, parts.stopping, send_seconds=send_seconds)
    # Where tokens name no tenant there is only one, and its gateways see everything.
    sees_all = parts.settings.claims.tenant is None

    @router.get(
        "/v1/notifications",
        summary="Follow what ends",
        response_class=Response,
        responses=_RESPONSES,
        openapi_extra={"parameters": _PARAMETERS},
    )
    async def follow(request: Request, machine: Annotated[Principal, Depends(parts.who.machine(GATEWAY))]) -> Response:
        """Server-sent events: first the snapshot of the last `lifetime` seconds, or what came after `Last-Event-ID`."""
        return endpoint.follow(request, None if sees_all else machine.tenant, machine.until)

    return router


class Notifications:
    """The endpoint."""

    def __init__(
        self,
        tail: Tail,
        history: History,
        metrics: ApiMetrics,
        stopping: asyncio.Event,
        *,
        send_seconds: float = _SEND_SECONDS,
    ) -> None:
        self._tail = tail
        self._history = history
        self._metrics = metrics
        self._stopping = stopping
        self._send_seconds = send_seconds
        self._open = 0

    def follow(self, request: Request, tenant: str | None, until: float) -> Response:
        """A stream of what `tenant` may see (None: all of them). Raises `ProblemError`."""
        if self._tail.position is None or self._open >= _MOST:
            raise ProblemError(503, "There is no stream to follow now", {"Retry-After": "2"})
        try:
            stream = Stream(
                self._tail,
                self._history,
                request.headers.get("last-event-id", "")[:_MAX_CURSOR],
                tenant=tenant,
                lifetime=_lifetime(request.query_params.get("lifetime")),
            )
        except ValueError as error:
            raise ProblemError(400, "lifetime must be a number of seconds") from error
        return _Streaming(self, stream, until)

    async def serve(self, stream: Stream, until: float, receive: Receive, send: Send) -> None:
        """Sends until something ends it. The response has begun."""
        self._open += 1
        self._metrics.streams.set(self._open)
        sending = asyncio.create_task(self._send(stream, send))
        ending = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(
                {sending, *ending}, timeout=max(0.0, until - time.time()), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (sending, *ending):
                task.cancel()
            results = await asyncio.gather(sending, *ending, return_exceptions=True)
            self._open -= 1
            self._metrics.streams.set(self._open)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _send(self, stream: Stream, send: Send) -> None:
        try:
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    async with asyncio.timeout(self._send_seconds):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            self._metrics.cut.inc()
            _log.info("stream-cut", why="the reader does not read")
            # Whatever is still in the socket's buffer goes unread: there is no good end to write to it.
            raise
        except CutError as error:
            _log.info("stream-cut", why=str(error))
        except (KafkaError, OSError) as error:
            _log.warning("dependency-unavailable", error=error)


class _Streaming(Response):
    """Headers at once, then events."""

    def __init__(self, endpoint: Notifications, stream: Stream, until: float) -> None:
        # For nginx: do not collect what must arrive at once.
        headers = NO_STORE | {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        super().__init__(None, 200, headers)
        del self.headers["content-length"]
        self._endpoint = endpoint
        self._stream = stream
        self._until = until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._endpoint.serve(self._stream, self._until, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _lifetime(text: str | None) -> float | None:
    """Raises `ValueError`."""
    if text is None:
        return None
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError("out of range")
    return seconds
