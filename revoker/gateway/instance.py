"""One life of a gateway in one process: what it knows, and the tasks that keep it true.

A gateway that is started again, or whose process was forked, gets a new one: another index, another incarnation in its
receipts. Nothing here starts by itself, and `find` works at any moment.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, Protocol

from revoker.core.index import Index
from revoker.gateway.applying import Applier, Droppable
from revoker.gateway.callbacks import Callbacks
from revoker.gateway.clock import ServiceClock, elapsed
from revoker.gateway.errors import FeedError
from revoker.gateway.feeds import Feed
from revoker.gateway.health import Health, Stale, View
from revoker.gateway.ledger import Ledger
from revoker.gateway.positions import Positions
from revoker.gateway.receipts import Identity, Reporter, Sender, Standing
from revoker.gateway.settings import Settings
from revoker.tasks import was_cancelled

_log: Final = logging.getLogger("revoker.gateway")

_BACK_OFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_GOOD_SECONDS: Final = 30.0
"""A feed that ran so long has not failed at once."""
_AGAIN_SECONDS: Final = 0.5
_FORGET_SECONDS: Final = 1.0
_FORGET_AT_ONCE: Final = 500
_FENCE_SECONDS: Final = 0.2
_DROPS_SECONDS: Final = 2.0
_FAREWELL_SECONDS: Final = 5.0
_NO_SENDER: Final = "receipts need bootstrap_servers or feed_url: the service does not know of this gateway"


class Open(Droppable, Protocol):
    """What can be cut: `Connections`."""

    async def drop_all(self, verdict: Stale) -> object: ...


class Instance:
    """Index, view, positions, ledger, and who keeps them."""

    def __init__(self, settings: Settings, connections: Open, callbacks: Callbacks) -> None:
        self._settings = settings
        self._connections = connections
        self.index = Index(max_bytes=settings.max_bytes, iat_is_login=settings.iat_is_login)
        self.clock = ServiceClock()
        self.ledger = Ledger()
        self.positions = Positions()
        self.view = View(
            mode=settings.mode, max_staleness=settings.max_staleness, acknowledged=not settings.sends_receipts
        )
        self.applier = Applier(
            index=self.index,
            view=self.view,
            clock=self.clock,
            positions=self.positions,
            ledger=self.ledger,
            connections=connections,
            callbacks=callbacks,
        )
        self.incarnation = str(uuid.uuid4())
        self._reporter: Reporter | None = None
        self._sender: Sender | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it runs; None: it does not."""

    def start(self, feed: Feed, sender: Sender | None) -> None:
        """Begins to follow. Returns at once."""
        self.loop = asyncio.get_running_loop()
        self.view.error = "the replay is not done"
        work: list[Callable[[], Awaitable[None]]] = [partial(self._follow, feed), self._forget, self._fence]
        if sender is not None:
            self._sender = sender
            self._reporter = Reporter(
                self._identity(),
                self.ledger,
                sender,
                self.clock,
                standing=self._standing,
                acknowledged=self._acknowledged,
            )
            work.append(self._reporter.run)
        self._tasks = [self.loop.create_task(self._kept(each)) for each in work]

    async def stop(self) -> None:
        """Cuts what is open, says goodbye once nothing is, and ends."""
        if self.view.stopped:
            return
        self.view.stop()
        tasks, self._tasks = self._tasks, []
        await _cancelled(tasks)
        try:
            await self._connections.drop_all(Stale(age=self.view.age(), why="the gateway is stopping"))
            async with asyncio.timeout(_DROPS_SECONDS):
                await self.applier.finished()
        except Exception as error:  # noqa: BLE001 - whatever it is, it only costs us the farewell
            _log.warning("gateway-not-closed: %r", error)
        else:
            await self._farewell()
        finally:
            self.loop = None
            if self._sender is not None:
                await self._sender.close()

    async def ready(self) -> None:
        """Waits until the view is whole, and the service knows of us."""
        await self._ready.wait()

    def health(self) -> Health:
        settings, reporter = self._settings, self._reporter
        unsent = None if reporter is None else reporter.error
        if settings.receipts and not settings.sends_receipts:
            unsent = _NO_SENDER
        return Health(
            synced=self.view.synced,
            age=self.view.age(),
            position=str(self.positions),
            mode=settings.mode,
            state=self.view.state,
            progress=self.applier.progress(),
            error=self.view.error,
            receipts=unsent,
            skipped=self.applier.skipped,
        )

    async def _follow(self, feed: Feed) -> None:
        failures = 0
        while True:
            began = elapsed()
            try:
                await feed.run(self.applier)
            except FeedError as error:
                self.applier.trouble(str(error))
            except Exception as error:  # noqa: BLE001 - our bug; the view grows old, and says so
                _log.exception("feed-failed")
                self.applier.trouble(f"the feed failed: {type(error).__name__}")
            failures = 0 if elapsed() - began > _GOOD_SECONDS else failures + 1
            most = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
            await asyncio.sleep(most * random.uniform(0.5, 1.0))

    async def _forget(self) -> None:
        """In steps, so that whoever is waiting for a check does not wait for this."""
        while True:
            await asyncio.sleep(_FORGET_SECONDS)
            while self.applier.forget(_FORGET_AT_ONCE):  # noqa: ASYNC110 - the others get their turn, that is all
                await asyncio.sleep(0.001)

    async def _fence(self) -> None:
        """A check decides by the clock; this cuts those who do not ask. And it tells who waits to be ready."""
        while True:
            if self.view.serves:
                self._ready.set()
            else:
                self._ready.clear()
            stale = self.view.stale()
            if stale is not None and len(self._connections):
                _log.error(
                    "gateway-fenced: %s, view %.1f s old; cutting %d", stale.why, stale.age, len(self._connections)
                )
                await self._connections.drop_all(stale)
            await asyncio.sleep(min(_FENCE_SECONDS, self._settings.max_staleness / 5))

    def _acknowledged(self) -> None:
        if not self.view.acknowledged:
            self.view.acknowledge()
            self.ledger.touch()

    def _identity(self) -> Identity:
        settings = self._settings
        return Identity(
            gateway=settings.name,
            instance=settings.instance_name(),
            incarnation=self.incarnation,
            mode=settings.mode,
            max_staleness=settings.max_staleness,
        )

    def _standing(self) -> Standing:
        return Standing(state=self.view.state, epoch=self.positions.epoch, position=str(self.positions))

    async def _farewell(self) -> None:
        if self._reporter is None:
            return
        if len(self._connections):
            _log.error("gateway-not-closed: %d connections are open; saying no goodbye", len(self._connections))
            return
        if not await self._reporter.farewell(_FAREWELL_SECONDS):
            _log.warning("gateway-farewell-unheard: the service will call this instance unknown")

    async def _kept(self, work: Callable[[], Awaitable[None]]) -> None:
        """None of them ever ends by itself. One that did is our bug; without it, the gateway would be a lie."""
        while not was_cancelled():
            try:
                await work()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("gateway-broken: it is started again")
            await asyncio.sleep(_AGAIN_SECONDS)


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Ends them, however often it takes: redis-py swallows a cancellation now and then (4 of 100, seen with 8.1)."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)
