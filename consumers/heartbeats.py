"""Once a second: how far this consumer has come, on a topic of one partition, for gateways and for readiness."""

import asyncio
import os
import socket
from datetime import UTC, datetime
from typing import Any, Final

from consumers.feed import Feed
from consumers.lane import Lane
from consumers.publisher import Outgoing, Publisher
from consumers.settle import Place
from revoker.errors import PublishError
from revoker.logs import get_logger
from revoker.settings import Settings
from revoker.telemetry import Metrics
from schemas.codec import encode
from schemas.session_ended import Heartbeat
from schemas.topics import Topic

_EVERY_SECONDS: Final = 1.0
_log = get_logger(__name__)


class Heartbeats:
    """Beats for one lane, and keeps its lag where it can be seen."""

    def __init__(self, lane: Lane[Any], feed: Feed, publisher: Publisher, settings: Settings, metrics: Metrics) -> None:
        self._lane = lane
        self._feed = feed
        self._publisher = publisher
        self._metrics = metrics
        self._topic = settings.topic(Topic.HEARTBEATS)
        self._consumer = f"{lane.name.value}-{socket.gethostname()}-{os.getpid()}"
        self._shown: set[Place] = set()

    async def beat(self, *, aloud: bool) -> None:
        """Measures once a second until cancelled; with `aloud` it publishes what it measures."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            lags = self._lane.offsets.lags()
            self._show(lags)
            if not aloud:
                continue
            now = datetime.now(UTC)
            try:
                await self._publisher.publish([Outgoing(self._topic, self._consumer.encode(), self._body(now, lags))])
                self._metrics.heartbeat(now.timestamp())
            except PublishError as error:
                _log.warning("heartbeat-failed", error=error)

    def _body(self, now: datetime, lags: dict[Place, int]) -> bytes:
        applied: dict[str, dict[str, int]] = {}
        for (topic, partition), offset in self._lane.assignment.applied.items():
            applied.setdefault(topic, {})[str(partition)] = offset
        beat = Heartbeat(
            consumer=self._consumer,
            at=now,
            epoch=str(self._feed.epoch),
            partitions=self._feed.partitions,
            applied=applied,
            lag=sum(lags.values()),
        )
        return encode(beat)

    def _show(self, lags: dict[Place, int]) -> None:
        for (topic, partition), lag in lags.items():
            self._metrics.lag(topic, partition, lag)
        for topic, partition in self._shown - lags.keys():
            self._metrics.unassigned(topic, partition)
        self._shown = set(lags)
