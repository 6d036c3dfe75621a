"""How every group of ours reads from Kafka: batches, as they lie there, offsets settled by whoever reads them."""

from itertools import chain
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber

from consumers.parser import leave_undecoded, parse
from revoker.settings import Settings

_WAIT_MS: Final = 200
"""How long a partition that goes on after a pause may wait for what it has fetched before; else nobody waits."""


class _Waiting(BatchSubscriber):
    """Hands a record on as soon as it is there. FastStream's own, finding nothing, sleeps as long as it has waited."""

    __slots__ = ()

    async def get_msg(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        fetched = await consumer.getmany(timeout_ms=_WAIT_MS, max_records=self.max_records)
        return tuple(chain.from_iterable(fetched.values()))


def subscriber(
    broker: KafkaBroker, settings: Settings, group: str, topics: list[str], listener: ConsumerRebalanceListener
) -> BatchSubscriber:
    """FastStream's subscriber of `group` (named without our prefix). Call it with the handler of a batch."""
    reading = broker.subscriber(
        *topics,
        group_id=f"{settings.topic_prefix}{group}",
        batch=True,
        max_records=settings.limits.batch,
        auto_offset_reset="earliest",
        no_reply=True,
        parser=parse,
        decoder=leave_undecoded,
        listener=listener,
        max_partition_fetch_bytes=2_000_000,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=1_500,
        rebalance_timeout_ms=20_000,
        max_poll_interval_ms=120_000,
        partition_assignment_strategy=(StickyPartitionAssignor,),
    )
    # The broker makes its subscribers by itself; there is no public way to give it one.
    reading.__class__ = _Waiting
    return reading
