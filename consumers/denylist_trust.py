"""Once a second: may readers believe what is in Redis?

They may while an epoch is there, and it holds as of the time beside it. Both are written in one step that checks that
Redis holds all that the topic held a moment before; nothing else says so. They are taken away when the server may
forget keys when its memory is full, and are gone by themselves when Redis was emptied. What makes the data doubtful,
and not just late, begins another build.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from consumers.denylist_beats import Beats
from consumers.denylist_places import Places
from revoker.errors import UnavailableError
from revoker.logs import get_logger
from revoker.projection.store import UNKNOWN_FEED, Projection, Server, State
from revoker.settings import Settings
from revoker.tasks import was_cancelled
from revoker.telemetry import Metrics
from revoker.telemetry.names import Rebuild
from schemas.fields import wire_time
from schemas.topics import Topic

_EVERY_SECONDS: Final = 1.0
_TIDY_SECONDS: Final = 60.0
_KAFKA_SECONDS: Final = 5.0
_LOOKS: Final = 900
_Ends = tuple[datetime, Mapping[int, int]]
"""When the topic ended where."""
_NOT_YET: Final = "not looked at yet"
_REBUILT: Final[Mapping[Rebuild, str]] = {
    "empty": "it was empty, and is built anew",
    "evicted": "keys were or could be evicted, and it is built anew",
    "recreated": "the topic was created anew, and so it is",
}
_log = get_logger(__name__)


class Trust:
    """Looks after the epoch, for all members alike: each does the same, and once is enough."""

    def __init__(
        self, projection: Projection, places: Places, beats: Beats, settings: Settings, metrics: Metrics
    ) -> None:
        self._projection = projection
        self._places = places
        self._beats = beats
        self._topic = settings.topic(Topic.SESSION_ENDED)
        self._retention = settings.retention.session_ended
        self._metrics = metrics
        self._looks: list[_Ends] = []
        self._looked_under = ""
        self._tidied = 0.0
        self._shown: set[int] = set()
        self.why_not: str | None = _NOT_YET
        """Why readers are not told to believe it; None: they are."""

    async def watch(self) -> None:
        """Looks again and again, until cancelled."""
        while not was_cancelled():
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                self._now(await self._look())
                await self._tidy()
            except (RedisError, KafkaError, OSError, TimeoutError, UnavailableError) as error:
                self._metrics.denylist.failed("kafka" if isinstance(error, KafkaError) else "redis")
                self._now(f"{type(error).__name__}: it cannot be looked at")
            except Exception as error:  # noqa: BLE001 - a defect of ours must not end the watch
                self._metrics.denylist.failed("unexpected")
                _log.error("batch-failed", lane="denylist", kind="unexpected", error=error)

    async def _look(self) -> str | None:
        """Why readers are not told to believe it, once all was done that can be done now."""
        applied, generation = dict(self._places.applied), self._places.generation
        state = await self._projection.state()
        server = await self._projection.server()
        if self._is_elsewhere(state, applied) and generation == self._places.generation:
            self._places.start_over()
        at = datetime.now(UTC)
        ends = await self._ends()
        self._show(ends)
        reason = self._doubt(state, server, ends)
        if reason is not None:
            await self._places.begin(state, reason, server.evicted)
            self._places.start_over()
            return _REBUILT[reason]
        if not ends:
            return "the topic is not there"
        at, reached = self._newest_reached(state, at, ends)
        said = await self._projection.vouch(state.build, self._places.next_feed(state), server, wire_time(at), reached)
        if said == "complete":
            self._metrics.denylist.complete_at(at.timestamp())
        if said == "complete" or (said == "behind" and state.epoch is not None):
            return None
        return server.why_unsafe or "not all of the topic is in it yet"

    def _newest_reached(self, state: State, at: datetime, ends: Mapping[int, int]) -> _Ends:
        """Where the topic ended when it last ended where Redis is now: under load it always ends further by now."""
        if state.build != self._looked_under:
            # What another build had reached is no measure for this one, which has all of it before it.
            self._looks, self._looked_under = [], state.build
        self._looks.append((at, ends))
        for number in reversed(range(len(self._looks))):
            then = self._looks[number]
            if all(state.positions.get(partition, -1) >= end for partition, end in then[1].items()):
                del self._looks[:number]
                return then
        del self._looks[:-_LOOKS]
        return at, ends

    def _is_elsewhere(self, state: State, applied: Mapping[int, int]) -> bool:
        """Whether Redis is not where this member left it. Without partitions there is nothing that it left."""
        lost = any(state.positions.get(number, -1) < at for number, at in applied.items())
        return bool(applied) and (lost or state.build != self._places.build)

    def _doubt(self, state: State, server: Server, ends: Mapping[int, int]) -> Rebuild | None:
        """Why what is in Redis could have holes, and must be built anew."""
        if not state.build:
            return "empty"
        # The state was read before the ends were asked for, and a log only grows.
        if any(at > ends.get(number, at) for number, at in state.positions.items()):
            self._metrics.position_alarm("beyond_end")
            return "recreated"
        if state.feed != UNKNOWN_FEED and self._places.next_feed(state) is not None:
            return "recreated"
        if server.why_unsafe is None and (state.suspect or server.evicted > state.evicted):
            return "evicted"
        return None

    async def _ends(self) -> dict[int, int]:
        """Where each partition of the topic ends, whoever reads it."""
        consumer = self._places.consumer
        numbers = consumer.partitions_for_topic(self._topic) or set()
        async with asyncio.timeout(_KAFKA_SECONDS):
            found = await consumer.end_offsets([TopicPartition(self._topic, number) for number in numbers])
        return {partition.partition: end for partition, end in found.items()}

    def _show(self, ends: dict[int, int]) -> None:
        applied = {number: at for number, at in self._places.applied.items() if number in ends}
        for number, at in applied.items():
            self._metrics.lag(self._topic, number, max(0, ends[number] - at))
        for number in self._shown - applied.keys():
            self._metrics.unassigned(self._topic, number)
        self._shown = set(applied)

    def _now(self, why_not: str | None) -> None:
        if why_not != self.why_not:
            if why_not is None:
                _log.info("projection-trusted")
            else:
                _log.warning("projection-untrusted", reason=why_not)
        self.why_not = why_not
        self._metrics.denylist.trusted(is_so=why_not is None)

    async def _tidy(self) -> None:
        if time.monotonic() - self._tidied > _TIDY_SECONDS:
            self._tidied = time.monotonic()
            now = datetime.now(UTC) - timedelta(minutes=1)
            await self._projection.tidy(wire_time(now), wire_time(now - self._retention))
