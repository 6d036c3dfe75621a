"""One notification, told to one origin: taken, set aside, or not yet."""

import asyncio
import random
import time
from collections.abc import Container
from typing import Final

import tenacity
from aiokafka import ConsumerRecord

from consumers.origins_patience import Trouble, gives_up, once_more
from consumers.origins_receipts import Receipts
from consumers.publisher import Outgoing, Publisher
from revoker.core.wire import NoticeError, SessionEndedNotice, decode_notice
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.origins.concern import concerns
from revoker.origins.telling import Because, NotTakenError, Origin, Taken, Told
from revoker.settings import OriginSettings, Settings
from revoker.telemetry import Metrics
from schemas.codec import Reason
from schemas.topics import Topic

_ONE_SECONDS: Final = 30.0
"""For one notification at a time. What it did until then need not be done again."""
_AT_ONCE: Final = 3
_SHORT_SECONDS: Final = 2.0
_PROBE_SECONDS: Final = 5.0
"""How often an origin that is away is tried, at least."""
_log = get_logger(__name__)

Place = tuple[int, int]
"""Partition and offset."""


class Telling:
    """Tells one origin. Knows what it did not take, until it did, or until somebody else has to tell it."""

    def __init__(
        self,
        settings: Settings,
        of: OriginSettings,
        origin: Origin,
        *,
        receipts: Receipts,
        publisher: Publisher,
        metrics: Metrics,
    ) -> None:
        self._of = of
        self._origin = origin
        self._receipts = receipts
        self._publisher = publisher
        self._metrics = metrics
        self._rejected = settings.topic(Topic.REJECTED_EVENTS)
        self._patience = of.give_up_after.total_seconds()
        self._troubles: dict[Place, Trouble] = {}
        self._told: dict[Place, Told] = {}
        self._again: dict[Place, float] = {}
        self._taken_at = 0.0
        self._failing_since: float | None = None
        self._streak = 0
        self._probe_at = 0.0
        self._why = ""

    @property
    def is_away(self) -> bool:
        """Whether it takes nothing, as far as several tries tell."""
        return self._streak >= _AT_ONCE

    @property
    def why_away(self) -> str | None:
        """For how long it has taken nothing, and how it says so."""
        return f"takes nothing for {self.away_seconds:.0f} s: {self._why}" if self.is_away else None

    @property
    def away_seconds(self) -> float:
        """For how long it has taken nothing; 0: it does."""
        return time.monotonic() - self._failing_since if self.is_away and self._failing_since is not None else 0.0

    def waits(self, record: ConsumerRecord) -> float:
        """How many seconds `record` should wait before it is told, or told again."""
        return max(self.held_back(record), self._again.get(_place(record), 0.0) - time.monotonic())

    def held_back(self, record: ConsumerRecord) -> float:
        """The same, as far as it is because of trouble with it; of an origin that is away, with each of them."""
        trouble = self._troubles.get(_place(record))
        return max(trouble.next_at if trouble else 0.0, self._probe_at if self.is_away else 0.0) - time.monotonic()

    def forget_all_but(self, partitions: Container[int]) -> None:
        """Of other partitions: somebody else has to tell it now."""
        self._troubles = {place: trouble for place, trouble in self._troubles.items() if place[0] in partitions}
        self._told = {place: told for place, told in self._told.items() if place[0] in partitions}
        self._again = {place: at for place, at in self._again.items() if place[0] in partitions}

    async def tell(self, record: ConsumerRecord) -> bool:
        """Whether nothing more is to be done about `record`."""
        place = _place(record)
        told = self._told.get(place)
        if told is None or told.value != record.value:
            told = self._read(record)
        if told is None:
            return True
        self._told[place] = told
        try:
            taken = await self._try(told)
        except NotTakenError as error:
            return await self._not_taken(record, told, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours: it is tried again, loudly, and set aside one day
            self._metrics.origins.failed(self._of.name, "unexpected")
            _log.error("batch-failed", lane="origins", origin=self._of.name, kind="unexpected", error=error)
            return await self._not_taken(record, told, NotTakenError(type(error).__name__))
        self._has_taken(told, taken)
        if taken.again_after is not None:
            self._again[place] = time.monotonic() + taken.again_after
            self._troubles.pop(place, None)
            return False
        self._metrics.origins.notification(self._of.name, "taken" if taken.asked else "nothing")
        self._done(place)
        return True

    def _read(self, record: ConsumerRecord) -> Told | None:
        """What there is to be told; None: nothing."""
        try:
            notice = decode_notice(record.value or b"")
        except NoticeError:
            self._metrics.origins.notification(self._of.name, "rejected")
            _log.error("record-rejected", topic=record.topic, partition=record.partition, offset=record.offset)
            return None
        if notice is None or not concerns(notice, self._of.tenant, time.time_ns() // 1_000):
            self._metrics.origins.notification(self._of.name, "nothing")
            return None
        return Told(notice, record.value)

    async def _try(self, told: Told) -> Taken:
        """A short trouble is waited for here; whatever is longer must not keep the others waiting."""
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(1 if self.is_away else _AT_ONCE),
            wait=_pause,
            retry=tenacity.retry_if_exception(_is_short),
            reraise=True,
        )
        try:
            async with asyncio.timeout(_ONE_SECONDS):
                return await retrying(self._origin.tell, told)
        except TimeoutError:
            raise NotTakenError(f"not done within {_ONE_SECONDS:g} s") from None

    def _has_taken(self, told: Told, taken: Taken) -> None:
        if not taken.asked:
            return
        self._taken_at = time.monotonic()
        if self.is_away:
            _log.info("origin-back", origin=self._of.name, seconds=round(self.away_seconds, 1))
        self._streak, self._failing_since = 0, None
        self._metrics.origins.ended(self._of.name, taken.ended)
        if isinstance(told.notice, SessionEndedNotice):
            self._receipts.ended(told.notice.revocation_id, taken.ended)

    async def _not_taken(self, record: ConsumerRecord, told: Told, error: NotTakenError) -> bool:
        now = time.monotonic()
        place = _place(record)
        trouble = self._troubles[place] = once_more(self._troubles.get(place), error, now, random.random())
        self._metrics.origins.failed(self._of.name, error.because.value)
        if error.because is not Because.GONE:
            self._fail(now, error)
        if not gives_up(trouble, error, now, self._taken_at, self._patience):
            return False
        return await self._set_aside(record, told, error)

    def _fail(self, now: float, error: NotTakenError) -> None:
        self._streak += 1
        self._why = error.why
        self._failing_since = self._failing_since or now
        pause = min(_PROBE_SECONDS, 0.25 * 2 ** min(self._streak - 1, 10)) * (0.5 + random.random() / 2)
        self._probe_at = now + max(pause, error.after or 0.0)
        if self._streak == _AT_ONCE:
            _log.error("origin-away", origin=self._of.name, why=error.why)

    async def _set_aside(self, record: ConsumerRecord, told: Told, error: NotTakenError) -> bool:
        headers = (
            ("revoker-reason", f"{Reason.ORIGIN_GAVE_UP}: {self._of.name}: {error.why}".encode()),
            ("revoker-topic", record.topic.encode()),
            ("revoker-partition", str(record.partition).encode()),
            ("revoker-offset", str(record.offset).encode()),
        )
        kept = [header for header in record.headers if not header[0].startswith("revoker-")]
        try:
            await self._publisher.publish([Outgoing(self._rejected, record.key, record.value, (*kept, *headers))])
        except PublishError as failure:
            self._metrics.origins.failed(self._of.name, "kafka")
            _log.warning("publish-failed", topic=self._rejected, error=failure)
            return False
        self._metrics.origins.notification(self._of.name, "gave_up")
        self._metrics.rejected(record.topic, Reason.ORIGIN_GAVE_UP)
        _log.error(
            "origin-gave-up",
            origin=self._of.name,
            why=error.why,
            notification=told.notice.id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        self._done(_place(record))
        return True

    def _done(self, place: Place) -> None:
        self._troubles.pop(place, None)
        self._told.pop(place, None)
        self._again.pop(place, None)


def _place(record: ConsumerRecord) -> Place:
    return record.partition, record.offset


def _is_short(error: BaseException) -> bool:
    return (
        isinstance(error, NotTakenError)
        and error.because is not Because.GONE
        and (error.after or 0.0) <= _SHORT_SECONDS
    )


def _pause(state: tenacity.RetryCallState) -> float:
    """Between two tries: a bit, or what the origin asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked: float = error.after or 0.0 if isinstance(error, NotTakenError) else 0.0
    least: float = 0.1 * 2**state.attempt_number
    return max(asked, least * (0.5 + random.random() / 2))
