"""What is told of an origin: a receipt like a gateway's, so that "enforced" waits for it.

Its position is what the whole group has committed in Kafka: every notification below was taken by the origin, or set
aside with its reason. So all members speak as one instance, which outlives each of them, and the one with partition 0
speaks for all; another one only when it has something to add, the sessions that were ended there.

There is no farewell. A gateway that stops serves nobody any more; sessions live on at an origin that nobody tells. One
that was taken out of the settings is retired by name: `revoker gateways retire`.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from aiokafka.errors import KafkaError

from consumers.origins_places import Places
from consumers.publisher import Outgoing, Publisher
from revoker.core.ids import derive
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.settings import Settings
from revoker.tasks import was_cancelled
from schemas.codec import encode
from schemas.gateway_receipts import Applied, GatewayMode, GatewayReceipt, GatewayReceiptData, GatewayState
from schemas.topics import Topic

_KIND: Final = "origin"
_ATTRIBUTES: Final = ("tenant", "subject", "session_id", "token_id")
"""It ends sessions, of which it is told the ids. A token that is ended alone is refused by gateways, not by it."""
_MAX_STALENESS: Final = 10.0
_LEAST_SECONDS: Final = 0.26
_MOST_SECONDS: Final = 4.0
_AT_ONCE: Final = 300
_log = get_logger(__name__)


class Receipts:
    """Speaks for one origin, at most four times a second, at least every 5 s."""

    def __init__(self, name: str, group: str, places: Places, publisher: Publisher, settings: Settings) -> None:
        self._name = name
        self._group = group
        self._incarnation = str(derive([_KIND, group]))
        self._places = places
        self._publisher = publisher
        self._topic = settings.topic(Topic.GATEWAY_RECEIPTS)
        self._ended: Counter[str] = Counter()
        self._awake = asyncio.Event()
        self._said: tuple[str, str] | None = None
        self._said_at = 0.0

    def ended(self, revocation_id: str, sessions: int) -> None:
        """So many sessions were live there until that revocation."""
        if sessions:
            self._ended[revocation_id] += sessions

    def wake(self) -> None:
        """Something was committed."""
        self._awake.set()

    async def send(self) -> None:
        """Sends until cancelled."""
        sent = 0.0
        while not was_cancelled():
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._awake.wait()
            self._awake.clear()
            await asyncio.sleep(max(0.0, sent + _LEAST_SECONDS - time.monotonic()) + random.random() / 50)
            sent = time.monotonic()
            try:
                await self._send_once()
            except (PublishError, KafkaError, OSError, TimeoutError) as error:
                _log.warning("publish-failed", topic=self._topic, error=error)
            except Exception as error:  # noqa: BLE001 - a defect of ours must not end what runs beside this
                _log.error("publish-failed", topic=self._topic, error=error)

    async def _send_once(self) -> None:
        epoch = self._places.epoch
        if epoch is None or (0 not in self._places.applied and not self._ended):
            return
        # Taken before it is asked how far we are: of two members the one that asked later is believed.
        at = datetime.now(UTC)
        position = _position(epoch, await self._places.committed())
        news = dict(self._ended.most_common(_AT_ONCE))
        if (epoch, position) == self._said and not news and time.monotonic() - self._said_at < _MOST_SECONDS:
            return
        body = self._body(at, epoch, position, news)
        await self._publisher.publish([Outgoing(self._topic, self._group.encode(), body)])
        self._said, self._said_at = (epoch, position), time.monotonic()
        self._ended -= Counter(news)

    def _body(self, at: datetime, epoch: str, position: str, ended: Mapping[str, int]) -> bytes:
        data = GatewayReceiptData(
            gateway=self._name,
            kind=_KIND,
            instance=self._group,
            incarnation=self._incarnation,
            epoch=epoch,
            state=GatewayState.SERVING,
            mode=GatewayMode.BEST_EFFORT,
            max_staleness=_MAX_STALENESS,
            attributes=_ATTRIBUTES,
            at=at,
            position=position,
            applied=tuple(
                Applied(revocation_id=id_, applied_at=at, cached_sessions_dropped=count) for id_, count in ended.items()
            ),
        )
        envelope = GatewayReceipt(
            specversion="1.0", type="gateway-receipt", id=str(uuid.uuid4()), source=self._name, time=at, data=data
        )
        return encode(envelope)


def _position(epoch: str, committed: Mapping[int, int]) -> str:
    last = max(committed, default=-1)
    return ".".join((epoch, *(str(committed.get(number, 0)) for number in range(last + 1))))
