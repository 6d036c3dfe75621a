"""Events onto Kafka, what comes back from it, and how long that took.

A time runs from just before an event is handed to the producer until its effect has been read back from Kafka, by one
clock in one process: the way of the event to the broker, its commit in PostgreSQL and the way back are all in it.
"""

import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from revoker.cli.demo.story import Change, SignIn
from revoker.core.policy import decide
from revoker.errors import UnavailableError
from revoker.service import reach, records
from revoker.settings import Settings
from schemas.cloudevent import SPECVERSION
from schemas.codec import ACTIVITY, IDENTITY
from schemas.identity_events import IdentityEvent
from schemas.session_activity import SessionActivity
from schemas.session_ended import Heartbeat, SessionEnded
from schemas.topics import Topic

_SOURCE: Final = "demo-login"
_SIGNED_IN_FOR: Final = timedelta(days=30)
_POLL_MS: Final = 200
_PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A record that Kafka has taken, and when it was handed over."""

    partition: int
    offset: int
    began: float


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record that has come back, and when."""

    record: ConsumerRecord
    at: float

    @property
    def notification(self) -> SessionEnded | None:
        """What `session-ended` says; None: this is something else."""
        try:
            return SessionEnded.model_validate_json(self.record.value or b"")
        except ValidationError:
            return None

    @property
    def headers(self) -> dict[str, str]:
        """Those that say why and from where a record was set aside, and whatever else there is."""
        return {name: (value or b"").decode(errors="replace") for name, value in self.record.headers}


class Stage:
    """Both ends of Kafka."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._producer = producer
        self._consumer = consumer
        self._arrived: deque[Arrived] = deque()

    async def send(self, topic: Topic, subject: str, value: bytes) -> Sent:
        """One record, acknowledged."""
        began = time.perf_counter()
        written = await self._producer.send_and_wait(self._settings.topic(topic), value, key=subject.encode())
        return Sent(written.partition, written.offset, began)

    async def arrival(self) -> Arrived | None:
        """What comes back next; None: nothing did for a moment."""
        if not self._arrived:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
            at = time.perf_counter()
            some = sorted((record for each in fetched.values() for record in each), key=lambda r: r.timestamp)
            self._arrived.extend(Arrived(record, at) for record in some)
        return self._arrived.popleft() if self._arrived else None

    async def arrival_of(self, what: str, wanted: Callable[[Arrived], bool]) -> Arrived:
        """The first that is `wanted`; others are passed over. Raises `UnavailableError` when it does not come."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            arrived = await self.arrival()
            if arrived is not None and wanted(arrived):
                return arrived
        raise UnavailableError(f"{what} did not come back within {_PATIENCE_SECONDS:g} s")

    async def listen(self, *names: Topic) -> None:
        """To all partitions of these topics and to no others, from here on."""
        places = []
        async with reach.admin(self._settings) as admin:
            for topic in map(self._settings.topic, names):
                places += [TopicPartition(topic, number) for number in await records.partitions_of(admin, topic)]
        self._consumer.assign(places)
        await self._consumer.seek_to_end(*places)
        for place in places:
            await self._consumer.position(place)
        self._arrived.clear()

    async def until_consumers_work(self) -> None:
        """Until a heartbeat tells that every partition of the identity events has been taken up."""
        topic, partitions = self._settings.topic(Topic.IDENTITY_EVENTS), self._settings.kafka.partitions

        def complete(arrived: Arrived) -> bool:
            beat = Heartbeat.model_validate_json(arrived.record.value)
            return len(beat.applied.get(topic, ())) >= partitions

        await self.listen(Topic.HEARTBEATS)
        await self.arrival_of("a heartbeat of the consumers", complete)


@asynccontextmanager
async def set_up(settings: Settings) -> AsyncIterator[Stage]:
    """A stage on running servers. Raises as `revoker.service.reach` does."""
    async with reach.producer(settings) as producer, reach.consumer(settings) as consumer:
        yield Stage(settings, producer, consumer)


def session_id(subject: str, device: str) -> str:
    """What the story calls a session."""
    return f"{subject}-{device}"


def established(sign_in: SignIn, subject: str, now: datetime) -> SessionActivity:
    """The event of a sign-in, which was `sign_in.age` before `now`."""
    data = {
        "session_id": session_id(subject, sign_in.device),
        "established_at": now - sign_in.age,
        "client_id": sign_in.client_id,
        "user_agent": sign_in.user_agent,
        "ip": sign_in.ip,
        "expires_at": now - sign_in.age + _SIGNED_IN_FOR,
    }
    return ACTIVITY.adapter.validate_python(_event("session-established", subject, now, data))


def changed(change: Change, subject: str) -> IdentityEvent:
    """The event of a change."""
    data: dict[str, Any] = dict(change.data)
    if change.session is not None:
        data["session_id"] = session_id(subject, change.session)
    if change.keep:
        data["keep"] = [session_id(subject, device) for device in change.keep]
    return IDENTITY.adapter.validate_python(_event(change.type, subject, datetime.now(UTC), data))


def revocation_id(event: IdentityEvent, settings: Settings) -> uuid.UUID:
    """What the consumers will call the revocation that `event` asks for: ids are derived."""
    return decide(event, settings.rules, datetime.now(UTC)).revocation.id


def _event(type_: str, subject: str, now: datetime, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": SPECVERSION,
        "type": type_,
        "id": str(uuid.uuid4()),
        "source": _SOURCE,
        "subject": subject,
        "time": now,
        "data": data,
    }
