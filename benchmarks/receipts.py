"""What receipts cost: the backlog of `benchmarks.revocations`, with receipts and without, in turns.

with       twenty gateways report (`benchmarks.talkers`) and `revoker consumers --only receipts` takes it in and proves
without    the gateways read all the same, and say nothing; nobody takes anything in

The processor that gateways and receipts use is taken from the machine of the revocations; it is told as a note.
"""

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Goal, Note, Row, shown
from benchmarks.ground import ROOT, Ground
from benchmarks.patience import Patience
from benchmarks.plan import Plan
from benchmarks.processor import OTHERS, Meter
from benchmarks.product import Product, product
from benchmarks.revocations import Revocations
from schemas.topics import Topic

GATEWAYS: Final = 20
_NAME: Final = "receipts"
_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
_WARM_UP: Final = 4_000
_EPOCH: Final = "select epoch::text from feeds where topic = $1"
_SERVING: Final = "select count(*) from gateways where state = 'serving' and left_at is null"
_UNPROVEN: Final = "select count(*) from batches where epoch is not null and enforced_at is null"
_PROVEN: Final = """
select extract(epoch from max(enforced_at) - max(announced_at))::float8, count(enforced_at),
    (select coalesce(sum(e.connections), 0) from gateway_effects e join revocations r on r.id = e.revocation_id
     where r.tenant = $1)
from batches where epoch is not null"""
_CONSUMERS: Final = ("-c", "from revoker.cli import main; main()", "consumers", "--only", "receipts")


@dataclass(frozen=True, slots=True)
class Stage:
    """All that a turn needs."""

    ground: Ground
    plan: Plan
    running: Product
    talkers: "Talkers"
    patience: Patience


@dataclass(frozen=True, slots=True)
class Turn:
    """Of one side."""

    rate: float
    others: float
    """Cores that neither we nor the servers kept busy."""
    beside: float
    """Cores that gateways and receipts kept busy."""
    proven_after: float = 0.0
    """Seconds from the last announcement to the last proof."""


class Talkers:
    """The other end of `benchmarks.talkers`."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def said(self, what: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(_SECONDS):
            while line := await self.process.stdout.readline():
                if what in json.loads(line):
                    return
        raise BenchmarkError(f"the gateways ended with {await self.process.wait()}")

    async def told(self, order: str, answer: str) -> None:
        """Gives an order and waits until it was carried out."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())
        await self.said(answer)


async def measure(ground: Ground, plan: Plan, say: Callable[[str], None]) -> tuple[list[Row], list[Note], str]:
    """The row."""
    async with product(ground, Revocations.lane, Revocations.topic, plan) as running:
        await running.warm_up(lambda number: _laid_out(ground, f"receipts-warm-up-{number}", _WARM_UP))
        async with _talking(ground) as talkers:
            turns = await _rounds(Stage(ground, plan, running, talkers, Patience(plan.patience)), say)
    with_, without = turns["with"], turns["without"]
    row = Row(
        f"revocations, {GATEWAYS} gateways' receipts",
        "the same while gateways say nothing and nobody takes it in",
        "events/s",
        [turn.rate for turn in with_],
        [turn.rate for turn in without],
        Goal(0.9),
        [max(pair) for pair in zip([t.others for t in with_], [t.others for t in without], strict=True)],
    )
    values = {
        "cores of gateways and receipts": median([turn.beside for turn in with_]),
        "of silent gateways": median([turn.beside for turn in without]),
        "seconds until all was proven": median([turn.proven_after for turn in with_]),
    }
    return [row], [Note(_NAME, ", ".join(f"{what} {shown(value)}" for what, value in values.items()), values)], ""


async def _rounds(stage: Stage, say: Callable[[str], None]) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {"with": [], "without": []}
    plan = stage.plan
    for number in count(1):
        began = time.monotonic()
        await stage.ground.clear(0 if plan.fresh else plan.events)
        sides = ("with", "without") if number % 2 else ("without", "with")
        now = {side: await _turn(stage, f"{side}-{number}") for side in sides}
        again = stage.patience.again(max(turn.others for turn in now.values()), began)
        rates = {side: shown(turn.rate) for side, turn in now.items()}
        say(f"{_NAME}, round {number}: with {rates['with']}/s, without {rates['without']}/s" + ", thrown away" * again)
        if again:
            continue
        for side, turn in now.items():
            turns[side].append(turn)
        if len(turns["with"]) == plan.rounds:
            break
    return turns


async def _turn(stage: Stage, tenant: str) -> Turn:
    ground, talkers, events = stage.ground, stage.talkers, stage.plan.events
    records = await _laid_out(ground, tenant, events)
    await ground.settle()
    await ground.kafka.produce(stage.running.topic, records)
    if tenant.startswith("without"):
        turn = await _worked_off(stage, [talkers.process])
    else:
        async with _taken_in(ground, talkers) as consumers:
            turn = await _worked_off(stage, [talkers.process, consumers])
            await _until(ground, _UNPROVEN, 0)
        seconds, proven, cut = await ground.sql.fetchrow(_PROVEN, tenant)
        if not (proven and cut):
            raise BenchmarkError(f"{tenant}: {proven} batches were proven, and {cut} connections told of")
        turn = replace(turn, proven_after=seconds)
    await Revocations().check(ground, tenant, events)
    return turn


async def _worked_off(stage: Stage, beside: list[Process]) -> Turn:
    ground, events = stage.ground, stage.plan.events
    await ground.checkpoint()
    await stage.patience.quiet()
    meter = Meter(ground.servers, {"beside": [process.pid for process in beside]})
    window = await stage.running.work_off(events)
    busy = (await meter.cores())["beside"]
    return Turn(events / window.seconds, max(0.0, window.cores[OTHERS] - busy), busy)


async def _until(ground: Ground, question: str, answer: int) -> None:
    """Waits until the database gives that answer."""
    async with asyncio.timeout(_SECONDS):
        while await ground.sql.fetchval(question) != answer:  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(_LOOK_SECONDS)


async def _laid_out(ground: Ground, tenant: str, size: int) -> list[tuple[bytes, bytes]]:
    await Revocations().lay_out(ground, tenant, size)
    return Revocations().backlog(tenant, size)


@asynccontextmanager
async def _talking(ground: Ground) -> AsyncIterator[Talkers]:
    """The gateways, which read and say nothing yet."""
    epoch = await ground.sql.fetchval(_EPOCH, ground.settings.topic(Topic.SESSION_ENDED))
    words = ("-m", "benchmarks.talkers", str(GATEWAYS), epoch)
    environment = ground.environment()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdin=PIPE, stdout=PIPE, cwd=ROOT, env=environment
    )
    try:
        talkers = Talkers(process)
        await talkers.said("reading")
        yield talkers
    finally:
        await _stop(process)


@asynccontextmanager
async def _taken_in(ground: Ground, talkers: Talkers) -> AsyncIterator[Process]:
    """The receipts consumers, once they know of all gateways, which talk."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *_CONSUMERS, stdin=DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=ground.environment()
        )
        try:
            await talkers.told("talk", "talking")
            await _until(ground, _SERVING, GATEWAYS)
            yield process
            await talkers.told("hush", "hushed")
            await _until(ground, _SERVING, 0)
        except TimeoutError as error:
            log.seek(0)
            raise BenchmarkError(f"receipts: {log.read()[-3000:].decode(errors='replace')}") from error
        finally:
            await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()
