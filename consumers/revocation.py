"""The revocation consumers: identity events in, sessions and tokens ended."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec
from aiokafka import ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.clock import appended_at
from revoker.core.policy import Decision, decide
from revoker.logs import get_logger
from revoker.service.revoke import Work, outcomes, revoke
from revoker.settings import Settings
from revoker.storage.positions import Positions
from revoker.storage.revocations import Outcome, conflicting
from revoker.telemetry import Metrics
from schemas.codec import IDENTITY, Ignored, decode
from schemas.inputs import Lane, Mode

_log = get_logger(__name__)


class Claim(msgspec.Struct, frozen=True):
    """A decision, and what its record tells of the publisher's clock."""

    decision: Decision
    topic: str
    clock_seconds: float | None
    """Kafka's time minus the publisher's; None where the event has none."""


class Revoking:
    """`consumers.lane.Trade` of identity events."""

    lane = Lane.REVOCATION

    def __init__(self, engine: AsyncEngine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._policy = settings.rules
        self._unchecked: list[UUID] = []
        self._inputs = settings.inputs_of(self.lane)

    def read(self, record: ConsumerRecord) -> Claim | Ignored:
        """The decision that `record` asks for. Raises `Rejected`."""
        source = self._inputs[record.topic]
        event = decode(IDENTITY, source, record.value, record.headers)
        if isinstance(event, Ignored):
            return event
        appended = appended_at(record)
        decision = decide(event, self._policy, appended, report_only=source.mode is Mode.REPORT_ONLY)
        return Claim(decision, record.topic, (appended - event.time).total_seconds() if event.time else None)

    async def store(self, payloads: Sequence[Claim], positions: Callable[[], Positions]) -> Work:
        """Ends what the claims cover, in one transaction."""
        outcome, work = await revoke(self._engine, [claim.decision for claim in payloads], positions)
        self._count(payloads, outcome)
        if outcome.recorded:
            self._unchecked.append(outcome.recorded)
        return work

    async def look_back(self) -> None:
        """The same event id with another content: both apply, and somebody should know."""
        unchecked, self._unchecked = self._unchecked, []
        found = await conflicting(self._engine, unchecked) if unchecked else ()
        if found:
            self._metrics.id_conflicts(len(found))
            _log.error("id-conflict", events=len(found), revocations=[str(id_) for id_ in sorted(found)[:10]])

    def _count(self, claims: Sequence[Claim], outcome: Outcome) -> None:
        now = datetime.now(UTC)
        for name, count in outcomes(outcome).items():
            self._metrics.events(Lane.REVOCATION, name, count)
        self._metrics.committed_after([(now - a.revocation.requested_at).total_seconds() for a in outcome.applied])
        for topic in {claim.topic for claim in claims}:
            mine = [claim for claim in claims if claim.topic == topic]
            self._metrics.publisher_clock(topic, [c.clock_seconds for c in mine if c.clock_seconds is not None])
            clamped = sum(claim.decision.clamped for claim in mine)
            if clamped:
                self._metrics.clamped(topic, clamped)
                _log.warning("event-clamped", topic=topic, events=clamped)
        ended: Counter[tuple[str, Literal["session", "token"]]] = Counter()
        for a in outcome.applied:
            ended[a.revocation.cause, "session"] += len(a.sessions)
            ended[a.revocation.cause, "token"] += a.tokens_ended
        for (cause, what), count in ended.items():
            self._metrics.ended(cause, what, "ended", count)
