"""Runs `benchmarks.newcomer` in a process of its own, and times it from outside.

Timed is from its first notification to its last, so that neither its start nor its first fetch counts.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer

from benchmarks.errors import BenchmarkError
from benchmarks.events import password_changes
from benchmarks.ground import ROOT, Ground
from benchmarks.kafka import Record
from revoker.embedded.child import Child, Launch

_IN: Final = "newcomer-password-changed"
_OUT: Final = "newcomer-session-ended"
_START_SECONDS: Final = 30.0
_SECONDS: Final = 120.0


class Newcomer:
    """It works on whatever comes, from its start to its end."""

    def __init__(self, ground: Ground, child: Child, output: AIOKafkaConsumer) -> None:
        self._ground = ground
        self._child = child
        self._output = output

    async def start(self) -> None:
        """Waits until it works: it reads only what is written after it has joined its group."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            warm_up = password_changes("newcomer-warm-up", 1)
            await self._ground.kafka.produce(_IN, warm_up)
            if await self._output.getmany(timeout_ms=500):
                break
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"the newcomer does nothing:\n{self._child.log_tail()}")
        while await self._output.getmany(timeout_ms=500):
            pass

    async def work_off(self, records: Sequence[Record]) -> float:
        """Events a second."""
        await self._ground.kafka.produce(_IN, records)
        first, told = 0.0, 0
        async with asyncio.timeout(_SECONDS):
            while told < len(records):
                fetched = await self._output.getmany(timeout_ms=200)
                told += sum(map(len, fetched.values()))
                if told and not first:
                    first, before = time.monotonic(), told
        return (told - before) / (time.monotonic() - first)


@asynccontextmanager
async def newcomer(ground: Ground) -> AsyncIterator[Newcomer]:
    """The newcomer's process, working. It logs as it does by default, to a file."""
    await ground.kafka.create(_IN, _OUT)
    with tempfile.TemporaryDirectory(prefix="revoker-bench-") as folder:
        async with ground.kafka.reading(await ground.kafka.ends(_OUT)) as output:
            command = sys.executable, "-m", "benchmarks.newcomer"
            log = Path(folder) / "newcomer.log"
            # It must not outlive us, however we end.
            child = Child(Launch(command=command, directory=ROOT, log=log, environment=ground.environment()))
            try:
                running = Newcomer(ground, child, output)
                await running.start()
                yield running
            finally:
                await asyncio.to_thread(child.kill)
                await asyncio.to_thread(child.finish)
