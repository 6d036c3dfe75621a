"""One WebSocket, from its handshake on.

It is registered before the application hears of it. A handshake that is refused is accepted and closed, since a browser
shows a rejected one to its page only as 1006, without a word.
"""

from typing import Final

from revoker.gateway.asgi_guard import App, Guard, Message
from revoker.gateway.refusals import Refusal, answer, close_reason

_SHORTEST_SECRET: Final = 30
"""A subprotocol that is longer may be a token."""


class WebSocketGuard(Guard):
    """`revoker.gateway.asgi_guard.Guard` of a WebSocket."""

    _connected = False
    _accepted = False
    _over = False

    async def serve(self, app: App) -> None:
        """Runs `app`, or refuses."""
        self.register()
        if self.verdict is None:
            await self.run(app)
        else:
            self.refused(self.verdict)
            await self.settle()
        self._over = True

    async def hear(self) -> Message:
        """`Guard.hear`."""
        message = await super().hear()
        self._connected = True
        return message

    async def passes(self, message: Message) -> None:
        """`Guard.passes`."""
        await self._server_send(message)
        if message["type"] == "websocket.accept":
            self._accepted = True
        elif message["type"] != "websocket.send":
            self._over = True

    async def farewell(self, verdict: Refusal) -> None:
        """`Guard.farewell`: the code and the cause."""
        if not self._connected:
            self._over |= (await self.hear())["type"] != "websocket.connect"
        if self._over:
            return
        self._over = True
        if not self._accepted:
            await self._server_send({"type": "websocket.accept", "subprotocol": self._subprotocol()})
        code, reason = answer(verdict).close_code, close_reason(verdict)
        await self._server_send({"type": "websocket.close", "code": code, "reason": reason})

    def disconnect(self) -> Message:
        """`Guard.disconnect`, with the code that the client is told."""
        verdict = self.verdict
        if verdict is None:
            return {"type": "websocket.disconnect", "code": 1006}
        return {
            "type": "websocket.disconnect",
            "code": answer(verdict).close_code,
            "reason": close_reason(verdict),
        }

    def _subprotocol(self) -> str | None:
        """One of those that were offered, without which some browsers drop the connection before the close is read."""
        offered: list[str] = list(self.scope.get("subprotocols") or ())
        return next((name for name in offered if len(name) < _SHORTEST_SECRET), offered[0] if offered else None)
