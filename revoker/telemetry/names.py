"""Every metric by name: what it counts, by which labels, in which buckets. A name that is not here does not exist.

No label holds anything that a publisher can choose, and none a subject or an id: topics and causes are configuration,
the rest are closed sets.
"""

from dataclasses import dataclass
from typing import Final, Literal

MetricName = Literal[
    "revoker_events_total",
    "revoker_rejected_total",
    "revoker_ended_total",
    "revoker_notifications_total",
    "revoker_event_to_committed_seconds",
    "revoker_committed_to_published_seconds",
    "revoker_publisher_clock_seconds",
    "revoker_clamped_total",
    "revoker_lag_records",
    "revoker_paused_partitions",
    "revoker_failures_total",
    "revoker_id_conflicts_total",
    "revoker_attribute_conflicts_total",
    "revoker_position_alarms_total",
    "revoker_batch_seconds",
    "revoker_batch_records",
    "revoker_swept_batches_total",
    "revoker_heartbeat_timestamp_seconds",
    "revoker_receipt_oddities_total",
    "revoker_gateway_effects_total",
    "revoker_gateways",
    "revoker_gateways_left_total",
    "revoker_dead_sessions_served_total",
    "revoker_announced_to_enforced_seconds",
    "revoker_unenforced_batches",
    "revoker_oldest_unenforced_seconds",
    "revoker_denylist_records_total",
    "revoker_denylist_failures_total",
    "revoker_denylist_rebuilds_total",
    "revoker_denylist_copies_deleted_total",
    "revoker_denylist_trusted",
    "revoker_denylist_as_of_timestamp_seconds",
    "revoker_origin_notifications_total",
    "revoker_origin_failures_total",
    "revoker_origin_sessions_ended_total",
    "revoker_origin_lag_records",
    "revoker_origin_away_seconds",
]

Outcome = Literal["applied", "duplicate", "redundant", "report_only", "rejected", "ignored"]
What = Literal["session", "token"]
EndedKind = Literal["ended", "late"]
NoticeKind = Literal["ended", "late", "rows", "hold", "lift"]
FailureKind = Literal["decode", "database", "lock_timeout", "kafka", "redis", "unexpected"]
PositionAlarm = Literal["gap", "beyond_end", "feed_recreated"]
DenylistOutcome = Literal["applied", "ignored", "rejected"]
DenylistFailure = Literal["redis", "kafka", "unexpected"]
OriginOutcome = Literal["taken", "nothing", "rejected", "gave_up"]
OriginFailure = Literal["trouble", "gone", "kafka", "unexpected"]
Rebuild = Literal["empty", "evicted", "recreated"]
Step = Literal["decode", "database", "publish", "announce"]

EffectKind = Literal["connection_cut", "cached_session_dropped", "refused"]

