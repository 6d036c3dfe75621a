"""What requests carry, counted while it is read. What is too long, or too slow, is refused with the connection closed.

Routes read by `body` only after they know who asks: so nobody who may not ask makes us read, or parse, much.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revoker.api.problems import ProblemError

_SECONDS: Final = 30.0
_TOO_LONG: Final = "The request is too long"
_CLOSE: Final = {"Connection": "close"}


async def body(request: Request, most: int, *kinds: str) -> bytes:
    """All of it, where it is of one of `kinds` and has at most `most` bytes. Raises `ProblemError`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in kinds:
        raise ProblemError(415, f"Send {kinds[0]}")
    read = bytearray()
    try:
        async for part in request.stream():
            read += part
            if len(read) > most:
                raise ProblemError(413, f"At most {most} bytes", _CLOSE)
    except ClientDisconnect as error:
        raise ProblemError(400) from error
    return bytes(read)


class Bodies:
    """Refuses bodies beyond `most` bytes, and those that take longer to come than `seconds`."""

    def __init__(
        self,
        app: ASGIApp,
        most: int,
        *,
        seconds: float = _SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._most = most
        self._seconds = seconds
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._is_announced(scope):
            await ProblemError(413, _TOO_LONG, _CLOSE).response()(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _is_announced(self, scope: Scope) -> bool:
        length = Headers(scope=scope).get("content-length", "")
        return length.isdecimal() and int(length[:20]) > self._most

    def _counted(self, receive: Receive) -> Receive:
        left, complete, until = self._most, False, self._monotonic() + self._seconds

        async def counted() -> Message:
            nonlocal left, complete
            if complete:  # what comes now is only that somebody left
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, until - self._monotonic())):
                    message = await receive()
            except TimeoutError as error:
                # Starlette's, since FastAPI takes whatever else fails while it reads for a body that cannot be read.
                raise HTTPException(408, "The request did not come in time", _CLOSE) from error
            left -= len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, _TOO_LONG, _CLOSE)
            return message

        return counted
