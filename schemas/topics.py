"""Every topic of ours: its key, who writes it, who reads it, and how the broker must keep it.

Topics carry the append time of the broker (`LogAppendTime`): every time inside a record is clamped to it, and a
publisher must not be able to choose it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_DAY_MS = 86_400_000
MAX_REJECTED_BYTES: Final = 10_485_760


class Topic(StrEnum):
    """Names without `REVOKER_TOPIC_PREFIX`."""

    IDENTITY_EVENTS = "identity-events"
    SESSION_ACTIVITY = "session-activity"
    REVOCATION_ORDERS = "revocation-orders"
    SESSION_ENDED = "session-ended"
    HEARTBEATS = "session-ended-heartbeats"
    GATEWAY_RECEIPTS = "gateway-receipts"
    REJECTED_EVENTS = "rejected-events"


class Direction(StrEnum):
    """Which way the service uses a topic."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How a topic is keyed, used and kept. `partitions` None means as many as configured."""

    direction: Direction
    key: str
    writers: str
    readers: str
    summary: str
    partitions: int | None = None
    retention_ms: int = 7 * _DAY_MS
    configs: dict[str, str] = field(default_factory=lambda: {"message.timestamp.type": "LogAppendTime"})


TOPICS: Final[dict[Topic, TopicSpec]] = {
    Topic.IDENTITY_EVENTS: TopicSpec(
        direction=Direction.IN,
        key="subject",
        writers="identity providers, login services, the API",
        readers="revocation consumers",
        summary="What happened to an identity.",
    ),
    Topic.SESSION_ACTIVITY: TopicSpec(
        direction=Direction.IN,
        key="subject",
        writers="login services",
        readers="registration consumers",
        summary="Sessions established and seen, tokens issued.",
    ),
    Topic.REVOCATION_ORDERS: TopicSpec(
        direction=Direction.IN,
        key="order id",
        writers="the API alone",
        readers="orders consumers",
        summary="Wide revocations, holds and lifts.",
    ),
    Topic.SESSION_ENDED: TopicSpec(
        direction=Direction.OUT,
        key="subject",
        writers="revocation and registration consumers",
        readers="gateways, denylist, origins, back-channel, signals",
        summary="What is over: predicates and ids; holds and lifts.",
        # A gateway that starts replays the lifetime of a credential.
        retention_ms=31 * _DAY_MS,
    ),
    Topic.HEARTBEATS: TopicSpec(
        direction=Direction.OUT,
        key="consumer",
        writers="revocation consumers",
        readers="gateways, readiness",
        summary="Once a second: how far the service has come.",
        partitions=1,
        retention_ms=3_600_000,
    ),
    Topic.GATEWAY_RECEIPTS: TopicSpec(
        direction=Direction.IN,
        key="instance",
        writers="gateways, origins",
        readers="receipts consumers",
        summary="What was applied, cut and refused.",
    ),
    Topic.REJECTED_EVENTS: TopicSpec(
        direction=Direction.OUT,
        key="as arrived",
        writers="every consumer",
        readers="people",
        summary="Records that will never work, as they arrived, with revoker-reason and where from.",
        retention_ms=31 * _DAY_MS,
        # The largest record that an input can hold, and our headers: what cannot be set aside would stop a partition.
        configs={"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_REJECTED_BYTES)},
    ),
}

REJECTED_HEADERS: Final = ("revoker-reason", "revoker-topic", "revoker-partition", "revoker-offset")
