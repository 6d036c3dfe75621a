"""How what has ended is closed: by a few workers, each connection where it lives, none waiting for another."""

import asyncio
import concurrent.futures
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from revoker.core.claims import SessionClaims
from revoker.gateway.refusals import Refusal

if TYPE_CHECKING:
    from revoker.gateway.connections import Handle

Check = Callable[[SessionClaims], Refusal | None]

_WORKERS: Final = 64
"""To begin with; as many more at each look as are held up."""
_LOOK_SECONDS: Final = 0.02
_TURN_SECONDS: Final = 0.005
"""So long a worker goes on before everybody else has a turn."""
_LET_GO_SECONDS: Final = 0.1
"""What is cancelled has a moment to let go of what it holds; what refuses to end is left to itself."""

_log: Final = logging.getLogger("revoker.gateway")


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of `drop` did."""

    count: int = 0
    """All that were dropped, however that went."""
    failed: int = 0
    """Of them: `close` raised."""
    aborted: int = 0
    """Of them: `close` was not done within the grace, and was cancelled."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Worker:
    """Closes one connection after the other. `since`: when it began the close that it is in, if it is in any."""

    __slots__ = ("replaced", "since", "task")

    def __init__(self) -> None:
        self.since: float | None = None
        self.replaced = False
        self.task: asyncio.Task[None]


class Drop:
    """One call of `drop`. Workers, and not a task for each connection: a task costs as much as a close."""

    def __init__(
        self, handles: Sequence["Handle"], verdict_of: Check, claim: Callable[["Handle", Refusal], bool], grace: float
    ) -> None:
        self._handles = handles
        self._rest = iter(handles)
        self._verdict_of = verdict_of
        self._claim = claim
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._workers: list[_Worker] = []
        self._turn = self._loop.time()
        self._turn_is_over = False
        self._count = self._failed = self._aborted = 0

    async def run(self) -> Dropped:
        """Returns when all are closed, have failed, or were aborted."""
        self._hire(min(_WORKERS, len(self._handles)))
        while self._workers:
            await asyncio.wait([worker.task for worker in self._workers], timeout=_LOOK_SECONDS)
            for worker in self._workers:
                if worker.task.done():
                    worker.task.result()
            self._workers = [worker for worker in self._workers if not worker.task.done()]
            await self._look()
        return Dropped(count=self._count, failed=self._failed, aborted=self._aborted)

    async def _look(self) -> None:
        """Replaces who is held up, so that there is always somebody who is not; aborts who is for too long."""
        now = self._loop.time()
        busy = [(worker, now - worker.since) for worker in self._workers if worker.since is not None]
        held_up = [worker for worker, seconds in busy if seconds >= _LOOK_SECONDS and not worker.replaced]
        for worker in held_up:
            worker.replaced = True
        self._hire(len(held_up))
        late = {worker for worker, seconds in busy if seconds >= self._grace}
        if late:
            self._aborted += len(late)
            self._workers = [worker for worker in self._workers if worker not in late]
            for worker in late:
                worker.task.cancel()
            await asyncio.wait([worker.task for worker in late], timeout=_LET_GO_SECONDS)

    def _hire(self, number: int) -> None:
        for _ in range(number):
            worker = _Worker()
            worker.task = self._loop.create_task(self._work(worker))
            self._workers.append(worker)

    async def _work(self, worker: _Worker) -> None:
        for handle in self._rest:
            verdict = first(self._verdict_of, handle.claims)
            if verdict is not None and self._claim(handle, verdict):
                self._count += 1
                closing = begun(handle, verdict)
                if closing is FAILED:
                    self._failed += 1
                elif closing is not None:
                    worker.since = self._loop.time()
                    await self._close(handle, closing)
                    worker.since = None
            while self._loop.time() - self._turn > _TURN_SECONDS:
                if not self._turn_is_over:
                    self._turn_is_over = True
                    self._loop.call_soon(self._begin_turn)
                await asyncio.sleep(0)

    def _begin_turn(self) -> None:
        """One for all workers: everybody else has had theirs."""
        self._turn = self._loop.time()
        self._turn_is_over = False

    async def _close(self, handle: "Handle", closing: Awaitable[None]) -> None:
        try:
            await closing
        except Exception:  # noqa: BLE001 - it is somebody else's, and the others must fall
            self._failed += 1
            _log.exception("a connection's close failed")
        finally:
            handle._done()  # noqa: SLF001 - one module, two halves


def first(judge: Check, claims: Sequence[SessionClaims]) -> Refusal | None:
    """The first verdict on any of `claims`, of which there is mostly one."""
    for one in claims:
        verdict = judge(one)
        if verdict is not None:
            return verdict
    return None


class _Failed:
    def __await__(self) -> Generator[None, None, None]:
        raise NotImplementedError  # it is never awaited


FAILED: Final = _Failed()


def begun(handle: "Handle", verdict: Refusal) -> Awaitable[None] | None:
    """`_begin`, for callbacks that may fail at once."""
    try:
        return _begin(handle, verdict)
    except Exception:  # noqa: BLE001 - it is somebody else's
        _log.exception("a connection's close failed")
        return FAILED


def _begin(handle: "Handle", verdict: Refusal) -> Awaitable[None] | None:
    """Calls `close` where it belongs. None: it is done, or goes on without us."""
    here, home = running_loop(), handle._loop  # noqa: SLF001 - one module, two halves
    if home is not None and home is not here:
        return _begin_at(home, handle, verdict, wait=here is not None)
    closing = handle._close(verdict)  # noqa: SLF001 - as above
    if closing is not None and here is None:
        asyncio.run(_bounded(closing, handle._connections.close_grace))  # noqa: SLF001 - as above
        return None
    handle._busy = closing is not None  # noqa: SLF001 - as above
    return closing


def _begin_at(
    home: asyncio.AbstractEventLoop, handle: "Handle", verdict: Refusal, *, wait: bool
) -> Awaitable[None] | None:
    """The same, in the loop where the connection lives, which runs in another thread."""

    async def there() -> None:
        handle._busy = True  # noqa: SLF001 - as above
        try:
            closing = handle._close(verdict)  # noqa: SLF001 - as above
            if closing is not None:
                await _bounded(closing, handle._connections.close_grace)  # noqa: SLF001 - as above
        finally:
            handle._done()  # noqa: SLF001 - as above

    coroutine = there()
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, home)
    except BaseException:
        coroutine.close()
        raise
    if wait:
        return asyncio.wrap_future(future)
    future.add_done_callback(_tell_failure)
    return None


async def _bounded(closing: Awaitable[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await closing


def _tell_failure(done: concurrent.futures.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.error("a connection's close failed", exc_info=error)
