"""The projection's receipts: the gateway `redis`, whatever the number of our processes.

A reader of plain keys sends none. What Redis holds is told for it: a position means that every record below is in
Redis, and every cached copy that it named was deleted. It does not mean that every reader has looked since.

One member speaks for all, so that what is said later is later. It says nothing when it stops: the keys stay, and are
read. An incarnation is a build: one that began anew has lost what the other had.
"""

import asyncio
import random
import time
import uuid
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from consumers.publisher import Outgoing, Publisher
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.projection.store import UNKNOWN_FEED, Projection, State
from revoker.settings import Settings
from revoker.tasks import was_cancelled
from schemas.codec import encode
from schemas.gateway_receipts import Applied, GatewayMode, GatewayReceipt, GatewayReceiptData, GatewayState
from schemas.topics import Topic

_GATEWAY: Final = "redis"
_KIND: Final = "projection"
_ATTRIBUTES: Final = ("tenant", "subject", "session_id", "client_id", "token_id")
"""What every reader sees, one that only looks ids up excepted; for all else count the ids that follow."""
_MAX_STALENESS: Final = 10.0
_LEAST_SECONDS: Final = 0.25
_MOST_SECONDS: Final = 4.0
"""Below 5 s by what a busy machine may need."""
_LOOK_SECONDS: Final = 0.5
"""How soon it is seen what another member has written."""
_log = get_logger(__name__)


class Receipts:
    """Sends what Redis proves, at most four times a second, at least every 5 s."""

    def __init__(self, projection: Projection, settings: Settings) -> None:
        self._projection = projection
        self._publisher = Publisher(settings)
        self._topic = settings.topic(Topic.GATEWAY_RECEIPTS)
        self._instance = _instance(settings.redis_url.get_secret_value())
        self._member = uuid.uuid4().hex
        self._awake = asyncio.Event()
        self._said: tuple[str, str, str | None] | None = None
        self._said_at = 0.0

    def wake(self) -> None:
        """Something was written."""
        self._awake.set()

    async def send(self) -> None:
        """Sends until cancelled."""
        sent = 0.0
        try:
            while not was_cancelled():
                await self._until_awake()
                await asyncio.sleep(max(0.0, sent + _LEAST_SECONDS - time.monotonic()) + random.random() / 50)
                sent = time.monotonic()
                try:
                    await self._send_once()
                except PublishError as error:
                    _log.warning("publish-failed", topic=self._topic, error=error)
                except (RedisError, OSError, TimeoutError):
                    # The watch beside this says what is wrong.
                    continue
                except Exception as error:  # noqa: BLE001 - a defect of ours must not end what runs beside this
                    _log.error("publish-failed", topic=self._topic, error=error)
        finally:
            await self._publisher.__aexit__()

    async def _until_awake(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._awake.wait()
        except TimeoutError:
            pass
        self._awake.clear()

    async def _send_once(self) -> None:
        if not await self._projection.may_speak(self._member):
            return
        state = await self._projection.state()
        if not state.build or state.feed == UNKNOWN_FEED:
            return
        counts = await self._projection.untold()
        said = state.build, state.position, state.epoch
        if said == self._said and not counts and time.monotonic() - self._said_at < _MOST_SECONDS:
            return
        applied = tuple(
            Applied(revocation_id=id_, applied_at=state.at, cached_sessions_dropped=count) for id_, count in counts
        )
        await self._publisher.publish([Outgoing(self._topic, self._instance.encode(), self._body(state, applied))])
        self._said, self._said_at = said, time.monotonic()
        await self._projection.told(counts)

    def _body(self, state: State, applied: tuple[Applied, ...]) -> bytes:
        serving = state.epoch is not None
        data = GatewayReceiptData(
            gateway=_GATEWAY,
            kind=_KIND,
            instance=self._instance,
            incarnation=state.build,
            epoch=state.feed,
            state=GatewayState.SERVING if serving else GatewayState.REPLAYING,
            mode=GatewayMode.BEST_EFFORT,
            max_staleness=_MAX_STALENESS,
            attributes=_ATTRIBUTES,
            at=state.at,
            position=state.position,
            applied=applied,
        )
        return encode(_envelope(data, state.at))


def _envelope(data: GatewayReceiptData, at: datetime) -> GatewayReceipt:
    return GatewayReceipt(
        specversion="1.0", type="gateway-receipt", id=str(uuid.uuid4()), source=_GATEWAY, time=at, data=data
    )


def _instance(url: str) -> str:
    """Which Redis, without the secret: host, port and database."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'local'}:{parts.port or 6379}{parts.path or '/0'}"
