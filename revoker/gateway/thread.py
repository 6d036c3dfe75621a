"""A gateway for applications without an event loop of their own: WSGI, threads.

It lives in a daemon thread, so that it never keeps a process from ending, and says goodbye when the interpreter exits.
"""

import asyncio
import atexit
import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from revoker.gateway.errors import GatewayUnavailable

if TYPE_CHECKING:
    from revoker.gateway.gateway import Gateway

_log: Final = logging.getLogger("revoker.gateway")

_STOP_SECONDS: Final = 10.0


class GatewayThread:
    """The thread in which a gateway runs, from `Gateway.run_in_thread`. As a context manager it stops at the end."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="revoker-gateway", daemon=True)

    def start(self) -> None:
        """Returns once the gateway is started, which waits for no server."""
        self._thread.start()
        self._begun.wait()
        atexit.register(self.stop)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ready(self, timeout: float) -> None:
        """Waits until the gateway is ready. Raises `GatewayUnavailable`."""
        loop = self._loop
        if loop is None or loop.is_closed():
            raise GatewayUnavailable("the gateway's thread is over")
        asyncio.run_coroutine_threadsafe(self._gateway.ready(timeout), loop).result()

    def stop(self, timeout: float = _STOP_SECONDS) -> None:
        """Closes what is open, says goodbye, and waits for the thread to end. Safe to call twice."""
        atexit.unregister(self.stop)
        loop, over = self._loop, self._over
        if loop is not None and over is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(over.set)
            except RuntimeError:
                return  # closed just now
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception:  # noqa: BLE001 - nobody joins this thread to hear of it
            _log.exception("gateway-broken: its thread ended")
        finally:
            self._begun.set()

    async def _live(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with self._gateway:
            self._begun.set()
            await self._over.wait()
