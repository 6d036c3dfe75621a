"""`GET /v1/me/notifications`: a page learns that its session is over, and why, at the moment at which it is.

    retry: …          and a comment every fifteen seconds, so that nobody in between takes it for dead
    session-ended     data: kind (ended, held), cause, initiator, reason in the language of the request, until of a hold

Nothing else is ever sent. After `session-ended` the stream is over, and coming back is refused with a 401 (a 403 while
on hold). It ends without a word when the token expires and when the process stops: then one comes back and is told.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from revoker.api.languages import Language, languages
from revoker.api.parts import Parts
from revoker.api.problems import NO_STORE, ProblemError
from revoker.api.who import Principal
from revoker.core.verdicts import HELD, Hold, Revocation, answer
from revoker.gateway.refusals import Refusal
from schemas.fields import wire_time

_MOST: Final = 20_000
"""Streams in one process."""
_BEAT_SECONDS: Final = 15.0
_SEND_SECONDS: Final = 10.0
_HELLO: Final = b"retry: 2000\n: watching\n\n"
_BEAT: Final = b": watching\n\n"


class Watching:
    """The endpoint."""

    def __init__(self, parts: Parts, *, beat_seconds: float = _BEAT_SECONDS) -> None:
        self._who = parts.who
        self._connections = parts.gateway.connections
        self._stopping = parts.stopping
        self._metrics = parts.metrics
        self._beat_seconds = beat_seconds
        self._open = 0

    async def follow(self, request: Request) -> Response:
        """Tells when the session that asks is over, and why."""
        who = await self._who.person(request)
        if self._open >= _MOST or self._stopping.is_set():
            raise ProblemError(503, "There is no stream to follow now", {"Retry-After": "2"})
        return _Stream(self, who, languages().best(request.headers.get("accept-language")))

    async def serve(self, who: Principal, language: Language, receive: Receive, send: Send) -> None:
        """Sends until something ends it. The response has begun."""
        over = asyncio.Event()
        heard: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()

        async def close(verdict: Refusal) -> None:
            """The revocation counts as applied here when the person was told."""
            if not heard.done():
                heard.set_result(verdict)
            await over.wait()

        self._count(1)
        others = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())]
        try:
            with self._connections.add(who.claims, close):
                await _sent(send, _HELLO)
                await self._wait(heard, others, who.until, send)
                if heard.done():
                    await _sent(send, _event(heard.result(), language))
        finally:
            over.set()
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._count(-1)

    def _count(self, change: int) -> None:
        self._open += change
        self._metrics.watching.set(self._open)

    async def _wait(
        self, heard: asyncio.Future[Refusal], others: list[asyncio.Task[Any]], until: float, send: Send
    ) -> None:
        while (left := until - time.time()) > 0:
            done, _ = await asyncio.wait(
                {heard, *others}, timeout=min(left, self._beat_seconds), return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            await _sent(send, _BEAT)


class _Stream(Response):
    """Headers at once, then what there is to tell."""

    def __init__(self, endpoint: Watching, who: Principal, language: Language) -> None:
        # For nginx: do not collect what must arrive at once.
        headers = NO_STORE | {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        super().__init__(None, 200, headers)
        del self.headers["content-length"]
        self._endpoint = endpoint
        self._who = who
        self._language = language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._endpoint.serve(self._who, self._language, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _sent(send: Send, chunk: bytes) -> None:
    """Raises `TimeoutError` where nobody reads."""
    if chunk:
        async with asyncio.timeout(_SEND_SECONDS):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(verdict: Refusal, language: Language) -> bytes:
    """Nothing where we do not know ourselves: whoever comes back is told."""
    if not isinstance(verdict, Revocation | Hold):
        return b""
    return b"event: session-ended\ndata: %b\n\n" % msgspec.json.encode(told(verdict, language))


def told(verdict: Revocation | Hold, language: Language) -> Mapping[str, Any]:
    """What a person's program learns of it."""
    reason = language.reason(verdict.reason_user, answer(verdict).text).text
    if isinstance(verdict, Hold):
        until = wire_time(verdict.until) if verdict.until is not None else None
        return {"kind": "held", "cause": HELD.code, "reason": reason, "until": until}
    return {"kind": "ended", "cause": verdict.cause, "initiator": verdict.initiator, "reason": reason}
