"""One request and its answer.

Who is dead when the request comes is refused before the application hears of it. What the application answers is

- a stream, if it has no length, or goes on after its first part: it is registered before anything of it is sent, falls
  with its session, and an event stream gets a last event that says why;
- ordinary otherwise. It is judged once more when it begins: a request that waited is refused like a new one. Only
  the answer to a method that changes something passes: what it did is done, and it may be the very request that ended
  the session, whose client must learn that.
"""

from collections.abc import Sequence
from typing import Final

from revoker.core.claims import SessionClaims
from revoker.gateway.asgi_guard import Alarm, App, Guard, Message, Receive, Scope, Send
from revoker.gateway.gateway import Gateway
from revoker.gateway.refusals import Refusal
from revoker.gateway.responses import Response, asked, last_event, refusal

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""
_BODILESS: Final = frozenset({204, 205, 304})
_EVENTS: Final = b"text/event-stream"
_LONGEST_END: Final = 4


async def respond(send: Send, response: Response, method: str) -> None:
    """Sends `response` as a whole."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body, "more_body": False})


class HTTPGuard(Guard):
    """`revoker.gateway.asgi_guard.Guard` of a request."""

    def __init__(
        self,
        gateway: Gateway,
        claims: Sequence[SessionClaims],
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        alarm: Alarm,
        sign_in_url: str | None,
    ) -> None:
        super().__init__(gateway, claims, scope, receive, send, alarm=alarm)
        self._sign_in_url = sign_in_url
        self._method: str = scope["method"]
        self._kept: Message | None = None
        self._started = self._over = False
        self._has_length = self._is_events = False
        self._tail = b""

    async def serve(self, app: App) -> None:
        """Runs `app`, or refuses."""
        verdict = self.gateway.connections.judged(self.claims)
        if verdict is None:
            await self.run(app)
        else:
            await self._refuse(verdict)
        self._over = True

    async def settle(self) -> None:
        """`Guard.settle`; an application that has started and said no more is the server's to judge."""
        if self._kept is not None and self.verdict is None:
            await self._release()
        self._over |= self._handle is None or self._handle.verdict is None
        await super().settle()

    async def passes(self, message: Message) -> None:
        """`Guard.passes`."""
        match message["type"]:
            case "http.response.start":
                await self._start(message)
            case "http.response.body":
                await self._body(message)
            case _:
                await self._release()
                await self._server_send(message)

    async def farewell(self, verdict: Refusal) -> None:
        """`Guard.farewell`: a whole refusal, a last event, the end; nothing where a length was promised."""
        if self._over:
            return
        self._over = True
        if not self._started:
            await self._refuse(verdict)
        elif not self._has_length:
            body = self._last_event(verdict) if self._is_events else b""
            await self._server_send({"type": "http.response.body", "body": body, "more_body": False})

    def disconnect(self) -> Message:
        """`Guard.disconnect`."""
        return {"type": "http.disconnect"}

    async def _start(self, message: Message) -> None:
        headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers") or ()}
        self._has_length = b"content-length" in headers
        self._is_events = headers.get(b"content-type", b"").lower().startswith(_EVENTS)
        # What is compressed cannot be added to.
        self._is_events &= headers.get(b"content-encoding", b"identity") == b"identity"
        ordinary = self._has_length or message["status"] in _BODILESS
        changes = self._method not in SAFE
        if not ordinary and changes and not self._is_events:
            # Whether it is a stream shows with its first part.
            self._kept = message
            return
        if not ordinary:
            self.register()
        elif not changes:
            self._judge_once()
        if self.verdict is None:
            await self._send_start(message)

    async def _body(self, message: Message) -> None:
        more = message.get("more_body", False)
        if more and self._handle is None:
            self.register()
        if self.verdict is not None:
            return
        await self._release()
        if self._is_events:
            self._tail = (self._tail + message.get("body", b""))[-_LONGEST_END:]
        await self._server_send(message)
        self._over = not more

    async def _release(self) -> None:
        if self._kept is not None:
            message, self._kept = self._kept, None
            await self._send_start(message)

    async def _send_start(self, message: Message) -> None:
        self._started = True
        await self._server_send(message)

    def _judge_once(self) -> None:
        """Of what is not registered. The farewell comes as soon as this message has been dealt with."""
        verdict = self.gateway.connections.judged(self.claims)
        if verdict is not None:
            self.register()

    async def _refuse(self, verdict: Refusal) -> None:
        self.refused(verdict)
        response = refusal(verdict, asked(self.scope["headers"]), self._sign_in_url)
        await respond(self._server_send, response, self._method)

    def _last_event(self, verdict: Refusal) -> bytes:
        """With an empty line before it where the application was in the middle of an event."""
        at_rest = not self._tail or self._tail.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))
        return (b"" if at_rest else b"\n\n") + last_event(verdict, asked(self.scope["headers"]).languages)
