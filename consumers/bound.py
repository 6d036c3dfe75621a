"""What every group needs of its consumer: to reach it, and not to lose partitions in the middle of a batch."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

from revoker.errors import UnavailableError
from revoker.logs import get_logger

_DRAIN_SECONDS: Final = 15.0
_log = get_logger(__name__)


class Bound(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """A listener that knows whose partitions it hears of. `bind` gives it the consumer, once there is one."""

    def __init__(self) -> None:
        self._consumer: Callable[[], AIOKafkaConsumer | None] = lambda: None
        self.working = asyncio.Lock()
        """Held while a batch is in hand."""

    def bind(self, consumer: Callable[[], AIOKafkaConsumer | None]) -> None:
        """How to reach the consumer whose partitions these are, once it has been made."""
        self._consumer = consumer

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """Whose partitions these are. Raises `UnavailableError` before there is one, and after it was stopped."""
        consumer = self._consumer()
        if consumer is None:
            raise UnavailableError("there is no consumer now")
        return consumer

    async def drained(self) -> None:
        """Waits for the batch in hand, within bounds: the next owner of its partitions waits for this."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS), self.working:
                pass
        except TimeoutError:
            _log.warning("rebalance-did-not-wait", seconds=_DRAIN_SECONDS)
