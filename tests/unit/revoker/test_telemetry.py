"""What is counted, under which names, and what a batch of observations costs."""

import sys
import time
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from revoker.core.enforcement import Condition
from revoker.core.receipts import Left, Oddity
from revoker.telemetry import METRICS, Metrics, Tracing, open_tracing
from revoker.telemetry.names import MetricName
from schemas.codec import Reason
from schemas.inputs import Lane


def _value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return metrics.registry.get_sample_value(name, dict(labels or {}))


def _use_everything(metrics: Metrics) -> None:
    metrics.events(Lane.REVOCATION, "applied", 499)
    metrics.rejected("identity-events", Reason.NOT_JSON, 2)
    metrics.ended("password-changed", "session", "ended", 4)
    metrics.notified("ended", 3)
    metrics.committed_after([0.004, 0.3])
    metrics.published_after([0.002])
    metrics.publisher_clock("identity-events", [-5.0, 0.05, 4.0])
    metrics.clamped("identity-events", 1)
    metrics.lag("identity-events", 3, 17)
    metrics.paused(Lane.REGISTRATION, 2)
    metrics.failed(Lane.REVOCATION, "lock_timeout")
    metrics.id_conflicts()
    metrics.attribute_conflicts(5)
    metrics.position_alarm("gap")
    metrics.batch(Lane.REVOCATION, 500)
    metrics.step(Lane.REVOCATION, "database", 0.02)
    metrics.swept()
    metrics.heartbeat(1_700_000_000.5)
    metrics.receipt_oddity(Oddity.BACKWARDS)
    metrics.effect("refused", 7)
    metrics.gateways({Condition.UNKNOWN: 2})
    metrics.left(Left.REPLACED)
    metrics.dead_served(2)
    metrics.enforced_after([0.2])
    metrics.unenforced(3, 12.5)
    metrics.denylist.records("applied", 20)
    metrics.denylist.failed("redis")
    metrics.denylist.rebuilding("empty")
    metrics.denylist.copies_deleted(6)
    metrics.denylist.trusted(is_so=True)
    metrics.denylist.complete_at(1_700_000_001.5)
    metrics.origins.start("login")
    metrics.origins.notification("login", "gave_up")
    metrics.origins.failed("login", "trouble")
    metrics.origins.ended("login", 3)
    metrics.origins.lag("login", 7)
    metrics.origins.away("login", 1.5)


def test_each_method_counts_what_it_says() -> None:
    metrics = Metrics()
    _use_everything(metrics)

    revocation = {"lane": "revocation"}
    assert _value(metrics, "revoker_events_total", revocation | {"outcome": "applied"}) == 499
    assert _value(metrics, "revoker_rejected_total", {"topic": "identity-events", "reason": "not-json"}) == 2
    ended = {"cause": "password-changed", "what": "session", "kind": "ended"}
    assert _value(metrics, "revoker_ended_total", ended) == 4
    assert _value(metrics, "revoker_notifications_total", {"kind": "ended"}) == 3
    assert _value(metrics, "revoker_clamped_total", {"topic": "identity-events"}) == 1
    assert _value(metrics, "revoker_lag_records", {"topic": "identity-events", "partition": "3"}) == 17
    assert _value(metrics, "revoker_paused_partitions", {"lane": "registration"}) == 2
    assert _value(metrics, "revoker_failures_total", revocation | {"kind": "lock_timeout"}) == 1
    assert _value(metrics, "revoker_id_conflicts_total") == 1
    assert _value(metrics, "revoker_attribute_conflicts_total") == 5
    assert _value(metrics, "revoker_position_alarms_total", {"kind": "gap"}) == 1
    assert _value(metrics, "revoker_batch_records_bucket", revocation | {"le": "500.0"}) == 1
    assert _value(metrics, "revoker_batch_seconds_sum", revocation | {"step": "database"}) == 0.02
    assert _value(metrics, "revoker_swept_batches_total") == 1
    assert _value(metrics, "revoker_heartbeat_timestamp_seconds") == 1_700_000_000.5
    assert _value(metrics, "revoker_receipt_oddities_total", {"kind": "backwards"}) == 1
    assert _value(metrics, "revoker_gateway_effects_total", {"kind": "refused"}) == 7
    assert _value(metrics, "revoker_gateways", {"condition": "unknown"}) == 2
    assert _value(metrics, "revoker_gateways", {"condition": "serving"}) == 0
    assert _value(metrics, "revoker_gateways_left_total", {"rule": "replaced"}) == 1
    assert _value(metrics, "revoker_dead_sessions_served_total") == 2
    assert _value(metrics, "revoker_announced_to_enforced_seconds_count") == 1
    assert _value(metrics, "revoker_unenforced_batches") == 3
    assert _value(metrics, "revoker_oldest_unenforced_seconds") == 12.5
    assert _value(metrics, "revoker_denylist_records_total", {"outcome": "applied"}) == 20
    assert _value(metrics, "revoker_denylist_failures_total", {"kind": "redis"}) == 1
    assert _value(metrics, "revoker_denylist_rebuilds_total", {"reason": "empty"}) == 1
    assert _value(metrics, "revoker_denylist_copies_deleted_total") == 6
    assert _value(metrics, "revoker_denylist_trusted") == 1
    assert _value(metrics, "revoker_denylist_as_of_timestamp_seconds") == 1_700_000_001.5
    assert _value(metrics, "revoker_origin_notifications_total", {"origin": "login", "outcome": "gave_up"}) == 1
    assert _value(metrics, "revoker_origin_notifications_total", {"origin": "login", "outcome": "taken"}) == 0
    assert _value(metrics, "revoker_origin_failures_total", {"origin": "login", "kind": "trouble"}) == 1
    assert _value(metrics, "revoker_origin_sessions_ended_total", {"origin": "login"}) == 3
    assert _value(metrics, "revoker_origin_lag_records", {"origin": "login"}) == 7
    assert _value(metrics, "revoker_origin_away_seconds", {"origin": "login"}) == 1.5


