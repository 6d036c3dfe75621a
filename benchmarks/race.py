"""Rounds of the product against bare statements, in turns: first, second and third change places from round to round.

Each side has rows of its own in the same tables, under a tenant of its own, and is checked when it is done.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import Final, Protocol

import asyncpg
from aiokafka import TopicPartition

from benchmarks.bare import SIZES, Bare
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Goal, Note, Row, shown
from benchmarks.ground import Ground
from benchmarks.kafka import Record
from benchmarks.patience import Patience
from benchmarks.plan import Plan
from benchmarks.processor import OTHERS, Cores, Meter
from benchmarks.product import Product, Window
from revoker.settings import Settings
from schemas.topics import Topic

SCRATCH: Final = "bench-scratch"
_WARM_UP: Final = 4_000


class Discipline(Protocol):
    """What is raced in."""

    name: str
    lane: str
    topic: Topic
    told: int
    """Notifications a record."""

    async def lay_out(self, ground: Ground, tenant: str, count: int) -> None:
        """Makes the rows that a side needs."""
        ...

    def backlog(self, tenant: str, count: int) -> list[Record]:
        """What waits in Kafka for the product."""
        ...

    def bare(self, tenant: str, count: int, size: int) -> Bare:
        """The same work as bare statements."""
        ...

    async def check(self, ground: Ground, tenant: str, count: int) -> None:
        """Raises `BenchmarkError` if the work of a side is not done."""
        ...


@dataclass(slots=True)
class Rates:
    """Of one round, in records a second."""

    window: Window | None = None
    product: float = 0.0
    bare: dict[int, float] = field(default_factory=dict)
    bare_cores: dict[int, Cores] = field(default_factory=dict)
    produce: float = 0.0
    kafka_read: float = 0.0
    kafka_write: float = 0.0

    @property
    def best(self) -> float:
        """Of the sizes of a bare batch."""
        return max(self.bare.values())

    @property
    def disturbance(self) -> float:
        """How many cores others kept busy, in the worst turn."""
        turns = [*self.bare_cores.values(), *([self.window.cores] if self.window else [])]
        return max(cores[OTHERS] for cores in turns)

    def __str__(self) -> str:
        rates = f"product {shown(self.product)}/s, bare {shown(self.best)}/s, ratio {shown(self.product / self.best)}"
        return f"{rates}, others kept {shown(self.disturbance)} cores busy"


Extra = Callable[[int], Awaitable[None]]
"""Something more that happens in each round, before and after the race."""


async def _nothing(number: int) -> None:
    del number


@dataclass(frozen=True, slots=True)
class Race:
    """All that it needs, and `run`."""

    ground: Ground
    discipline: Discipline
    product: Product
    connection: asyncpg.Connection
    plan: Plan
    size: int
    """Of the backlog."""

    async def warm_up(self) -> None:
        """So that no side pays for connections and plans."""

        async def records(number: int) -> list[Record]:
            await self.discipline.lay_out(self.ground, f"warm-up-{number}", _WARM_UP)
            return self.discipline.backlog(f"warm-up-{number}", _WARM_UP)

        await self.product.warm_up(records)
        await self.discipline.lay_out(self.ground, "bare-warm-up", _WARM_UP)
        await self.discipline.bare("bare-warm-up", _WARM_UP, SIZES[0]).run(self.connection)

    async def run(self, say: Callable[[str], None], before: Extra = _nothing, after: Extra = _nothing) -> list[Rates]:
        """All rounds."""
        rounds: list[Rates] = []
        patience = Patience(self.plan.patience)
        for number in count(1):
            began = time.monotonic()
            await self.ground.clear(0 if self.plan.fresh else self.size)
            await before(number)
            rates = await self._round(number, patience)
            again = patience.again(rates.disturbance, began)
            say(f"{self.discipline.name}, round {number}: {rates}" + ", thrown away" * again)
            if again:
                continue
            rounds.append(rates)
            await after(number)
            if len(rounds) == self.plan.rounds:
                break
        return rounds

    async def _round(self, number: int, patience: Patience) -> Rates:
        tenants = {0: f"product-{number}"} | {size: f"bare-{size}-{number}" for size in SIZES}
        for tenant in tenants.values():
            await self.discipline.lay_out(self.ground, tenant, self.size)
        await self.ground.settle()
        since, told_since = await self._ends()
        rates = Rates()
        records = self.discipline.backlog(tenants[0], self.size)
        rates.produce = self.size / await self.ground.kafka.produce(self.product.topic, records)
        sides = list(tenants)
        turn = number % len(sides)
        for batch in sides[turn:] + sides[:turn]:
            if batch:
                work = self.discipline.bare(tenants[batch], self.size, batch)
                await self.ground.checkpoint()
                await patience.quiet()
                meter = Meter(self.ground.servers, {})
                rates.bare[batch] = self.size / await work.run(self.connection)
                rates.bare_cores[batch] = await meter.cores()
            else:
                await self.ground.checkpoint()
                await patience.quiet()
                rates.window = await self.product.work_off(self.size)
                rates.product = self.size / rates.window.seconds
                await self._check_told(told_since)
            await self.discipline.check(self.ground, tenants[batch], self.size)
        await self._floor(rates, since, told_since)
        return rates

    async def _ends(self) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        told = self.ground.settings.topic(Topic.SESSION_ENDED)
        return await self.ground.kafka.ends(self.product.topic), await self.ground.kafka.ends(told)

    async def _check_told(self, since: dict[TopicPartition, int]) -> None:
        settings, kafka = self.ground.settings, self.ground.kafka
        told = await kafka.count(settings.topic(Topic.SESSION_ENDED)) - sum(since.values())
        rejected = await kafka.count(settings.topic(Topic.REJECTED_EVENTS))
        if told != self.discipline.told * self.size or rejected:
            raise BenchmarkError(f"{told} notifications of {self.size} records, {rejected} rejected")

    async def _floor(
        self, rates: Rates, since: dict[TopicPartition, int], told_since: dict[TopicPartition, int]
    ) -> None:
        """What Kafka alone costs: to read the same records, and to write the same notifications, by plain aiokafka."""
        seconds, records = await self.ground.kafka.read(since)
        rates.kafka_read = len(records) / seconds
        if self.discipline.told:
            _, notices = await self.ground.kafka.read(told_since)
            rates.kafka_write = len(notices) / await self.ground.kafka.produce(SCRATCH, notices)


def row(name: str, against: str, rounds: Sequence[Rates], goal: Goal, unit: str) -> Row:
    """The product against the better of the bare batches."""
    disturbance = [one.disturbance for one in rounds]
    return Row(name, against, unit, [one.product for one in rounds], [one.best for one in rounds], goal, disturbance)


def notes(name: str, rounds: Sequence[Rates], settings: Settings, processes: int) -> list[Note]:
    """What makes the row understood."""
    windows = [one.window for one in rounds if one.window is not None]
    bare = {f"batches of {size:,}": median([one.bare[size] for one in rounds]) for size in SIZES}
    kafka = {
        "to produce the backlog": median([one.produce for one in rounds]),
        "to read it": median([one.kafka_read for one in rounds]),
        "to write the notifications": median([one.kafka_write for one in rounds]),
    }
    bare_cores = [one.bare_cores[max(one.bare, key=one.bare.__getitem__)] for one in rounds]
    limits = settings.limits
    product = {
        "processes": processes,
        "chunk": limits.chunk,
        "in flight": limits.in_flight,
        "most records a batch": limits.batch,
        "batches": median([window.batches for window in windows]),
        "seconds": median([window.seconds for window in windows]),
        "seconds of the first fetch, not counted": median([window.fetch_seconds for window in windows]),
    }
    return [
        _note(f"{name}: bare", bare, "/s"),
        _note(f"{name}: bare aiokafka", {what: rate for what, rate in kafka.items() if rate}, "/s"),
        _note(f"{name}: product", product, ""),
        _note(f"{name}: cores busy, product's turn", _medians([window.cores for window in windows]), ""),
        _note(f"{name}: cores busy, bare's turn", _medians(bare_cores), ""),
    ]


def _medians(turns: Sequence[Cores]) -> Cores:
    return {who: median([cores[who] for cores in turns]) for who in turns[0]}


def _note(name: str, values: Mapping[str, float], unit: str) -> Note:
    return Note(name, ", ".join(f"{what} {shown(value)}{unit}" for what, value in values.items()), values)


def profile(name: str, rounds: Sequence[Rates]) -> str:
    """Of the last round."""
    window = rounds[-1].window
    return f"== {name} ==\n{window.profile}" if window and window.profile else ""
