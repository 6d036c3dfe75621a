"""The other end of `benchmarks.child`: starts the product, warms it up, holds it, releases it on a backlog, times it.

The product is one consumers process, or several of one group, as it is deployed.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from benchmarks.errors import BenchmarkError
from benchmarks.ground import ROOT, Ground
from benchmarks.kafka import Record
from benchmarks.plan import Plan
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


class _Member:
    """One process of the product."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def order(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())

    async def said(self, what: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            report: dict[str, Any] = json.loads(line)
            if what in report:
                return report
        raise BenchmarkError(f"the product ended with {await self.process.wait()}")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 15)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class Product:
    """Running consumers processes of one lane. Held, once they are warm, but while they work off a backlog."""

    def __init__(self, ground: Ground, members: Sequence[_Member], lane: str, topic: str, *, profile: bool) -> None:
        self._ground = ground
        self._members = members
        self._group = f"{ground.settings.topic_prefix}revoker-{lane}"
        self._profile = profile
        self.topic = ground.settings.topic(topic)

    @property
    def processes(self) -> int:
        """How many share the work."""
        return len(self._members)

    async def warm_up(self, records: Callable[[int], Awaitable[Sequence[Record]]]) -> None:
        """Gives every process something to do, so that connections are open and statements are known.

        `records` makes them anew for each try: who comes first may take all, until the group has shared its partitions.
        """
        async with asyncio.timeout(_SECONDS):
            idle, number = set(self._members), 0
            while idle:
                given = await records(number)
                await self._ground.kafka.produce(self.topic, given)
                idle -= {member for member, _ in await self._batches(len(given))}
                number += 1
        await self._settled()
        await self.hold()

    async def release(self) -> float:
        """Lets it fetch. Returns when."""
        self._order("release")
        return min([float(report["released"]) for report in await self._said("released")])

    async def hold(self) -> None:
        """Nothing is fetched from now on."""
        self._order("hold")
        if not all(report["held"] for report in await self._said("held")):
            raise BenchmarkError("a process of the product has no partition")
        await asyncio.sleep(_LONG_POLL_SECONDS)

    async def work_off(self, records: int) -> Window:
        """Times it on `records` that wait."""
        meter = Meter(self._ground.servers, {"product": [member.process.pid for member in self._members]})
        if self._profile:
            async with watching(self._ground.servers.postgres.dsn) as looks:
                released, reports = await self.release(), await self._batches(records)
        else:
            released, reports = await self.release(), await self._batches(records)
        batches = [report for _, report in reports]
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
        await asyncio.gather(*(member.stop() for member in self._members))

    async def _batches(self, records: int) -> list[tuple[_Member, dict[str, Any]]]:
        seen: list[tuple[_Member, dict[str, Any]]] = []
        listening = {asyncio.create_task(member.said("batch")): member for member in self._members}
        try:
            async with asyncio.timeout(_SECONDS):
                while sum(report["batch"] for _, report in seen) < records:
                    done, _ = await asyncio.wait(listening, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        member = listening.pop(task)
                        seen.append((member, task.result()))
                        listening[asyncio.create_task(member.said("batch"))] = member
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
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
        return "\n\n".join([str(report["profile"]) for report in await self._said("profile")])

    def _order(self, order: str) -> None:
        for member in self._members:
            member.order(order)

    async def _said(self, what: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(_SECONDS):
            return [await member.said(what) for member in self._members]


@asynccontextmanager
async def product(ground: Ground, lane: str, topic: str, plan: Plan) -> AsyncIterator[Product]:
    """Consumers processes of one lane, which read `topic`."""
    members: list[_Member] = []
    with tempfile.TemporaryFile() as log:
        running = Product(ground, members, lane, topic, profile=plan.profile)
        try:
            for _ in range(plan.processes):
                process = await _started(ground, lane, log, profile=plan.profile)
                members.append(_Member(process))
            yield running
        except (BenchmarkError, TimeoutError) as error:
            raise BenchmarkError(f"{type(error).__name__}: {error}\nThe product's log:\n{_tail(log)}") from error
        finally:
            await running.stop()


async def _started(ground: Ground, lane: str, log: IO[bytes], *, profile: bool) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.child", lane, *(["--profile"] if profile else [])),
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        cwd=ROOT,
        env=ground.environment(),
        limit=1_000_000,
    )


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-4_000:].decode(errors="replace")
