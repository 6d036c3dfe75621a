"""The pure parts behind the commands: what a topic must be, what an event will be, what a position says."""

import dataclasses
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from revoker.core.policy import decide
from revoker.errors import ConfigurationError
from revoker.service import doctor, publish, rejected, topics
from revoker.service.publish import MisusedError, Request
from revoker.service.topics import Described, Level
from revoker.settings import HookSettings, KafkaSettings, RetentionSettings, Settings
from schemas import codec
from schemas.inputs import SESSION_ACTIVITY, Format, Input, Lane, Mode

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
DAY = 86_400_000
GOOD = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "message.timestamp.type": "LogAppendTime",
    "min.insync.replicas": "2",
    "retention.bytes": "-1",
    "retention.ms": str(31 * DAY),
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the servers of other tests are is none of our business."""
    for name in [name for name in os.environ if name.startswith("REVOKER_")]:
        monkeypatch.delenv(name)


def settings(**given: Any) -> Settings:
    return Settings(**{"database_url": SecretStr("postgresql://h/d")} | given)


def judged(
    name: str, *, partitions: int = 12, replication: int = 3, given: Settings | None = None, **configs: str
) -> Any:
    ours = given or settings()
    (wanted,) = (one for one in topics.wanted(ours) if one.name == name)
    kept = str(7 * DAY) if wanted.is_input else GOOD["retention.ms"]
    found = GOOD | {"retention.ms": kept} | {key.replace("_", "."): value for key, value in configs.items()}
    is_ = Described(partitions=partitions, replication=replication, configs=found)
    return {one.setting: one for one in topics.judge(wanted, is_, ours) if one.level is not Level.OK}


def test_that_topics_as_we_create_them_are_found_to_be_safe() -> None:
    ours = settings()
    for wanted in topics.wanted(ours):
        is_ = Described(partitions=wanted.partitions, replication=3, configs={**GOOD, **wanted.configs})
        assert [one for one in topics.judge(wanted, is_, ours) if one.level is not Level.OK] == []


@pytest.mark.parametrize(
    ("topic", "given", "setting", "level"),
    [
        ("identity-events", {"message_timestamp_type": "CreateTime"}, "message.timestamp.type", Level.FAIL),
        ("session-ended", {"cleanup_policy": "compact,delete"}, "cleanup.policy", Level.FAIL),
        ("session-ended", {"retention_ms": str(31 * DAY - 1)}, "retention.ms", Level.FAIL),
        ("identity-events", {"retention_ms": str(6 * DAY)}, "retention.ms", Level.FAIL),
        ("identity-events", {"retention_ms": "-1"}, "retention.ms", Level.WARN),
        ("identity-events", {"retention_ms": str(100 * DAY)}, "retention.ms", Level.WARN),
        ("session-ended", {"retention_bytes": "1000"}, "retention.bytes", Level.WARN),
        ("session-ended", {"min_insync_replicas": "1"}, "min.insync.replicas", Level.WARN),
        ("session-ended", {"max_message_bytes": "1000"}, "max.message.bytes", Level.WARN),
        ("session-ended", {"partitions": 3}, "partitions", Level.WARN),
        ("session-ended-heartbeats", {"partitions": 2}, "partitions", Level.WARN),
        ("session-ended", {"replication": 2}, "replication", Level.WARN),
    ],
)
def test_that_each_unsafe_setting_is_named(topic: str, given: Any, setting: str, level: Level) -> None:
    found = judged(topic, **({"partitions": 1} if "heartbeats" in topic else {}) | given)
    assert {name: one.level for name, one in found.items()} == {setting: level}
    assert found[setting].found != found[setting].wanted


def test_that_a_single_copy_needs_no_second_one_in_sync() -> None:
    alone = settings(kafka=KafkaSettings(replication=1))
    assert judged("session-ended", replication=1, given=alone, min_insync_replicas="1") == {}


def test_that_a_topic_of_somebody_else_may_keep_its_own_times_but_not_be_compacted() -> None:
    foreign = settings(inputs=(Input(topic="their-events"), SESSION_ACTIVITY))
    found = judged("their-events", given=foreign, message_timestamp_type="CreateTime", cleanup_policy="compact")
    assert {name: one.level for name, one in found.items()} == {
        "message.timestamp.type": Level.WARN,
        "cleanup.policy": Level.FAIL,
    }
    assert "identity-events" not in {one.name for one in topics.wanted(foreign)}


def test_that_retention_is_what_the_settings_promise() -> None:
    longer = settings(
        retention=RetentionSettings(session_ended=timedelta(days=40), inputs=timedelta(days=9)), topic_prefix="p-"
    )
    kept = {one.name: one.configs["retention.ms"] for one in topics.wanted(longer)}
    assert kept["p-session-ended"] == str(40 * DAY)
    assert kept["p-identity-events"] == str(9 * DAY)


def test_that_acls_let_no_publisher_read_and_no_gateway_write_notifications() -> None:
    said = topics.acls(settings(topic_prefix="p-"))
    assert not [line for line in said["publisher"] if "Read" in line or "revocation-orders" in line]
    assert not [line for line in said["gateway"] if "Write" in line and "p-session-ended" in line]
    assert [line for line in said["gateway"] if "Write" in line and "--topic p-gateway-receipts" in line]
    writes = [line.partition("--topic ")[2] for line in said["serve"] if "Write" in line]
    assert writes == ["p-gateway-receipts", "p-identity-events", "p-session-activity"]
    assert [line for line in said["revoker"] if "--group p-revoker --resource-pattern-type prefixed" in line]


def test_that_the_api_writes_no_platforms_topic_and_sets_aside_what_hooks_bring() -> None:
    hook = HookSettings.model_validate({"name": "okta", "format": "okta", "secret": "a-secret-of-this-test"})
    foreign = Input(topic="okta", format=Format.OKTA)
    both = (foreign, foreign.model_copy(update={"lane": Lane.REGISTRATION}), Input(topic="in"))

    said = topics.acls(settings(topic_prefix="p-", inputs=both, hooks=(hook,)))

    writes = [line.partition("--topic ")[2] for line in said["serve"] if "Write" in line]
    assert writes == ["p-gateway-receipts", "p-in", "p-rejected-events"]
    assert len(said["publisher"]) == 2


@pytest.mark.parametrize(
    ("request_", "type_", "data"),
    [
        (Request(subject="a"), "logged-out-everywhere", {"initiator": "admin"}),
        (
            Request(subject="a", keep=("k",), reason="why"),
            "logged-out-everywhere",
            {"initiator": "admin", "keep": ["k"], "reason_user": {"en": "why"}},
        ),
        (
            Request(subject="a", session_ids=("s", "t")),
            "session-revoked",
            {"initiator": "admin", "session_ids": ["s", "t"]},
        ),
        (
            Request(subject="a", session_ids=("s",), client_id="web"),
            "logged-out",
            {"initiator": "admin", "session_id": "s", "client_id": "web"},
        ),
    ],
)
def test_that_the_event_is_the_one_that_the_consumers_take(request_: Request, type_: str, data: Any) -> None:
    ours = settings()
    prepared = publish.prepare(ours, request_, "id-1", NOW)
    read = codec.decode(codec.IDENTITY, ours.inputs[0], prepared.value)
    assert not isinstance(read, codec.Ignored)
    assert (read.type, read.source, read.subject, read.tenant) == (type_, "revoker-cli", "a", "")
    assert read.data.model_dump(mode="json", exclude_unset=True, exclude_none=True) == data
    later = decide(read, ours.rules, NOW + timedelta(hours=1))
    assert prepared.revocation_id == later.revocation.id


def test_that_the_event_speaks_as_the_input_is_bound_and_goes_where_its_type_is_allowed() -> None:
    ours = settings(
        topic_prefix="p-",
        inputs=(
            SESSION_ACTIVITY,
            Input(topic="logins", lane=Lane.REVOCATION, types=("logged-out",)),
            Input(topic="watched", mode=Mode.REPORT_ONLY),
            Input(topic="bound", source="idp", tenant="acme"),
        ),
    )
    prepared = publish.prepare(ours, Request(subject="a"), "id-1", NOW)
    assert (prepared.topic, prepared.event.source, prepared.event.tenant) == ("p-bound", "idp", "acme")
    assert publish.prepare(ours, Request(subject="a", session_ids=("s",), client_id="c"), "i", NOW).topic == "p-logins"
    only = publish.prepare(ours, Request(subject="a", tenant="other"), "i", NOW)
    assert (only.topic, only.decision.revocation.enforced) == ("p-watched", False)


@pytest.mark.parametrize(
    ("request_", "inputs"),
    [
        (Request(subject="a"), (Input(topic="x", types=("logged-out",)),)),
        (Request(subject="a"), (Input(topic="x", ignore=("logged-*",)),)),
        (Request(subject="a", tenant="b"), (Input(topic="x", tenant="acme"),)),
        (Request(subject="a"), (SESSION_ACTIVITY,)),
    ],
)
def test_that_no_input_for_it_is_said(request_: Request, inputs: tuple[Input, ...]) -> None:
    with pytest.raises(ConfigurationError):
        publish.prepare(settings(inputs=inputs), request_, "i", NOW)


@pytest.mark.parametrize(
    "request_",
    [
        Request(subject=""),
        Request(subject="a\x1b"),
        Request(subject="a", session_ids=("",)),
        Request(subject="a", keep=("x" * 513,)),
        Request(subject="a", reason="\x07"),
        Request(subject="a", session_ids=tuple(map(str, range(501)))),
        Request(subject="a", session_ids=("s",), keep=("k",)),
        Request(subject="a", client_id="c"),
    ],
)
def test_that_what_the_consumers_would_set_aside_is_not_sent(request_: Request) -> None:
    with pytest.raises(MisusedError):
        publish.prepare(settings(), request_, "i", NOW)


@pytest.mark.parametrize(
    ("position", "idle", "first", "end", "level", "words"),
    [
        (10, 0, 0, 10, Level.OK, "all applied"),
        (5, 1, 0, 10, Level.OK, "5 records not applied yet"),
        (5, 600, 0, 10, Level.WARN, "nothing moved for 10 min"),
        (5, 1, 7, 10, Level.FAIL, "2 records were deleted before they were applied"),
        (12, 1, 0, 10, Level.FAIL, "the log ends at 10"),
        (None, 0, 0, 10, Level.WARN, "none was ever applied"),
        (None, 0, 0, 0, Level.OK, "all applied"),
    ],
)
def test_what_a_stored_position_says(  # noqa: PLR0917 - a row of the table above
    position: int | None, idle: int, first: int, end: int, level: Level, words: str
) -> None:
    applied = {0: None if position is None else (position, timedelta(seconds=idle))}
    found = doctor.judge_input("in", applied, first={0: first}, end={0: end})
    worst = max(found, key=lambda one: list(Level).index(one.level))
    assert worst.level is level
    assert words in worst.text
    assert bool(worst.hint) is (level is not Level.OK)


def test_that_a_preview_is_short_printable_and_without_secrets() -> None:
    hostile = b"\x1b]0;owned\x07 \xff password=hunter2 " + b"x" * 10_000
    shown = rejected.preview(hostile, 100)
    assert shown.isprintable()
    assert "hunter2" not in shown
    assert len(shown) < 200
    assert rejected.preview(None, 10) == ""


@dataclasses.dataclass
class Record:
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    key: bytes | None = None
    partition: int = 1
    offset: int = 2
    timestamp: int = 1_795_000_000_000


@pytest.mark.parametrize(
    ("value", "headers", "type_"),
    [
        (b'{"type":"com.x.odd\\u001b[31m"}', (), "com.x.odd"),
        (b"{}", (("ce_type", b"binary"),), "binary"),
        (b"[1]", (), None),
        (b"{", (), None),
        (None, (("ce_type", None),), None),
    ],
)
def test_that_the_claimed_type_is_found_and_made_safe(value: Any, headers: Any, type_: str | None) -> None:
    found = rejected._read(Record(value, headers)).type
    assert found is None if type_ is None else found is not None and found.startswith(type_) and found.isprintable()


def test_that_strange_origins_are_no_origins() -> None:
    headers = (
        ("revoker-reason", b"not-json: here"),
        ("revoker-topic", b"\xff"),
        ("revoker-partition", b"-1"),
        ("revoker-offset", None),
        ("traceparent", b"00-1"),
    )
    read = rejected._read(Record(b"x", headers))
    assert (read.reason, read.detail) == ("not-json", "here")
    assert (read.topic, read.topic_partition, read.topic_offset) == (None, None, None)
    assert list(read.headers) == [("traceparent", b"00-1")]
