"""The other end of `benchmarks.child`: starts the product, warms it up, holds it, releases it on a backlog, times it.

What is timed: from the moment at which the first batch is handed to the product's lane until the last batch is done,
which is to say committed, announced, acknowledged, marked as announced, and its offsets committed. That is held against
PostgreSQL and Kafka each time. The start of the process is left out, and so is the first fetch, which waits on a timer.
"""

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from benchmarks.errors import BenchmarkError
from benchmarks.ground import ROOT, Ground
from benchmarks.kafka import Record
from benchmarks.processor import Cores, Meter
from benchmarks.watching import watching

_SECONDS: Final = 120.0
_LONG_POLL_SECONDS: Final = 0.7
"""A fetch that the broker holds when partitions are paused would still bring what is written meanwhile."""


@dataclass(frozen=True, slots=True)
class Window:
    """A measured stretch of the product's work."""

    seconds: float
    fetch_seconds: float
    """From the release to the first batch; not part of `seconds`."""
    batches: int
    cores: Cores
    profile: str


class Product:
    """One running consumers process. Held, once it is warm, but while it works off a backlog."""

    def __init__(self, ground: Ground, process: Process, lane: str, topic: str, *, profile: bool) -> None:
        self._ground = ground
        self._process = process
        self._group = f"{ground.settings.topic_prefix}revoker-{lane}"
        self._profile = profile
        self.topic = ground.settings.topic(topic)

    async def warm_up(self, records: Sequence[Record]) -> None:
        """Gives it something to do, so that connections are open and statements are known."""
        await self._ground.kafka.produce(self.topic, records)
        await self._batches(len(records))
        await self._settled()
        await self.hold()

    async def release(self) -> float:
        """Lets it fetch. Returns when."""
        self._order("release")
        return float((await self._said("released"))["released"])

    async def hold(self) -> None:
        """Nothing is fetched from now on."""
        self._order("hold")
        await self._said("held")
        await asyncio.sleep(_LONG_POLL_SECONDS)

    async def work_off(self, records: int) -> Window:
        """Times it on `records` that wait."""
        meter = Meter(self._ground.servers, {"product": self._process.pid})
        if self._profile:
            async with watching(self._ground.servers.postgres.dsn) as looks:
                released, batches = await self.release(), await self._batches(records)
        else:
            released, batches = await self.release(), await self._batches(records)
        cores = await meter.cores()
        waited = await self._settled()
        profile = f"{looks}\n\nproduct, processor:\n{await self._profiled()}" if self._profile else ""
        await self.hold()
        began = min(batch["began"] for batch in batches)
        return Window(
            seconds=max(batch["ended"] for batch in batches) - began + waited,
            fetch_seconds=began - released,
            batches=len(batches),
            cores=cores,
            profile=profile,
        )

    async def stop(self) -> None:
        """As an orchestrator would."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 15)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _batches(self, records: int) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while sum(one["batch"] for one in seen) < records:
            seen.append(await self._said("batch"))
        return seen

    async def _settled(self) -> float:
        """Returns how long it took until all offsets were committed and all batches announced; 0 if they were."""
        began, waited = time.monotonic(), 0.0
        ends = await self._ground.kafka.ends(self.topic)
        while True:
            committed = await self._ground.kafka.committed(self._group, self.topic)
            left = await self._ground.sql.fetchval("select count(*) from batches where announced_at is null")
            if left == 0 and all(committed.get(partition, 0) == end for partition, end in ends.items()):
                return waited
            if waited > _SECONDS:
                raise BenchmarkError(f"{left} batches are not announced, {committed} of {ends} is committed")
            await asyncio.sleep(0.002)
            waited = time.monotonic() - began

    async def _profiled(self) -> str:
        self._order("profile")
        return str((await self._said("profile"))["profile"])

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())

    async def _said(self, what: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(_SECONDS):
            while line := await self._process.stdout.readline():
                report: dict[str, Any] = json.loads(line)
                if what in report:
                    return report
        raise BenchmarkError(f"the product ended with {await self._process.wait()}")


@asynccontextmanager
async def product(ground: Ground, lane: str, topic: str, *, profile: bool) -> AsyncIterator[Product]:
    """A consumers process of one lane, which reads `topic`."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.child", lane, *(["--profile"] if profile else [])),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            cwd=ROOT,
            env=ground.environment(),
            limit=1_000_000,
        )
        running = Product(ground, process, lane, topic, profile=profile)
        try:
            yield running
        except (BenchmarkError, TimeoutError) as error:
            raise BenchmarkError(f"{type(error).__name__}: {error}\nThe product's log:\n{_tail(log)}") from error
        finally:
            await running.stop()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-4_000:].decode(errors="replace")
