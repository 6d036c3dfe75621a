"""What the projection in Redis counts; a part of `Metrics`."""

from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from revoker.telemetry.names import METRICS, DenylistFailure, DenylistOutcome, MetricName, Rebuild


class DenylistMetrics:
    """Metrics of one process, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry: Final = registry
        self._records = self._counter("revoker_denylist_records_total")
        self._failures = self._counter("revoker_denylist_failures_total")
        self._rebuilds = self._counter("revoker_denylist_rebuilds_total")
        self._copies = self._counter("revoker_denylist_copies_deleted_total")
        self._trusted = self._gauge("revoker_denylist_trusted")
        self._as_of = self._gauge("revoker_denylist_as_of_timestamp_seconds")
        for outcome in get_args(DenylistOutcome):
            self._records.labels(outcome)
        for kind in get_args(DenylistFailure):
            self._failures.labels(kind)
        for reason in get_args(Rebuild):
            self._rebuilds.labels(reason)

    def records(self, outcome: DenylistOutcome, count: int = 1) -> None:
        """Records of `session-ended`, by what became of them."""
        self._records.labels(outcome).inc(count)

    def failed(self, kind: DenylistFailure) -> None:
        """Something failed and is tried again."""
        self._failures.labels(kind).inc()

    def rebuilding(self, reason: Rebuild) -> None:
        """This process began to build the projection anew."""
        self._rebuilds.labels(reason).inc()

    def copies_deleted(self, count: int) -> None:
        """Cached copies of ended sessions that were there."""
        self._copies.inc(count)

    def trusted(self, *, is_so: bool) -> None:
        """Whether readers are told to believe what is in Redis."""
        self._trusted.set(is_so)

    def complete_at(self, at: float) -> None:
        """Redis held all that `session-ended` held at this Unix time."""
        self._as_of.set(at)

    def _counter(self, name: MetricName) -> Counter:
        return Counter(name, METRICS[name].help, METRICS[name].labels, registry=self._registry)

    def _gauge(self, name: MetricName) -> Gauge:
        return Gauge(name, METRICS[name].help, METRICS[name].labels, registry=self._registry)
