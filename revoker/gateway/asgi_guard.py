"""Between a server and an application, for one connection that can fall while the application uses it.

When it falls the application hears a disconnect, wherever it waits in `receive`; what it still sends goes
nowhere; and if it is not done after the grace, its task is cancelled. Whatever the server is to be told as a farewell
is told between two sends, never within one.

Every message is judged again before it passes. That costs about a microsecond, and it holds where timers do not: in a
process that was stopped and wakes up, nothing is sent before its view is looked at.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from revoker.core.claims import SessionClaims
from revoker.gateway.connections import Handle
from revoker.gateway.gateway import Gateway
from revoker.gateway.refusals import Refusal

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_WAKE_SECONDS: Final = 0.02
"""Most servers wake the application by themselves when they are told to close, which costs less."""


class Alarm:
    """Wakes the applications of those that have fallen, by one timer: one each would cost as much as a close."""

    def __init__(self) -> None:
        self._fallen: dict[asyncio.AbstractEventLoop, deque[tuple[float, Guard]]] = {}

    def add(self, guard: "Guard") -> None:
        """`guard` has fallen just now."""
        loop = asyncio.get_running_loop()
        fallen = self._fallen.get(loop)
        if fallen is None:
            fallen = self._fallen[loop] = deque()
            loop.call_later(_WAKE_SECONDS, self._ring, loop)
        fallen.append((loop.time() + _WAKE_SECONDS, guard))

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        fallen, now = self._fallen[loop], loop.time()
        while fallen and fallen[0][0] <= now:
            fallen.popleft()[1].wake()
        if fallen:
            loop.call_later(fallen[0][0] - now, self._ring, loop)
        else:
            del self._fallen[loop]


class Guard(ABC):
    """One connection. `run` the application in it."""

    def __init__(
        self,
        gateway: Gateway,
        claims: Sequence[SessionClaims],
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        alarm: Alarm,
    ) -> None:
        self.gateway = gateway
        self.claims = claims
        self.scope = scope
        self.verdict: Refusal | None = None
        self._alarm = alarm
        self._server_receive = receive
        self._server_send = send
        self._handle: Handle | None = None
        self._turn = asyncio.Lock()
        self._waiting: dict[asyncio.Task[Any], int] = {}
        self._woken: set[asyncio.Task[Any]] = set()
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._aborted = False

    @abstractmethod
    async def passes(self, message: Message) -> None:
        """Takes what the application sends, one at a time."""

    @abstractmethod
    async def farewell(self, verdict: Refusal) -> None:
        """Tells the server that it is over. Nothing of the application's is sent at the same time, or after it."""

    @abstractmethod
    def disconnect(self) -> Message:
        """What the application hears when it is over."""

    def has_fallen(self) -> bool:
        """Whether there is nothing more to be said."""
        return self.verdict is not None

    def register(self) -> None:
        """Makes it fall with its session, from now on; maybe at once."""
        self._handle = self.gateway.connections.add(self.claims, self.fall)

    def fall(self, verdict: Refusal) -> Awaitable[None]:
        """What is registered: over for the application at once, and for the server as soon as it listens."""
        self.cut(verdict)
        return self._bid_farewell(verdict)

    def cut(self, verdict: Refusal) -> None:
        """It is over for the application."""
        self.verdict = verdict
        if self._task is not None:
            self._alarm.add(self)

    async def run(self, app: App) -> None:
        """Runs `app` until it is done, or has to be."""
        task = asyncio.current_task()
        self._task = task
        before = task.cancelling() if task is not None else 0
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            if task is None or not self._aborted or task.cancelling() > before + 1:
                raise
        finally:
            self._task = None
            if self._aborted and task is not None:
                task.uncancel()
            if self._timer is not None:
                self._timer.cancel()
            await self.settle()

    async def settle(self) -> None:
        """The connection ends with the application; what has fallen is let finish its farewell."""
        if self._handle is not None:
            self._handle.remove()
            await self._handle.closed()

    async def hear(self) -> Message:
        """The next that the server has."""
        return await self._server_receive()

    async def receive(self) -> Message:
        """For the application."""
        task = asyncio.current_task()
        if self.has_fallen() or task is None:
            return await self._nothing()
        before = self._waiting[task] = task.cancelling()
        try:
            message = await self.hear()
        except asyncio.CancelledError:
            if not self._woke(task, before):
                raise
            return self.disconnect()
        finally:
            self._waiting.pop(task, None)
        self._woke(task, before)
        self._judge()
        return self.disconnect() if self.has_fallen() else message

    async def send(self, message: Message) -> None:
        """For the application."""
        self._judge()
        if not self.has_fallen():
            async with self._turn:
                if not self.has_fallen():
                    await self.passes(message)
                    return
        # Whoever sends without end must let others have their turn.
        await asyncio.sleep(0)

    def refused(self, verdict: Refusal) -> None:
        """Counts a try with the dead, for the service."""
        client = self.scope.get("client")
        self.gateway.refused(self.claims[0], verdict, ip=client[0] if client else None)

    async def _bid_farewell(self, verdict: Refusal) -> None:
        async with self._turn:
            await self.farewell(verdict)

    async def _nothing(self) -> Message:
        await asyncio.sleep(0)
        return self.disconnect()

    def _judge(self) -> None:
        handle = self._handle
        if handle is not None and not self.has_fallen():
            verdict = self.gateway.connections.judged(self.claims)
            if verdict is not None:
                handle.drop(verdict)

    def _woke(self, task: asyncio.Task[Any], before: int) -> bool:
        """Whether it was only us who cancelled `task` while it waited."""
        if task not in self._woken:
            return False
        self._woken.discard(task)
        return task.uncancel() <= before

    def wake(self) -> None:
        """Tells the application, if it has not heard yet; it has the grace to end."""
        if self._task is None:
            return
        for task in self._waiting:
            self._woken.add(task)
            task.cancel()
        grace = self.gateway.connections.close_grace
        self._timer = asyncio.get_running_loop().call_later(grace, self._abort)

    def _abort(self) -> None:
        if self._task is not None:
            self._aborted = True
            self._task.cancel()
