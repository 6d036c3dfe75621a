"""The gateway's life beside the application's: it starts before the application does, and stops after it.

Applications without a lifespan raise when they are asked; the gateway then takes the lifespan for itself, so that it
can say goodbye when the server stops.
"""

import logging

from revoker.gateway.asgi_guard import App, Message, Receive, Scope, Send
from revoker.gateway.gateway import Gateway

_log = logging.getLogger("revoker.gateway")


class Lifespan:
    """One lifespan of a server."""

    def __init__(self, gateway: Gateway, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._server_receive = receive
        self._server_send = send
        self._asked: set[str] = set()
        self._answered: set[str] = set()

    async def serve(self, app: App, scope: Scope) -> None:
        """Until the server stops."""
        try:
            await self._gateway.start()
        except Exception as error:
            _log.exception("the gateway did not start")
            await self._server_receive()
            await self._server_send({"type": "lifespan.startup.failed", "message": f"revoker.gateway: {error}"})
            raise
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            if self._answered:
                raise
            _log.info("the application has no lifespan (%s); its gateway has", type(error).__name__)
        finally:
            if "lifespan.startup.failed" in self._answered:
                await self._gateway.stop()
        if "lifespan.startup.failed" not in self._answered:
            await self._go_on()

    async def _go_on(self) -> None:
        """For an application that has left before the server did."""
        for asked, answered in (("lifespan.startup", "startup"), ("lifespan.shutdown", "shutdown")):
            if f"{asked}.complete" in self._answered or f"{asked}.failed" in self._answered:
                continue
            if asked not in self._asked:
                await self._receive()
            await self._send({"type": f"lifespan.{answered}.complete"})

    async def _receive(self) -> Message:
        message = await self._server_receive()
        self._asked.add(message["type"])
        return message

    async def _send(self, message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            await self._gateway.stop()
        self._answered.add(message["type"])
        await self._server_send(message)
