"""What the service counts, one typed method a metric; `revoker.telemetry.names` says what each means.

Made for batches: call once a batch, with counts and lists of values. Not for use from several threads.
"""

from collections.abc import Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector

from revoker.telemetry.distribution import Distribution
from revoker.telemetry.names import (
    METRICS,
    EndedKind,
    FailureKind,
    MetricName,
    NoticeKind,
    Outcome,
    PositionAlarm,
    Step,
    What,
)
from schemas.codec import Reason
from schemas.inputs import Lane


class Metrics:
    """All metrics of one process, and those of the process itself (`process_…`), in a registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry: Final = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)

        self._events = self._counter("revoker_events_total")
        self._rejected = self._counter("revoker_rejected_total")
        self._ended = self._counter("revoker_ended_total")
        self._notifications = self._counter("revoker_notifications_total")
        self._clamped = self._counter("revoker_clamped_total")
        self._failures = self._counter("revoker_failures_total")
        self._id_conflicts = self._counter("revoker_id_conflicts_total")
        self._attribute_conflicts = self._counter("revoker_attribute_conflicts_total")
        self._position_alarms = self._counter("revoker_position_alarms_total")
        self._swept = self._counter("revoker_swept_batches_total")
        self._lag = self._gauge("revoker_lag_records")
        self._paused = self._gauge("revoker_paused_partitions")
        self._heartbeat = self._gauge("revoker_heartbeat_timestamp_seconds")
        self._committed_after = self._distribution("revoker_event_to_committed_seconds")
        self._published_after = self._distribution("revoker_committed_to_published_seconds")
        self._publisher_clock = self._distribution("revoker_publisher_clock_seconds")
        self._batch_seconds = self._distribution("revoker_batch_seconds")
        self._batch_records = self._distribution("revoker_batch_records")

        self._start_at_zero()

    def events(self, lane: Lane, outcome: Outcome, count: int = 1) -> None:
        """Records of a batch that ended up as `outcome`."""
        _add(self._events, count, lane, outcome)

    def rejected(self, topic: str, reason: Reason, count: int = 1) -> None:
        """Records of `topic` that were set aside."""
        _add(self._rejected, count, topic, reason)

    def ended(self, cause: str, what: What, kind: EndedKind, count: int = 1) -> None:
        """Rows that are over; `cause` is an event type of the policy, never what a publisher wrote."""
        _add(self._ended, count, cause, what, kind)

    def notified(self, kind: NoticeKind, count: int = 1) -> None:
        """Notifications that Kafka acknowledged."""
        _add(self._notifications, count, kind)

    def committed_after(self, seconds: Sequence[float]) -> None:
        """For each event of a batch: from its time to the commit."""
        self._committed_after.observe(seconds)

    def published_after(self, seconds: Sequence[float]) -> None:
        """For each batch: from the commit to the acknowledgement."""
        self._published_after.observe(seconds)

    def publisher_clock(self, topic: str, seconds: Sequence[float]) -> None:
        """For each event of a batch: append time minus event time."""
        self._publisher_clock.observe(seconds, topic)

    def clamped(self, topic: str, count: int = 1) -> None:
        """Events that were dated in the future."""
        _add(self._clamped, count, topic)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """How many records of an assigned partition wait."""
        self._lag.labels(topic, str(partition)).set(records)

    def unassigned(self, topic: str, partition: int) -> None:
        """The partition is another process's now: its last lag must not stand here for ever."""
        self._lag.remove(topic, str(partition))

    def paused(self, lane: Lane, partitions: int) -> None:
        """How many partitions a failure of ours holds back now."""
        self._paused.labels(lane).set(partitions)

    def failed(self, lane: Lane, kind: FailureKind) -> None:
        """Something of ours failed and is tried again."""
        _add(self._failures, 1, lane, kind)

    def id_conflicts(self, count: int = 1) -> None:
        """Known ids with another content."""
        _add(self._id_conflicts, count)

    def attribute_conflicts(self, count: int = 1) -> None:
        """Sessions that were reported differently before."""
        _add(self._attribute_conflicts, count)

    def position_alarm(self, kind: PositionAlarm) -> None:
        """A stored position does not fit the log."""
        _add(self._position_alarms, 1, kind)

    def batch(self, lane: Lane, records: int) -> None:
        """One batch and its size."""
        self._batch_records.observe((records,), lane)

    def step(self, lane: Lane, step: Step, seconds: float) -> None:
        """How long one step of a batch took."""
        self._batch_seconds.observe((seconds,), lane, step)

    def swept(self, batches: int = 1) -> None:
        """Batches that the sweeper announced."""
        _add(self._swept, batches)

    def heartbeat(self, at: float) -> None:
        """A heartbeat was acknowledged at this Unix time."""
        self._heartbeat.set(at)

    def _start_at_zero(self) -> None:
        """Closed sets show from the start, so that the first count is seen as an increase."""
        for lane in Lane:
            self._paused.labels(lane)
            self._batch_records.start(lane)
            for outcome in get_args(Outcome):
                self._events.labels(lane, outcome)
            for kind in get_args(FailureKind):
                self._failures.labels(lane, kind)
            for step in get_args(Step):
                self._batch_seconds.start(lane, step)
        for kind in get_args(PositionAlarm):
            self._position_alarms.labels(kind)
        self._committed_after.start()
        self._published_after.start()

    def _counter(self, name: MetricName) -> Counter:
        return Counter(name, METRICS[name].help, METRICS[name].labels, registry=self.registry)

    def _gauge(self, name: MetricName) -> Gauge:
        return Gauge(name, METRICS[name].help, METRICS[name].labels, registry=self.registry)

    def _distribution(self, name: MetricName) -> Distribution:
        distribution = Distribution(name, METRICS[name])
        self.registry.register(distribution)
        return distribution


def _add(counter: Counter, count: int, *labels: str) -> None:
    if count:
        (counter.labels(*labels) if labels else counter).inc(count)
