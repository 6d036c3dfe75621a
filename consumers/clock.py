"""Kafka's own time of a record."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from aiokafka import ConsumerRecord

_LOG_APPEND_TIME: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def appended_at(record: ConsumerRecord) -> datetime:
    """The last moment at which Kafka can have taken `record`: the end of its millisecond.

    Where the topic lets the publisher choose the time, that is now: a publisher's word cannot bound itself.
    """
    if record.timestamp_type != _LOG_APPEND_TIME:
        return datetime.now(UTC)
    return _end_of(record.timestamp)


@lru_cache(maxsize=64)
def _end_of(millisecond: int) -> datetime:
    """The same for the many records of one batch."""
    return _EPOCH + timedelta(milliseconds=millisecond, microseconds=999)