_DELAYS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CLOCKS: Final = (-3600, -300, -60, -10, -1, -0.1, 0, 0.1, 1, 10, 60, 300, 3600, 86_400)
_RECORDS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric. A name in `_total` is a counter, one with buckets a histogram, every other a gauge."""

    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: Final[dict[MetricName, MetricSpec]] = {
    "revoker_events_total": MetricSpec("Input records, by what became of them.", ("lane", "outcome")),
    "revoker_rejected_total": MetricSpec("Records set aside on rejected-events.", ("topic", "reason")),
    "revoker_ended_total": MetricSpec(
        "Sessions and tokens ended: by an event, or born ended (late).", ("cause", "what", "kind")
    ),
    "revoker_notifications_total": MetricSpec("Records acknowledged by session-ended.", ("kind",)),
    "revoker_event_to_committed_seconds": MetricSpec(
        "From the event's time to the commit of its transaction.", buckets=_DELAYS
    ),
    "revoker_committed_to_published_seconds": MetricSpec(
        "From the commit to the acknowledgement of what announces it.", buckets=_DELAYS
    ),
    "revoker_publisher_clock_seconds": MetricSpec(
        "Broker append time minus event time: negative where a publisher's clock runs ahead.", ("topic",), _CLOCKS
    ),
    "revoker_clamped_total": MetricSpec("Events dated after their append time, and clamped to it.", ("topic",)),
    "revoker_lag_records": MetricSpec("Records of an assigned partition not applied yet.", ("topic", "partition")),
    "revoker_paused_partitions": MetricSpec("Partitions held back by a failure of ours.", ("lane",)),
    "revoker_failures_total": MetricSpec("Failures of ours, each followed by a retry.", ("lane", "kind")),
    "revoker_id_conflicts_total": MetricSpec("Events under a known id with another content; both were applied."),
    "revoker_attribute_conflicts_total": MetricSpec(
        "Sessions reported again with another attribute; the first report stands."
    ),
    "revoker_position_alarms_total": MetricSpec(
        "Positions that do not fit the log: records were lost, or a topic was recreated.", ("kind",)
    ),
    "revoker_batch_seconds": MetricSpec("Time of each step of a batch.", ("lane", "step"), _DELAYS),
    "revoker_batch_records": MetricSpec("Records in a batch.", ("lane",), _RECORDS),
    "revoker_swept_batches_total": MetricSpec("Batches that the sweeper announced because nobody else had."),
    "revoker_heartbeat_timestamp_seconds": MetricSpec("When the last heartbeat was acknowledged, Unix time."),
    "revoker_receipt_oddities_total": MetricSpec(
        "Receipts of gateways, or entries of one, that cannot be true.", ("kind",)
    ),
    "revoker_gateway_effects_total": MetricSpec(
        "What gateways did, by their receipts: cut, dropped, and tries with the dead that they refused.", ("kind",)
    ),
    "revoker_gateways": MetricSpec("Instances that are waited for, by how they are.", ("condition",)),
    "revoker_gateways_left_total": MetricSpec("Instances that a rule says are not waited for any more.", ("rule",)),
    "revoker_dead_sessions_served_total": MetricSpec(
        "Visits of ended sessions after it was proven that no gateway serves them any more."
    ),
    "revoker_announced_to_enforced_seconds": MetricSpec(
        "For each batch, from its announcement to the proof that no gateway serves what it ended.", buckets=_DELAYS
    ),
    "revoker_unenforced_batches": MetricSpec("Announced batches that are not proven to be enforced, up to 10,000."),
    "revoker_oldest_unenforced_seconds": MetricSpec("How long ago the oldest of those was announced."),
    "revoker_denylist_records_total": MetricSpec(
        "Records of session-ended projected to Redis, by what became of them.", ("outcome",)
    ),
    "revoker_denylist_failures_total": MetricSpec("Failures of the projection, each tried again.", ("kind",)),
    "revoker_denylist_rebuilds_total": MetricSpec(
        "Projections begun anew: Redis was empty, had evicted keys, or the topic was recreated.", ("reason",)
    ),
    "revoker_denylist_copies_deleted_total": MetricSpec("Cached copies of ended sessions that were deleted."),
    "revoker_denylist_trusted": MetricSpec("1 while readers of Redis are told to believe it."),
    "revoker_denylist_as_of_timestamp_seconds": MetricSpec("Redis holds all that session-ended held then, Unix time."),
    "revoker_origin_notifications_total": MetricSpec(
        "Records of session-ended that an origin was to be told of, by what became of them.", ("origin", "outcome")
    ),
    "revoker_origin_failures_total": MetricSpec(
        "Tries at an origin that failed, each tried again unless it gave up.", ("origin", "kind")
    ),
    "revoker_origin_sessions_ended_total": MetricSpec(
        "Sessions that were live at an origin until we ended them there, where it says so.", ("origin",)
    ),
    "revoker_origin_lag_records": MetricSpec(
        "Records of session-ended that an origin has not taken, of this process's partitions.", ("origin",)
    ),
    "revoker_origin_away_seconds": MetricSpec("For how long an origin has taken nothing; 0: it does.", ("origin",)),
}
