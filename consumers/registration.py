"""The registration consumers: session activity in, sessions and tokens known; what is covered is born ended."""

from collections import Counter
from collections.abc import Callable, Sequence

from aiokafka import ConsumerRecord
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers.clock import appended_at
from revoker.core.registration import Seen, is_ahead, merge, seen, too_old
from revoker.logs import get_logger
from revoker.service.register import device_name, register
from revoker.service.revoke import Work
from revoker.settings import Settings
from revoker.storage.positions import Positions
from revoker.storage.visits import Served
from revoker.telemetry import Metrics
from schemas.codec import ACTIVITY, UNTOLD, Ignored, Reason, Rejected, decode
from schemas.inputs import Lane

_log = get_logger(__name__)


class Registering:
    """`consumers.lane.Trade` of session activity."""

    lane = Lane.REGISTRATION

    def __init__(self, engine: AsyncEngine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._lifetime = settings.sessions.lifetime
        self._presented_every = settings.sessions.presented_every
        self._drift = settings.gateways.drift
        self._clamped: Counter[str] = Counter()
        self._inputs = settings.inputs_of(self.lane)
        self._shared = self._inputs.keys() & settings.inputs_of(Lane.REVOCATION).keys()

    def read(self, record: ConsumerRecord) -> Seen | Ignored:
        """What `record` says of a session or token. Raises `Rejected`."""
        try:
            event = decode(ACTIVITY, self._inputs[record.topic], record.value, record.headers)
        except Rejected as error:
            if record.topic in self._shared and error.reason in UNTOLD:
                # The revocation consumers read it, too, and set it aside.
                return Ignored("")
            raise
        if isinstance(event, Ignored):
            return event
        appended = appended_at(record)
        if is_ahead(event, appended):
            self._clamped[record.topic] += 1
        row = seen(event, appended, device_name)
        if too_old(row, appended, self._lifetime):
            raise Rejected(Reason.TOO_OLD)
        return row

    async def store(self, payloads: Sequence[Seen], positions: Callable[[], Positions]) -> Work:
        """Takes the payloads in, in one transaction."""
        clamped, self._clamped = self._clamped, Counter()
        for topic, events in clamped.items():
            self._metrics.clamped(topic, events)
            _log.warning("event-clamped", topic=topic, events=events)
        chunk = merge(payloads)
        registered, work, born_ended = await register(self._engine, chunk, self._presented_every, positions)
        self._metrics.events(Lane.REGISTRATION, "applied", len(payloads))
        if registered.conflicts:
            self._metrics.attribute_conflicts(registered.conflicts)
        for (cause, what), count in born_ended.items():
            self._metrics.ended(cause, what, "late", count)
        self._accuse(registered.served)
        return work

    def _accuse(self, served: Sequence[Served]) -> None:
        """Says who was let in although every gateway had reported that it refuses. Their clocks may differ a little."""
        contradictions = [one for one in served if one.after > self._drift]
        self._metrics.dead_served(len(contradictions))
        for one in contradictions:
            _log.error(
                "dead-session-served",
                revocation_id=str(one.revocation_id),
                session_id=one.session_id,
                client_id=one.client_id,
                source=one.source,
                seconds=round(one.after.total_seconds(), 3),
            )

    async def look_back(self) -> None:
        """Nothing: conflicts are counted where they are met."""
