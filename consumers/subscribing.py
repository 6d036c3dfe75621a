"""How every group of ours reads from Kafka: batches, as they lie there, offsets settled by whoever reads them."""

from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber

from consumers.parser import leave_undecoded, parse
from revoker.settings import Settings


def subscriber(
    broker: KafkaBroker, settings: Settings, group: str, topics: list[str], listener: ConsumerRebalanceListener
) -> BatchSubscriber:
    """FastStream's subscriber of `group` (named without our prefix). Call it with the handler of a batch."""
    return broker.subscriber(
        *topics,
        group_id=f"{settings.topic_prefix}{group}",
        batch=True,
        max_records=settings.limits.batch,
        # FastStream waits this long for records and, finding none, sleeps as long again.
        batch_timeout_ms=5,
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
