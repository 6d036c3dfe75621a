"""What is counted of origins; a part of `Metrics`. Their names come from the settings, so they are labels."""

from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from revoker.telemetry.names import METRICS, MetricName, OriginFailure, OriginOutcome


class OriginMetrics:
    """Metrics of one process, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry: Final = registry
        self._notifications = self._counter("revoker_origin_notifications_total")
        self._failures = self._counter("revoker_origin_failures_total")
        self._ended = self._counter("revoker_origin_sessions_ended_total")
        self._lag = self._gauge("revoker_origin_lag_records")
        self._away = self._gauge("revoker_origin_away_seconds")

    def start(self, origin: str) -> None:
        """All of an origin shows from the start, so that the first count is seen as an increase."""
        for outcome in get_args(OriginOutcome):
            self._notifications.labels(origin, outcome)
        for kind in get_args(OriginFailure):
            self._failures.labels(origin, kind)
        self._ended.labels(origin)
        self._lag.labels(origin)
        self._away.labels(origin)

    def notification(self, origin: str, outcome: OriginOutcome) -> None:
        """A record of `session-ended` is done with."""
        self._notifications.labels(origin, outcome).inc()

    def failed(self, origin: str, kind: OriginFailure) -> None:
        """A try failed."""
        self._failures.labels(origin, kind).inc()

    def ended(self, origin: str, sessions: int) -> None:
        """Sessions that were live there."""
        self._ended.labels(origin).inc(sessions)

    def lag(self, origin: str, records: int) -> None:
        """How many records wait for it here."""
        self._lag.labels(origin).set(records)

    def away(self, origin: str, seconds: float) -> None:
        """For how long it has taken nothing."""
        self._away.labels(origin).set(seconds)

    def _counter(self, name: MetricName) -> Counter:
        return Counter(name, METRICS[name].help, METRICS[name].labels, registry=self._registry)

    def _gauge(self, name: MetricName) -> Gauge:
        return Gauge(name, METRICS[name].help, METRICS[name].labels, registry=self._registry)
