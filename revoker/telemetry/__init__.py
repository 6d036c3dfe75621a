"""What can be watched from outside: counts and durations for Prometheus, spans for whoever wants them."""

from revoker.telemetry.metrics import Metrics
from revoker.telemetry.names import METRICS, MetricName
from revoker.telemetry.spans import Tracing, open_tracing

__all__ = ["METRICS", "MetricName", "Metrics", "Tracing", "open_tracing"]