def test_the_names_are_the_documented_ones_and_no_others() -> None:
    metrics = Metrics()
    _use_everything(metrics)

    families = list(metrics.registry.collect())
    ours = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    assert {name for name in ours if not name.startswith("process_")} == set(METRICS)
    spec_labels = {name.removesuffix("_total"): set(spec.labels) for name, spec in METRICS.items()}
    for family in families:
        if family.name in spec_labels:
            assert {key for sample in family.samples for key in sample.labels} - {"le"} == spec_labels[family.name]


def test_nothing_goes_to_the_global_registry() -> None:
    before = generate_latest(REGISTRY).count(b"revoker_")
    _use_everything(Metrics())
    _use_everything(Metrics())

    assert generate_latest(REGISTRY).count(b"revoker_") == before == 0


def test_closed_labels_show_zero_from_the_start() -> None:
    metrics = Metrics()

    for lane in Lane:
        assert _value(metrics, "revoker_events_total", {"lane": lane, "outcome": "duplicate"}) == 0
        assert _value(metrics, "revoker_batch_seconds_count", {"lane": lane, "step": "publish"}) == 0
    assert _value(metrics, "revoker_position_alarms_total", {"kind": "beyond_end"}) == 0
    assert _value(metrics, "revoker_event_to_committed_seconds_count") == 0


def test_a_count_of_zero_makes_no_series() -> None:
    metrics = Metrics()
    metrics.rejected("identity-events", Reason.INVALID, 0)

    assert _value(metrics, "revoker_rejected_total", {"topic": "identity-events", "reason": "invalid"}) is None


def test_the_lag_of_a_partition_that_went_elsewhere_is_forgotten() -> None:
    metrics = Metrics()
    metrics.lag("identity-events", 0, 5)
    metrics.lag("identity-events", 1, 6)
    metrics.unassigned("identity-events", 0)
    metrics.unassigned("identity-events", 9)

    assert _value(metrics, "revoker_lag_records", {"topic": "identity-events", "partition": "0"}) is None
    assert _value(metrics, "revoker_lag_records", {"topic": "identity-events", "partition": "1"}) == 6


