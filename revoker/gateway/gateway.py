"""`Gateway`: what another team puts into its application. It knows who is ended, and cuts them off.

It starts in the background and never blocks the application: `check` answers from memory at any moment, and `health`
says how good the answer is. In mode `strict` it refuses everybody while it cannot know (`Stale`) and cuts what is open;
so a revocation is enforced within `max_staleness`, whatever happens. In mode `best_effort` it serves on what it knows.

Each process is an instance of its own: after a fork the child's is empty and not started; start it there, as the
middleware does with the first request.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Hold, Revocation
from revoker.gateway.callbacks import Callbacks, DropCached, OnEnded
from revoker.gateway.clock import elapsed
from revoker.gateway.connections import Connections
from revoker.gateway.errors import GatewayUnavailable
from revoker.gateway.health import Health, Mode, Stale
from revoker.gateway.instance import Instance
from revoker.gateway.settings import DEFAULT_MAX_BYTES, Settings, from_env
from revoker.gateway.thread import GatewayThread
from revoker.gateway.wiring import feed_of, sender_of


class Gateway:
    """One gateway, by a name that its team chooses: all its processes share it.

    `find`, `check`, `refused` and `connections` may be used from any thread; the rest belongs to the event loop in
    which it was started.
    """

    def __init__(
        self,
        name: str,
        *,
        bootstrap_servers: str | None = None,
        redis_url: str | None = None,
        feed_url: str | None = None,
        feed_token: str | Callable[[], str] | None = None,
        topic_prefix: str = "",
        mode: Mode = "best_effort",
        max_staleness: float = 10.0,
        credential_lifetime: float = 3600.0,
        close_grace: float = 1.0,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        receipts: bool = True,
        instance: str | None = None,
        iat_is_login: bool = False,
        kafka_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises ValueError for what cannot work. Reaches for nothing.

        - `credential_lifetime`: how long a credential is accepted at most. So much is replayed at the start.
        - `max_staleness`: how old the view may be before a strict gateway refuses and cuts.
        - `max_bytes`: of the index. It forgets nobody to make room: a full one is an error in `health`.
        - `feed_token`: of the service's API; a function is asked before each request.
        - `iat_is_login`: the `iat` of your tokens is the sign-in, since no refresh mints another.
        - `kafka_options`: of aiokafka's clients, such as SASL and TLS.
        """
        self._begin(
            Settings(
                name=name,
                bootstrap_servers=bootstrap_servers,
                redis_url=redis_url,
                feed_url=feed_url,
                feed_token=feed_token,
                topic_prefix=topic_prefix,
                mode=mode,
                max_staleness=max_staleness,
                credential_lifetime=credential_lifetime,
                close_grace=close_grace,
                max_bytes=max_bytes,
                receipts=receipts,
                instance=instance,
                iat_is_login=iat_is_login,
                kafka_options=kafka_options or {},
            )
        )

    @classmethod
    def from_env(cls, name: str) -> Self:
        """A gateway as the environment describes it (revoker.gateway.settings). Raises ValueError."""
        gateway = cls.__new__(cls)
        gateway._begin(  # noqa: SLF001 - a second constructor
            from_env(name, os.environ)
        )
        return gateway

    def _begin(self, settings: Settings) -> None:
        self.settings = settings
        self._callbacks = Callbacks()
        self._thread: GatewayThread | None = None
        self._starting = threading.Lock()
        self._renew()
        if hasattr(os, "register_at_fork"):
            ours = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forked(ours))

    # Who may pass

    def find(self, claims: SessionClaims) -> Revocation | Hold | None:
        """Why `claims` are refused, as far as is known. No I/O."""
        return self._find(claims, self._now())

    def check(self, claims: SessionClaims) -> Revocation | Hold | Stale | None:
        """The same, and `Stale` where a strict gateway cannot know, by the clock of this moment."""
        verdict = self._find(claims, self._now())
        self._ledger.last_claims = claims
        if verdict is not None or elapsed() <= self._view.good_until:
            return verdict
        return self._view.stale()

    def stale(self) -> Stale | None:
        """Why nobody may pass now, whoever it is; None: a live session may."""
        return self._view.stale()

    def refused(
        self,
        claims: SessionClaims,
        verdict: Revocation | Hold | Stale,
        ip: str | None = None,
        *,
        verified: bool = False,
    ) -> None:
        """Somebody came with something dead, from `ip`: responders see it. `verified`: its signature was checked."""
        del claims  # who it was, the revocation says; a receipt names nobody
        if not isinstance(verdict, Stale):
            self._ledger.refused(verdict.id, ip, verified=verified)

    def on_ended(self, callback: OnEnded) -> None:
        """Calls `callback(Ended)` for each notification that is new, also while replaying. It may be a coroutine."""
        self._callbacks.on_ended(callback)

    def drop_cached(self, callback: DropCached) -> None:
        """The same for whoever keeps copies of sessions: `callback(Ended)` answers how many it has dropped."""
        self._callbacks.drop_cached(callback)

    def health(self) -> Health:
        """How good the view is, and what is wrong."""
        return self._instance.health()

    # Life

    async def start(self) -> None:
        """Begins to follow the feed in the background, and returns. Safe to call twice."""
        with self._starting:
            if not self._is_running():
                if self._instance.view.stopped or self._instance.loop is not None:
                    self._renew(self.connections)
                self._instance.start(feed_of(self.settings), sender_of(self.settings))

    async def stop(self) -> None:
        """Cuts what is open, says goodbye to the service, and ends. Everybody is refused from then on."""
        instance = self._instance
        if instance.loop is None or instance.loop is asyncio.get_running_loop():
            await instance.stop()
        elif self._thread is not None:
            await asyncio.to_thread(self._thread.stop)

    async def ready(self, timeout: float) -> None:  # noqa: ASYNC109 - the contract has it so
        """Waits until the replay is done and the service knows of this instance. Raises `GatewayUnavailable`."""
        instance = self._instance
        if instance.loop is None:
            raise GatewayUnavailable("the gateway is not started")
        waiting = instance.ready()
        here = instance.loop is asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                if here:
                    await waiting
                else:
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, instance.loop))
        except TimeoutError:
            health = instance.health()
            raise GatewayUnavailable(f"not ready: {health.error or health.receipts}") from None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def run_in_thread(self) -> GatewayThread:
        """Runs the gateway in a thread of its own, for WSGI and threads. Safe to call with every request."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            with self._starting:
                thread = self._thread
                if thread is not None and thread.is_alive():
                    return thread
                thread = self._thread = GatewayThread(self)
            thread.start()
        return thread

    def _is_running(self) -> bool:
        loop = self._instance.loop
        return loop is not None and not loop.is_closed()

    def _renew(self, connections: Connections | None = None) -> None:
        """Another life: in a forked process without the parent's connections."""
        settings = self.settings
        self.connections = connections or Connections(self.check, close_grace=settings.close_grace)
        self._instance = instance = Instance(settings, self.connections, self._callbacks)
        self._find = instance.index.find
        self._now = instance.clock.late
        self._view = instance.view
        self._ledger = instance.ledger


def _forked(ours: weakref.ref[Gateway]) -> None:
    gateway = ours()
    if gateway is not None:
        gateway._thread = None  # noqa: SLF001 - as the class would
        gateway._starting = threading.Lock()  # noqa: SLF001 - somebody may have held it
        gateway._renew()  # noqa: SLF001 - as above
