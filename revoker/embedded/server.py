"""The life of one embedded server, the same for all three.

start: install what is missing, open the folder, prepare it, launch on free ports (again on others if they were taken
in the meantime), wait until the server answers. Whatever interrupts that, nothing is left behind.
kill and restart keep the folder and the ports, so that a test can see what survives. stop ends it all: a temporary
folder is gone, a kept one is ready for the next start.
"""

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from revoker.embedded.child import Child, Launch
from revoker.embedded.errors import EmbeddedError, NotRunningError, ServerFailedError
from revoker.embedded.place import Place, open_place
from revoker.embedded.ports import free_ports

Progress = Callable[[str], None]

_PORT_ATTEMPTS = 5
_PORT_TAKEN = "Address already in use"
_PROBE_SECONDS = 1.0


class EmbeddedServer(ABC):
    """An async context manager. Not for use by two tasks at once."""

    name: ClassVar[str]
    title: ClassVar[str]
    port_count: ClassVar[int] = 1

    def __init__(
        self, data: Path | None = None, *, progress: Progress | None = None, start_seconds: float = 60.0
    ) -> None:
        self._data = data
        self._progress = progress
        self._start_seconds = start_seconds
        self._place: Place | None = None
        self._child: Child | None = None
        self._ports: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The server's own process, to be paused or killed by a test."""
        if self._child is None or self._child.poll() is not None or self._child.pid is None:
            raise NotRunningError(f"{self.title} is not running")
        return self._child.pid

    @property
    def port(self) -> int:
        if not self._ports:
            raise NotRunningError(f"{self.title} has not been started")
        return self._ports[0]

    @property
    def directory(self) -> Path:
        """Where the server keeps its files, its log among them."""
        if self._place is None:
            raise NotRunningError(f"{self.title} has not been started")
        return self._place.directory

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    async def start(self) -> None:
        """Start and wait until the server answers. Cancelling stops and removes everything again."""
        if self._place is not None:
            raise EmbeddedError(f"{self.title} has been started already")
        started = time.monotonic()
        try:
            await self._install()
            self._place = await open_place(self._data, self.name)
            await self._prepare(self._place)
            await self._launch_on_free_ports(self._place)
        except BaseException:
            await self.stop()
            raise
        self._report(f"{self.title} is ready on 127.0.0.1:{self.port} ({time.monotonic() - started:.1f} s)")

    async def stop(self) -> None:
        """End the server, in good order if it takes at most 10 s. Safe to call at any time, and twice."""
        child, self._child = self._child, None
        place, self._place = self._place, None
        if child is not None or place is not None:
            # In a thread, because a second cancellation must not leave it half done.
            await asyncio.to_thread(_end, child, place)

    async def kill(self) -> None:
        """SIGKILL the server and every process below it. Its files stay for restart."""
        if self._child is None:
            raise NotRunningError(f"{self.title} is not running")
        await asyncio.to_thread(self._child.kill)

    async def restart(self) -> None:
        """Start again on the same ports with the same files, after kill or from running."""
        if self._place is None or self._child is None:
            raise NotRunningError(f"{self.title} has not been started")
        await asyncio.to_thread(self._child.stop)
        await self._launch(self._place, self._ports)

    async def _launch_on_free_ports(self, place: Place) -> None:
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            self._ports = free_ports(self.port_count)
            try:
                await self._launch(place, self._ports)
            except ServerFailedError as error:
                if self._child is not None:
                    await asyncio.to_thread(self._child.stop)
                if _PORT_TAKEN not in str(error) or not attempts_left:
                    raise
            else:
                return

    async def _launch(self, place: Place, ports: tuple[int, ...]) -> None:
        child = self._child = Child(self._command(place, ports))
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._wait_until_ready(child)
        except TimeoutError:
            raise self._failed(child, f"did not answer within {self._start_seconds:g} s") from None

    async def _wait_until_ready(self, child: Child) -> None:
        while (code := child.poll()) is None:
            if child.pid is not None and await self._probe():
                return
            await asyncio.sleep(0.02)
        raise self._failed(child, f"ended with exit code {code} while it started")

    async def _probe(self) -> bool:
        with suppress(OSError, EOFError):  # TimeoutError is an OSError.
            async with asyncio.timeout(_PROBE_SECONDS):
                return await self._answers()
        return False

    def _failed(self, child: Child, how: str) -> ServerFailedError:
        return ServerFailedError(f"{self.title} {how}. The end of its log:\n{child.log_tail() or '(empty)'}")

    def _report(self, line: str) -> None:
        if self._progress is not None:
            self._progress(line)

    def _launch_of(self, place: Place, command: tuple[str, ...], *, stop_signal: int = signal.SIGTERM) -> Launch:
        return Launch(
            command=command,
            directory=place.directory,
            environment={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"},
            lock=place.lock,
            log=place.directory / f"{self.name}.log",
            remove=place.temporary,
            stop_signal=stop_signal,
        )

    async def _install(self) -> None:  # noqa: B027 - only Kafka needs it
        """Fetch what the server needs and what is not there yet, outside its folder."""

    @abstractmethod
    async def _prepare(self, place: Place) -> None:
        """Make the folder ready for a launch. Also called on a kept folder."""

    @abstractmethod
    def _command(self, place: Place, ports: tuple[int, ...]) -> Launch:
        """Write the configuration for these ports, and say what to run."""

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether it is our server that answers, and is able to work."""


def _end(child: Child | None, place: Place | None) -> None:
    try:
        if child is not None:
            child.finish()
    finally:
        if place is not None:
            place.close()
