"""How the topics are kept, and which way they go."""

from schemas.topics import TOPICS, Direction, Topic


def test_every_topic_is_specified_and_stamped_by_the_broker() -> None:
    assert set(TOPICS) == set(Topic)
    assert all(spec.configs["message.timestamp.type"] == "LogAppendTime" for spec in TOPICS.values())


def test_what_goes_out_is_written_by_us_alone() -> None:
    out = {topic for topic, spec in TOPICS.items() if spec.direction is Direction.OUT}

    assert out == {Topic.SESSION_ENDED, Topic.HEARTBEATS, Topic.REJECTED_EVENTS}


def test_what_is_replayed_or_read_by_people_is_kept_longest() -> None:
    days = {topic: spec.retention_ms / 86_400_000 for topic, spec in TOPICS.items()}

    assert days[Topic.SESSION_ENDED] == days[Topic.REJECTED_EVENTS] == 31
    assert days[Topic.HEARTBEATS] == 1 / 24
    assert days[Topic.IDENTITY_EVENTS] == days[Topic.SESSION_ACTIVITY] == days[Topic.REVOCATION_ORDERS] == 7
