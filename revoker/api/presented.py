"""Sessions that are in use, as `session-presented` events: at most one a minute for each, and never more than fits.

Nobody waits for it and nobody is refused because of it: what cannot be published is counted and forgotten.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from revoker.api.metrics import ApiMetrics
from revoker.api.sending import Sender
from revoker.core.claims import SessionClaims
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.settings import Settings
from schemas import codec
from schemas.inputs import Format, Input, Lane
from schemas.session_activity import SessionPresented, SessionPresentedData
from schemas.topics import Topic

_EVERY_SECONDS: Final = 60.0
_MOST: Final = 100_000
"""Sessions that are remembered in one minute. Beyond, they are not told of before the next."""
_FLUSH_SECONDS: Final = 1.0
_SOURCE: Final = "revoker-check"
_log = get_logger(__name__)

_Key = tuple[str, str, str, str | None]


class Presented:
    """Call `saw` with every request, and run `publish` beside it."""

    def __init__(
        self,
        settings: Settings,
        source: Input,
        sender: Sender,
        metrics: ApiMetrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = settings.topic(source.topic)
        self._source = source
        self._sender = sender
        self._metrics = metrics
        self._monotonic = monotonic
        self._told: dict[_Key, float] = {}
        self._waiting: dict[_Key, tuple[datetime, str | None]] = {}

    def saw(self, claims: SessionClaims, whence: Callable[[], str | None] = lambda: None) -> None:
        """Somebody passed, from the address that `whence` knows. A microsecond, mostly: then nobody asks whence."""
        if claims.subject is None or claims.session_id is None:
            return
        key = claims.tenant, claims.subject, claims.session_id, claims.client_id
        now = self._monotonic()
        if now - self._told.get(key, -_EVERY_SECONDS) < _EVERY_SECONDS:
            return
        if len(self._told) >= _MOST:
            self._forget(now)
        if len(self._told) >= _MOST:
            self._metrics.presented_lost.inc()
            return
        # Gone and there again, so that the dictionary is in the order of time.
        self._told.pop(key, None)
        self._told[key] = now
        self._waiting[key] = datetime.now(UTC), whence()

    async def publish(self) -> None:
        """Once a second what is waiting, until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """What is waiting, now."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            await self._sender.send(self._topic, [self._record(key, *seen) for key, seen in waiting.items()])
        except PublishError as error:
            self._metrics.presented_lost.inc(len(waiting))
            _log.warning("publish-failed", error=error)

    def _forget(self, now: float) -> None:
        while self._told:
            oldest = next(iter(self._told))
            if now - self._told[oldest] < _EVERY_SECONDS:
                break
            del self._told[oldest]

    def _record(self, key: _Key, at: datetime, ip: str | None) -> tuple[bytes, bytes]:
        tenant, subject, session_id, client_id = key
        event = SessionPresented(
            specversion="1.0",
            id=str(uuid.uuid4()),
            source=self._source.source or _SOURCE,
            type="session-presented",
            subject=subject,
            tenant=tenant,
            time=at,
            data=SessionPresentedData(session_id=session_id, client_id=client_id or None, ip=ip),
        )
        return subject.encode(), codec.encode(event)


def input_to_write(settings: Settings) -> Input | None:
    """The input that they go to, if the settings want it, or leave it open and it is bound to nobody else."""
    wanted = settings.check.presented
    source = next(
        (one for one in settings.inputs if one.topic == Topic.SESSION_ACTIVITY and one.lane is Lane.REGISTRATION), None
    )
    if source is None or source.format is not Format.CLOUDEVENTS or wanted is False:
        return None
    return source if wanted or (source.source is None and source.tenant is None) else None
