"""The receipts consumers: what gateways say in, and the proof that announcements are enforced.

Taking receipts in is a lane like the others; `Proving` turns beside it, soon after each batch and once a second anyway.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.clock import appended_at
from revoker.clients import started, stopped
from revoker.core.receipts import Oddity, Receipt
from revoker.errors import UnavailableError
from revoker.kafka import client_options
from revoker.logs import get_logger
from revoker.service.receipts import Prover, Turn
from revoker.service.revoke import Work
from revoker.settings import Settings
from revoker.storage.positions import Positions
from revoker.storage.receipts import store
from revoker.telemetry import Metrics
from schemas.codec import RECEIPTS, Ignored, decode
from schemas.inputs import Input, Lane
from schemas.topics import Topic

_TURN_SECONDS: Final = (0.2, 1.0)
"""The least and the most between two turns."""
_ANSWER_SECONDS: Final = 5.0
_TROUBLE_SECONDS: Final = 5.0
_log = get_logger(__name__)


class Receipting:
    """`consumers.lane.Trade` of receipts. `heard` is called when some were stored."""

    lane = Lane.RECEIPTS

    def __init__(self, engine: AsyncEngine, settings: Settings, metrics: Metrics, heard: Callable[[], None]) -> None:
        self._engine = engine
        self._metrics = metrics
        self._heard = heard
        self._source = Input(topic=Topic.GATEWAY_RECEIPTS.value)
        self._topic = settings.topic(Topic.GATEWAY_RECEIPTS)
        self._clamped = 0

    def read(self, record: ConsumerRecord) -> Receipt | Ignored:
        """What `record` says of a gateway. Raises `Rejected`."""
        event = decode(RECEIPTS, self._source, record.value, record.headers)
        if isinstance(event, Ignored):
            return event
        appended = appended_at(record)
        self._clamped += event.data.at > appended
        return Receipt(data=event.data, at=min(event.data.at, appended), appended_at=appended, offset=record.offset)

    async def store(self, payloads: Sequence[Receipt], positions: Callable[[], Positions]) -> Work:
        """Takes the payloads in, in one transaction. There is nothing to announce."""
        clamped, self._clamped = self._clamped, 0
        if clamped:
            self._metrics.clamped(self._topic, clamped)
        stored = await store(self._engine, payloads, positions)
        self._metrics.events(Lane.RECEIPTS, "applied", stored.applied)
        self._metrics.events(Lane.RECEIPTS, "duplicate", stored.older)
        self._metrics.effect("connection_cut", stored.connections)
        self._metrics.effect("cached_session_dropped", stored.cached)
        self._metrics.effect("refused", stored.refused)
        for oddity, count in stored.oddities.items():
            self._metrics.receipt_oddity(oddity, count)
            if count and oddity is not Oddity.UNKNOWN_REVOCATION:
                _log.warning("receipt-odd", kind=oddity.value, receipts=count)
        self._heard()
        return Work()

    async def look_back(self) -> None:
        """Nothing: whoever proves looks by himself."""


class KafkaEnds:
    """`revoker.service.receipts.Ends`, asked of Kafka each time."""

    def __init__(self, settings: Settings) -> None:
        self._options = client_options(settings)
        self._receipts = settings.topic(Topic.GATEWAY_RECEIPTS)
        self._feed = settings.topic(Topic.SESSION_ENDED)
        self._client: AIOKafkaConsumer | None = None

    async def receipts(self) -> Mapping[int, tuple[int, int]]:
        """For each partition of `gateway-receipts`: its first offset, and the next to be written."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            client, places = await self._places(self._receipts)
            first = await client.beginning_offsets(places)
            ends = await client.end_offsets(places)
        return {place.partition: (first[place], ends[place]) for place in places}

    async def feed(self) -> Mapping[int, int]:
        """For each partition of `session-ended`: the next offset to be written."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            client, places = await self._places(self._feed)
            ends = await client.end_offsets(places)
        return {place.partition: ends[place] for place in places}

    async def close(self) -> None:
        """Lets the client go. A later question makes another."""
        client, self._client = self._client, None
        if client is not None:
            await stopped(client)

    async def _places(self, topic: str) -> tuple[AIOKafkaConsumer, list[TopicPartition]]:
        """All partitions. Raises `UnavailableError` where none is known: to know of none proves nothing."""
        if self._client is None:
            client = AIOKafkaConsumer(**self._options, metadata_max_age_ms=10_000)
            try:
                await started(client)
            except BaseException:
                await stopped(client)
                raise
            self._client = client
        # By name, not by subscription; and each time anew: the first receipt of a gateway may be in a partition that
        # was added just now. aiokafka offers no public way.
        metadata = self._client._client  # noqa: SLF001 - as said
        await metadata.set_topics([self._receipts, self._feed])
        await metadata.force_metadata_update()
        numbers = self._client.partitions_for_topic(topic)
        if not numbers:
            raise UnavailableError(f"Kafka does not tell of {topic}")
        return self._client, [TopicPartition(topic, number) for number in sorted(numbers)]


class Proving:
    """Turn after turn, until cancelled."""

    def __init__(self, engine: AsyncEngine, settings: Settings, metrics: Metrics) -> None:
        self._ends = KafkaEnds(settings)
        self._prover = Prover(engine, self._ends, settings)
        self._metrics = metrics
        self._heard = asyncio.Event()

    def hear(self) -> None:
        """Something came in that may prove something."""
        self._heard.set()

    async def run(self) -> None:
        """Proves; whatever fails is tried again."""
        troubled_at = 0.0
        try:
            while True:
                await self._pause()
                try:
                    turn = await self._prover.turn()
                except Exception as error:  # noqa: BLE001 - whatever one turn met, the next one may not
                    await self._ends.close()
                    if time.monotonic() - troubled_at > _TROUBLE_SECONDS:
                        troubled_at = time.monotonic()
                        _log.warning("prove-failed", error=error)
                else:
                    self._tell(turn)
        finally:
            await self._ends.close()

    async def _pause(self) -> None:
        least, most = _TURN_SECONDS
        await asyncio.sleep(least)
        with suppress(TimeoutError):
            async with asyncio.timeout(most - least):
                await self._heard.wait()
        self._heard.clear()

    def _tell(self, turn: Turn | None) -> None:
        if turn is None:
            return
        self._metrics.enforced_after(turn.seconds)
        self._metrics.gateways(turn.conditions)
        self._metrics.unenforced(turn.unproven, turn.oldest_seconds)
        for who, by, why in turn.left:
            self._metrics.left(by)
            _log.warning("gateway-left", gateway=who.gateway, instance=who.instance, by=by.value, why=why)
