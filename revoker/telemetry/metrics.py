"""What the service counts, one typed method a metric; `revoker.telemetry.names` says what each means.

Made for batches: call once a batch, with counts and lists of values. Not for use from several threads.
"""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector

from revoker.core.enforcement import Condition
from revoker.core.receipts import Left, Oddity
from revoker.telemetry.denylist import DenylistMetrics
from revoker.telemetry.distribution import Distribution
from revoker.telemetry.names import (
    METRICS,
    EffectKind,
    EndedKind,
    FailureKind,
    MetricName,
    NoticeKind,
    Outcome,
    PositionAlarm,
    Step,
    What,
)
from revoker.telemetry.origins import OriginMetrics
from schemas.codec import Reason
from schemas.inputs import Lane

_WAITED_FOR: Final = (
    Condition.SERVING,
    Condition.LATE,
    Condition.REPLAYING,
    Condition.UNKNOWN,
    Condition.FENCED,
)


class Metrics:
    """All metrics of one process, and those of the process itself (`process_…`), in a registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry: Final = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.denylist: Final = DenylistMetrics(self.registry)
        self.origins: Final = OriginMetrics(self.registry)

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
        self._oddities = self._counter("revoker_receipt_oddities_total")
        self._effects = self._counter("revoker_gateway_effects_total")
        self._gateways = self._gauge("revoker_gateways")
        self._left = self._counter("revoker_gateways_left_total")
        self._dead_served = self._counter("revoker_dead_sessions_served_total")
        self._unenforced = self._gauge("revoker_unenforced_batches")
        self._oldest_unenforced = self._gauge("revoker_oldest_unenforced_seconds")
        self._enforced_after = self._distribution("revoker_announced_to_enforced_seconds")
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

    def receipt_oddity(self, kind: Oddity, count: int = 1) -> None:
        """Receipts that say what cannot be, or entries that were left out."""
        _add(self._oddities, count, kind)

    def effect(self, kind: EffectKind, count: int = 1) -> None:
        """What gateways say they did."""
        _add(self._effects, count, kind)

    def gateways(self, conditions: Mapping[Condition, int]) -> None:
        """How the instances that are waited for are now."""
        for condition in _WAITED_FOR:
            self._gateways.labels(condition).set(conditions.get(condition, 0))

    def left(self, rule: Left, count: int = 1) -> None:
        """Instances that are not waited for any more, by rule."""
        _add(self._left, count, rule)

    def dead_served(self, count: int = 1) -> None:
        """Somebody let in whom no gateway could let in any more."""
        _add(self._dead_served, count)

    def enforced_after(self, seconds: Sequence[float]) -> None:
        """For each batch that was proven just now: since its announcement."""
        self._enforced_after.observe(seconds)

    def unenforced(self, batches: int, oldest_seconds: float) -> None:
        """What is announced and not proven."""
        self._unenforced.set(batches)
        self._oldest_unenforced.set(oldest_seconds)

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
        for oddity in Oddity:
            self._oddities.labels(oddity)
        for effect in get_args(EffectKind):
            self._effects.labels(effect)
        for rule in (Left.REPLACED, Left.RETIRED):
            self._left.labels(rule)
        self._enforced_after.start()
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
