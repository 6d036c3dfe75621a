"""What the command line needs around it: commands as processes, and a stand-in for the consumers, record by record."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from revoker.cli import app
from revoker.core import registration
from revoker.core.notices import Notice
from revoker.core.policy import decide
from revoker.kafka import client_options, producer_options
from revoker.service.register import device_name
from revoker.settings import Settings
from revoker.storage import batches, database, revocations, sessions
from schemas import codec
from schemas.codec import Ignored, Rejected
from schemas.fields import wire_time
from schemas.inputs import Input, Lane, Mode

ROOT = Path(__file__).parents[2]
NOWHERE = "127.0.0.1:1"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The environment that makes `revoker` use `settings`."""
    return {
        "REVOKER_CONFIG": os.devnull,
        "REVOKER_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "REVOKER_DATABASE_URL": settings.database_url.get_secret_value(),
        "REVOKER_REDIS_URL": settings.redis_url.get_secret_value(),
        "REVOKER_TOPIC_PREFIX": settings.topic_prefix,
        "REVOKER_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "REVOKER_KAFKA__REPLICATION": str(settings.kafka.replication),
        "TZ": "UTC",
        **more,
    }


def command(*words: str) -> list[str]:
    """`revoker …` as a process of its own."""
    return [sys.executable, "-c", "from revoker.cli import main; main()", *words]


def ran(env: Mapping[str, str], *words: str) -> Ran:
    """What `revoker …` does, in this process: a tenth of the time, and unclosed clients are found."""
    done = CliRunner().invoke(app, words, env={**dict.fromkeys(_given(), None), **env})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def _given() -> list[str]:
    return [name for name in os.environ if name.startswith("REVOKER_")]


async def run(env: Mapping[str, str], *words: str) -> Ran:
    """The same, while the stand-in works on."""
    return await asyncio.to_thread(ran, env, *words)


def event(type_: str, subject: str | None = "alice", **more: Any) -> bytes:
    """An event as a publisher writes it."""
    envelope = {"specversion": "1.0", "source": "test", "id": str(uuid.uuid4()), "type": type_, "subject": subject}
    return json.dumps({name: value for name, value in (envelope | more).items() if value is not None}).encode()


def established(session_id: str, subject: str = "alice", **data: Any) -> bytes:
    return event("session-established", subject, data={"session_id": session_id, **data})


class Worker:
    """Applies what is on the inputs, one record at a time, as the consumers do in batches."""

    def __init__(self, settings: Settings, engine: AsyncEngine, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self.engine = engine
        self.producer = producer
        self.announcing = asyncio.Event()
        self.announcing.set()
        self._applied: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()

    async def send(self, topic: str, value: bytes | None, key: bytes | None = b"alice", **more: Any) -> None:
        """Publishes a record and waits until it is applied."""
        written = await self.producer.send_and_wait(self.settings.topic(topic), value, key=key, **more)
        async with self._moved, asyncio.timeout(20):
            await self._moved.wait_for(lambda: self._applied.get(written.topic_partition, -1) >= written.offset)

    async def register(self, *established_: bytes) -> None:
        for one in established_:
            await self.send("session-activity", one)

    async def work(self, consumer: AIOKafkaConsumer) -> None:
        inputs = {self.settings.topic(source.topic): source for source in self.settings.inputs}
        async for record in consumer:
            await self._apply(record, inputs[record.topic])
            async with self._moved:
                self._applied[TopicPartition(record.topic, record.partition)] = record.offset
                self._moved.notify_all()

    async def _apply(self, record: ConsumerRecord, source: Input) -> None:
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC) + timedelta(milliseconds=1)
        position = {(record.topic, record.partition): record.offset + 1}
        vocabulary: Any = codec.IDENTITY if source.lane is Lane.REVOCATION else codec.ACTIVITY
        try:
            read = codec.decode(vocabulary, source, record.value, record.headers)
        except Rejected as error:
            await self._set_aside(record, error)
            return
        if isinstance(read, Ignored):
            return
        if source.lane is Lane.REVOCATION:
            decided = decide(read, self.settings.rules, at, report_only=source.mode is Mode.REPORT_ONLY)
            batch_id = (await revocations.apply(self.engine, [decided], lambda: position)).batch_id
        else:
            chunk = registration.merge([registration.seen(read, at, device_name)])
            batch_id = (await sessions.register(self.engine, chunk, timedelta(minutes=1), lambda: position)).batch_id
        await self.announcing.wait()
        if batch_id is not None:
            written = await self._announce(await batches.derive(self.engine, [batch_id]))
            await batches.mark_announced(self.engine, [(batch_id, written)], (source.lane, position))

    async def _announce(self, notices: Sequence[Notice]) -> Mapping[int, int]:
        topic = self.settings.topic("session-ended")
        sent = [await self.producer.send_and_wait(topic, notice.body, key=notice.key) for notice in notices]
        return {one.partition: one.offset for one in sent}

    async def _set_aside(self, record: ConsumerRecord, error: Rejected) -> None:
        origin = (
            ("revoker-reason", str(error).encode()),
            ("revoker-topic", record.topic.encode()),
            ("revoker-partition", str(record.partition).encode()),
            ("revoker-offset", str(record.offset).encode()),
        )
        topic = self.settings.topic("rejected-events")
        await self.producer.send_and_wait(topic, record.value, key=record.key, headers=[*record.headers, *origin])


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Worker]:
    """The stand-in at work. The topics are there already."""
    engine = database.writer(settings)
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=None, auto_offset_reset="earliest")
    async with AIOKafkaProducer(**producer_options(settings)) as producer, consumer:
        topics = [settings.topic(source.topic) for source in settings.inputs]
        consumer.assign([TopicPartition(topic, n) for topic in topics for n in range(settings.kafka.partitions)])
        worker = Worker(settings, engine, producer)
        task = asyncio.create_task(worker.work(consumer))
        try:
            yield worker
        finally:
            task.cancel()
            await engine.dispose()
            with suppress(asyncio.CancelledError):
                await task


def wire(instant: datetime) -> str:
    return wire_time(instant.astimezone(UTC))