@pytest.mark.parametrize(
    ("seconds", "buckets"),
    [
        ([], {"0.001": 0, "+Inf": 0}),
        ([0.001], {"0.001": 1, "0.0025": 1, "+Inf": 1}),
        ([61.0, 0.0005, 0.02, 0.02], {"0.001": 1, "0.01": 1, "0.025": 3, "60.0": 3, "+Inf": 4}),
    ],
)
def test_buckets_are_cumulative_with_the_bound_included(seconds: list[float], buckets: dict[str, int]) -> None:
    metrics = Metrics()
    metrics.committed_after(seconds)
    metrics.committed_after(())

    for bound, count in buckets.items():
        assert _value(metrics, "revoker_event_to_committed_seconds_bucket", {"le": bound}) == count
    assert _value(metrics, "revoker_event_to_committed_seconds_sum") == pytest.approx(sum(seconds))


def test_a_publisher_whose_clock_runs_ahead_shows_on_the_negative_side() -> None:
    metrics = Metrics()
    metrics.publisher_clock("identity-events", [-5.0, -0.5, 0.2, 100_000.0])

    def at_most(bound: str) -> float | None:
        labels = {"topic": "identity-events", "le": bound}
        return _value(metrics, "revoker_publisher_clock_seconds_bucket", labels)

    assert [at_most(bound) for bound in ("-10.0", "-1.0", "0.0", "1.0", "86400.0", "+Inf")] == [0, 1, 2, 3, 3, 4]


def test_both_formats_can_be_read_back() -> None:
    metrics = Metrics()
    _use_everything(metrics)

    encode, _ = choose_encoder("application/openmetrics-text")
    read = text_string_to_metric_families(encode(metrics.registry).decode())  # type: ignore[no-untyped-call]  # theirs
    families = {family.name for family in read}
    assert {"revoker_events", "revoker_publisher_clock_seconds", "revoker_batch_seconds"} <= families
    assert b'revoker_batch_seconds_bucket{lane="revocation",le="0.025",step="database"} 1.0' in generate_latest(
        metrics.registry
    )


def test_five_hundred_observations_cost_less_than_200_microseconds() -> None:
    metrics = Metrics()
    delays = [(index * 7919 % 500) / 400 for index in range(500)]

    def once() -> float:
        start = time.perf_counter()
        metrics.committed_after(delays)
        return time.perf_counter() - start

    assert min(once() for _ in range(50)) < 200e-6


def test_a_span_holds_lane_records_and_chunk_and_nothing_else() -> None:
    exporter, tracing = _tracing()
    with (
        tracing.span("revoker.batch", lane=Lane.REVOCATION, records=500),
        tracing.span("revoker.database", lane=Lane.REVOCATION, chunk=2),
    ):
        pass

    inner, outer = exporter.get_finished_spans()
    assert (inner.name, dict(inner.attributes or {})) == ("revoker.database", {"lane": "revocation", "chunk": 2})
    assert (outer.name, dict(outer.attributes or {})) == ("revoker.batch", {"lane": "revocation", "records": 500})
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


def test_a_span_keeps_the_type_of_an_exception_and_not_what_it_says() -> None:
    exporter, tracing = _tracing()
    with pytest.raises(ValueError), tracing.span("revoker.batch", lane=Lane.REVOCATION):
        raise ValueError("alice@example.com is not there")

    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert not span.events
    assert "alice" not in span.to_json()


def test_without_an_endpoint_spans_are_nothing() -> None:
    tracing = open_tracing({})
    with tracing.span("revoker.batch", lane=Lane.REVOCATION, records=1):
        pass
    assert tracing.span("revoker.batch", lane=Lane.REVOCATION) is tracing.span("revoker.decode", lane=Lane.REVOCATION)
    tracing.close()
    tracing.close()


def test_without_the_extra_spans_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}).span(
        "revoker.batch", lane=Lane.REVOCATION
    ):
        pass


def test_closing_is_bounded_when_the_endpoint_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", environ["OTEL_EXPORTER_OTLP_ENDPOINT"])
    tracing = open_tracing(environ)
    with tracing.span("revoker.batch", lane=Lane.REVOCATION):
        pass
    start = time.monotonic()
    tracing.close()
    tracing.close()
    assert time.monotonic() - start < 3

    with tracing.span("revoker.batch", lane=Lane.REVOCATION):
        pass


def test_every_documented_metric_has_a_help_text() -> None:
    names: list[MetricName] = list(METRICS)
    assert all(METRICS[name].help.endswith(".") for name in names)


def _tracing() -> tuple[InMemorySpanExporter, Tracing]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, Tracing(provider)
