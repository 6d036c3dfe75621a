"""What is open now, and how it falls.

A connection is registered first and judged afterwards. A revocation is in the index before `drop` copies what it
concerns. So whichever comes first, one of the two sees the other: no session that ends between its handshake and its
registration slips through, and whoever of the two is later closes it. Exactly one does.

Copy under the lock, act outside it. A few workers close one connection after the other, and everybody else has a turn
every few milliseconds. A worker that is held up, by a client that does not read, is replaced within milliseconds and
aborted after the grace. A callback that fails is logged and counted; the others go on.

Everything here may be called from any thread. A connection that was added inside of an event loop is closed in that
loop; one that was added outside of any, in the gateway's own thread.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from threading import Lock
from types import TracebackType
from typing import Final, Protocol, Self

from revoker.core.claims import SessionClaims
from revoker.gateway.dropping import FAILED, Check, Drop, Dropped, begun, first, running_loop
from revoker.gateway.refusals import Refusal

Close = Callable[[Refusal], Awaitable[None] | None]

_log: Final = logging.getLogger("revoker.gateway")


class Concerned(Protocol):
    """Which connections a notification may concern: `revoker.core.index.Hit`. Pairs of tenant and name."""

    @property
    def subjects(self) -> Collection[tuple[str, str]]: ...
    @property
    def session_ids(self) -> Collection[tuple[str, str]]: ...
    @property
    def token_ids(self) -> Collection[tuple[str, str]]: ...
    @property
    def wide(self) -> bool: ...


class Handle:
    """One open connection. `remove` it when it is over; as a context manager it does so by itself."""

    __slots__ = ("_busy", "_close", "_connections", "_live", "_loop", "_over", "claims", "verdict")

    def __init__(self, connections: "Connections", claims: tuple[SessionClaims, ...], close: Close) -> None:
        self.claims = claims
        self.verdict: Refusal | None = None
        """Why it was dropped; None as long as it was not."""
        self._connections = connections
        self._close = close
        self._busy = False
        self._over: asyncio.Event | None = None
        self._live = True
        self._loop = running_loop()

    def remove(self) -> None:
        """It is over. Safe to call twice, and after a drop."""
        self._connections._remove(self)  # noqa: SLF001 - one module, two halves

    def drop(self, verdict: Refusal) -> None:
        """Closes this connection alone; does nothing if it is over. In its own loop it returns before that is done."""
        self._connections._drop_one(self, verdict)  # noqa: SLF001 - as above

    async def closed(self) -> None:
        """Waits until a drop that has begun is done, which it is after the grace at the latest."""
        if self._busy:
            self._over = self._over or asyncio.Event()
            await self._over.wait()

    def _done(self) -> None:
        self._busy = False
        if self._over is not None:
            self._over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


class Connections:
    """All that is open in this process."""

    def __init__(self, check: Check, *, close_grace: float = 1.0) -> None:
        self.close_grace: Final = close_grace
        self._check = check
        self._lock = Lock()
        self._all: set[Handle] = set()
        self._by_subject: dict[tuple[str, str], set[Handle]] = {}
        self._by_session: dict[tuple[str, str], set[Handle]] = {}
        self._by_token: dict[tuple[str, str], set[Handle]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, claims: SessionClaims | Sequence[SessionClaims], close: Close) -> Handle:
        """Registers a connection, then judges it.

        `close(verdict)` is called at most once, as soon as any of `claims` is over: maybe within this call (then
        `verdict` of the handle says so), maybe never. It must not block; what it returns, if that can be awaited, is
        awaited, and cancelled after the grace.
        """
        every = (claims,) if isinstance(claims, SessionClaims) else tuple(claims)
        handle = Handle(self, every, close)
        with self._lock:
            self._enter(handle)
        try:
            verdict = self.judged(every)
        except BaseException:
            handle.remove()
            raise
        if verdict is not None:
            handle.drop(verdict)
        return handle

    def judged(self, claims: Sequence[SessionClaims]) -> Refusal | None:
        """The verdict on who shows all of `claims`: one that is over is enough."""
        return first(self._check, claims)

    async def drop(self, hit: Concerned, verdict_of: Check) -> Dropped:
        """Closes what `hit` concerns and `verdict_of` condemns; returns when that is done, aborted ones included."""
        with self._lock:
            concerned = self._concerned(hit)
        return await self._drop(concerned, verdict_of) if concerned else _NOTHING

    async def drop_all(self, verdict: Refusal) -> Dropped:
        """Closes everything."""
        with self._lock:
            every = list(self._all)
        return await self._drop(every, lambda _: verdict)

    async def _drop(self, handles: Sequence[Handle], verdict_of: Check) -> Dropped:
        return await Drop(handles, verdict_of, self._claim, self.close_grace).run()

    def _drop_one(self, handle: Handle, verdict: Refusal) -> None:
        if not self._claim(handle, verdict):
            return
        closing = begun(handle, verdict)
        if closing is not None and closing is not FAILED:
            task = asyncio.get_running_loop().create_task(self._close_one(handle, closing))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_one(self, handle: Handle, closing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self.close_grace):
                await closing
        except TimeoutError:
            _log.debug("a connection did not close in time, and was aborted")
        except Exception:  # noqa: BLE001 - it is somebody else's
            _log.exception("a connection's close failed")
        finally:
            handle._done()  # noqa: SLF001 - one module, two halves

    def _claim(self, handle: Handle, verdict: Refusal) -> bool:
        """Whether it falls to the caller to close it."""
        with self._lock:
            if not handle._live:  # noqa: SLF001 - one module, two halves
                return False
            self._leave(handle)
            handle.verdict = verdict
            return True

    def _remove(self, handle: Handle) -> None:
        with self._lock:
            if handle._live:  # noqa: SLF001 - as above
                self._leave(handle)

    def _enter(self, handle: Handle) -> None:
        self._all.add(handle)
        for claims in handle.claims:
            for index, key in self._places(claims):
                index.setdefault(key, set()).add(handle)

    def _leave(self, handle: Handle) -> None:
        handle._live = False  # noqa: SLF001 - as above
        self._all.discard(handle)
        for claims in handle.claims:
            for index, key in self._places(claims):
                there = index.get(key)
                if there is not None:
                    there.discard(handle)
                    if not there:
                        del index[key]

    def _places(self, claims: SessionClaims) -> list[tuple[dict[tuple[str, str], set[Handle]], tuple[str, str]]]:
        tenant = claims.tenant
        places = []
        if claims.subject is not None:
            places.append((self._by_subject, (tenant, claims.subject)))
        if claims.session_id is not None:
            places.append((self._by_session, (tenant, claims.session_id)))
        if claims.token_id is not None:
            places.append((self._by_token, (tenant, claims.token_id)))
        return places

    def _concerned(self, hit: Concerned) -> list[Handle]:
        if hit.wide:
            return list(self._all)
        found: set[Handle] = set()
        for index, keys in (
            (self._by_subject, hit.subjects),
            (self._by_session, hit.session_ids),
            (self._by_token, hit.token_ids),
        ):
            for key in keys:
                found |= index.get(key, _NOBODY)
        return list(found)


_NOBODY: Final[frozenset[Handle]] = frozenset()
_NOTHING: Final = Dropped()
