"""One event at a time, in idle: how long until the socket of an ended session is closed.

the product     from before the event is sent until the other end of the socket reads its end: Kafka, the consumers,
                PostgreSQL, Kafka, and a gateway (`revoker.gateway`) in this process
bare            two Kafka hops and one commit: a consumer that ends the same rows by key and passes the record on

They take turns, event by event, and who begins changes. Everybody reads all the time, as consumers and gateways do: a
client that leaves a record untaken while others have their turn asks for no more of its partition meanwhile, and finds
the next one half a second late.
"""

import asyncio
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer

from benchmarks.events import password_changes
from benchmarks.figures import Goal, Note, Row, percentile
from benchmarks.ground import Ground, bare_connection
from benchmarks.kafka import Record
from benchmarks.product import Product
from revoker.gateway import Gateway, SessionClaims
from schemas.topics import Topic

_IN: Final = "bench-latency-in"
_OUT: Final = "bench-latency-out"
_SECONDS: Final = 30
_GOALS: Final = {0.5: 2, 0.99: 3}
_END: Final = "update sessions set ended_at = $3, ended_by = $4 where tenant = $1 and subject = $2 and ended_at is null"


async def measure(ground: Ground, running: Product, count: int) -> tuple[list[Row], Note]:
    """Median and 99th percentile of both sides, as rates of one at a time; and the milliseconds."""
    for tenant in ("idle", "idle-bare"):
        await ground.seed(tenant, count)
    await ground.settle()
    told = ground.settings.topic(Topic.SESSION_ENDED)
    took: dict[str, list[float]] = {"closed": [], "announced": [], "bare": []}
    async with AsyncExitStack() as stack:
        gateway = Gateway(
            "bench",
            bootstrap_servers=ground.settings.kafka_bootstrap_servers,
            topic_prefix=ground.settings.topic_prefix,
        )
        await stack.enter_async_context(gateway)
        await gateway.ready(_SECONDS)
        announced = await stack.enter_async_context(_arriving(ground, told))
        passed = await stack.enter_async_context(_bare(ground))
        await running.release()
        pairs = zip(password_changes("idle", count), password_changes("idle-bare", count), strict=True)
        for number, (ours, theirs) in enumerate(pairs):
            for side in ("product", "bare") if number % 2 else ("bare", "product"):
                await asyncio.sleep(random.uniform(0.01, 0.03))
                async with asyncio.timeout(_SECONDS):
                    if side == "product":
                        closed, heard = await _product(ground, running, gateway, announced, ours)
                        took["closed"].append(closed)
                        took["announced"].append(heard)
                    else:
                        took["bare"].append(await _passed(ground, passed, theirs))
    return _rows(took), _note(took)


async def _product(
    ground: Ground, running: Product, gateway: Gateway, announced: "Arrivals", record: Record
) -> tuple[float, float]:
    """Seconds until the socket was closed, and until the notification was read."""
    mine, peer = socket.socketpair()
    peer.settimeout(0)
    with mine, peer, announced.awaiting(record[0]) as heard:
        claims = SessionClaims(subject=record[0].decode(), tenant="idle", established_at=0.0)
        gateway.connections.add(claims, lambda _: mine.close())
        began = time.monotonic()
        end = asyncio.create_task(_until_closed(peer))
        await ground.kafka.produce(running.topic, [record])
        return await end - began, await heard - began


async def _until_closed(peer: socket.socket) -> float:
    assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
    return time.monotonic()


class Arrivals:
    """When records of a topic arrive, by key."""

    def __init__(self) -> None:
        self._awaited: dict[bytes, asyncio.Future[float]] = {}

    @contextmanager
    def awaiting(self, key: bytes) -> Iterator[asyncio.Future[float]]:
        """To be asked before the record can come."""
        self._awaited[key] = asyncio.get_running_loop().create_future()
        try:
            yield self._awaited[key]
        finally:
            del self._awaited[key]

    async def follow(self, consumer: AIOKafkaConsumer) -> None:
        """Takes all that comes, at once."""
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            now = time.monotonic()
            for record in (record for records in fetched.values() for record in records):
                arrival = self._awaited.get(record.key)
                if arrival is not None and not arrival.done():
                    arrival.set_result(now)


@asynccontextmanager
async def _arriving(ground: Ground, topic: str) -> AsyncIterator[Arrivals]:
    async with ground.kafka.reading(await ground.kafka.ends(topic)) as consumer:
        # The first fetch of a consumer waits for metadata.
        await consumer.getmany(timeout_ms=200)
        arrivals = Arrivals()
        follow = asyncio.create_task(arrivals.follow(consumer))
        try:
            yield arrivals
        finally:
            await _cancelled(follow)


async def _passed(ground: Ground, passed: Arrivals, record: Record) -> float:
    with passed.awaiting(record[0]) as heard:
        began = time.monotonic()
        await ground.kafka.produce(_IN, [record])
        return await heard - began


@asynccontextmanager
async def _bare(ground: Ground) -> AsyncIterator[Arrivals]:
    """Arrivals of what a consumer passes on that commits once for each record."""
    await ground.kafka.create(_IN, _OUT)
    async with (
        ground.kafka.reading(await ground.kafka.ends(_IN)) as given,
        _arriving(ground, _OUT) as passed,
        bare_connection(ground.settings) as connection,
    ):
        work = asyncio.create_task(_pass_on(ground, given, connection))
        try:
            yield passed
        finally:
            await _cancelled(work)


async def _cancelled(work: asyncio.Task[None]) -> None:
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def _pass_on(ground: Ground, given: AIOKafkaConsumer, connection: asyncpg.Connection) -> None:
    end = await connection.prepare(_END)
    while True:
        fetched = await given.getmany(timeout_ms=1_000)
        for record in (record for records in fetched.values() for record in records):
            await end.fetch("idle-bare", record.key.decode(), datetime.now(UTC), uuid.uuid4())
            await ground.kafka.produce(_OUT, [(record.key, record.value)])


def _rows(took: dict[str, list[float]]) -> list[Row]:
    rows = []
    for share, times in _GOALS.items():
        ours, bare = percentile(took["closed"], share), percentile(took["bare"], share)
        against = f"two Kafka hops and one commit, bare; at most {times} times as long"
        rows.append(Row(f"idle, p{share * 100:g}", against, "/s", [1 / ours], [1 / bare], Goal(1 / times)))
    return rows


def _note(took: dict[str, list[float]]) -> Note:
    names = {"closed": "socket closed", "announced": "announcement read", "bare": "bare"}
    values = {
        f"{names[side]}, p{share * 100:g}, ms": percentile(seconds, share) * 1_000
        for side, seconds in took.items()
        for share in _GOALS
    }
    text = ", ".join(f"{what} {value:.1f}" for what, value in values.items())
    return Note("idle, one event at a time", f"{text}; {len(took['closed'])} each", values)
