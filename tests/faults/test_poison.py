"""Bad input never stops a partition: it is set aside as it came, once, and its neighbours are applied."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiokafka.producer.producer
import pytest
from aiokafka.consumer import fetcher
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from consumers.records import read_any_header
from schemas.fields import wire_time
from schemas.topics import REJECTED_HEADERS, Topic
from tests.faults.history import Service
from tests.faults.load import Sent

PARTITIONS: Final = 4
NOW: Final = datetime.now(UTC)
HEALTHY: Final = {"specversion": "1.0", "type": "password-changed", "source": "poison", "subject": "victim"}
BINARY: Final = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"password-changed"),
    ("ce_source", b"poison"),
    ("ce_subject", b"victim"),
)
DEEP: Final = 100_000

VALUES: Final[dict[str, bytes | None]] = {
    "tombstone": None,
    "empty": b"",
    "not-json": b"not json at all",
    "truncated": b'{"specversion": "1.0", "id": "1", "type": "password-ch',
    "invalid-utf-8": b'{"specversion":"1.0","id":"1","source":"\xff\xfe","type":"password-changed","subject":"victim"}',
    "lone-surrogate": b'{"specversion":"1.0","id":"\\ud800","source":"p","type":"password-changed","subject":"victim"}',
    "nan": b'{"specversion":"1.0","id":"1","source":"p","type":"password-changed","subject":"victim","data":{"x":NaN}}',
    "bom": b"\xef\xbb\xbf" + json.dumps(HEALTHY | {"id": "bom"}).encode(),
    "deep-nesting": b"[" * DEEP + b"]" * DEEP,
    "deep-objects": b'{"data":' * (DEEP // 10) + b"1" + b"}" * (DEEP // 10),
    "too-large": json.dumps(HEALTHY | {"id": "large", "data": {"reason_admin": "x" * 65_000}}).encode(),
    "a-megabyte": b'"' + b"m" * 1_000_000 + b'"',
    "not-an-object": b'["password-changed"]',
    "a-number": b"42",
    "a-huge-number": b"1" * 5_000,
}
ATTRIBUTES: Final[dict[str, dict[str, Any]]] = {
    "unknown-type": {"type": "coffee-finished"},
    "type-is-a-number": {"type": 7},
    "data-is-a-list": {"data": [1, 2]},
    "data-is-text": {"data": "everything"},
    "keep-is-text": {"data": {"keep": "s-1"}},
    "keep-of-numbers": {"data": {"keep": [1]}},
    "too-many-kept": {"data": {"keep": [f"s-{number}" for number in range(501)]}},
    "long-id": {"id": "x" * 600},
    "long-subject": {"subject": "é" * 300},
    "control-character": {"subject": "vic\x00tim"},
    "no-subject": {"subject": None},
    "time-is-a-number": {"time": 1_700_000_000},
    "time-without-zone": {"time": "2026-01-01T00:00:00"},
    "no-session": {"type": "logged-out"},
    "future-version": {"specversion": "2.0"},
    "tenant-is-a-number": {"tenant": 4},
}
HEADERS: Final[dict[str, tuple[tuple[str, bytes | None], ...]]] = {
    "null-attribute": (*BINARY, ("ce_id", None)),
    "attribute-not-utf-8": (*BINARY, ("ce_id", b"\xff\xfe")),
    "attribute-twice": (*BINARY, ("ce_id", b"1"), ("ce_id", b"2")),
    "hostile-content-type": (*BINARY, ("ce_id", b"1"), ("content-type", b"application/octet-stream")),
    "absurd-content-type": (*BINARY, ("ce_id", b"1"), ("content-type", b"application/{bad")),
    "forged-origin": (*BINARY, ("ce_id", None), ("x-origin", b"\x00\xff"), ("X-Origin", b"")),
}
HARMLESS: Final[dict[str, tuple[tuple[str, bytes | None], ...]]] = {
    "null": (("x", None), ("correlation_id", None)),
    "not-utf-8": (("x", b"\xff\xfe"), ("correlation_id", b"\xc3\x28\r\n\x1b[31m")),
    "content-type": (("content-type", b"application/json{bad"),),
    "text": (("content-type", b"text/plain"),),
    "many": tuple((f"h-{number}", b"v" * 20) for number in range(1_000)),
    "twice": (("x", b"1"), ("x", b"2")),
}
"""Around a structured event, headers say nothing that counts."""


def poisons(reply_to: str) -> Iterator[tuple[str, Sent]]:
    for name, value in VALUES.items():
        yield name, Sent(topic=Topic.IDENTITY_EVENTS, value=value, key=name.encode(), rejected=True)
    for name, wrong in ATTRIBUTES.items():
        value = json.dumps(HEALTHY | {"id": name} | wrong).encode()
        yield name, Sent(topic=Topic.IDENTITY_EVENTS, value=value, key=None, rejected=True)
    for name, headers in HEADERS.items():
        yield name, Sent(topic=Topic.IDENTITY_EVENTS, value=b"{}", key=b"\xff\x00", headers=headers, rejected=True)
    for name, headers in HARMLESS.items():
        value = json.dumps(HEALTHY | {"id": f"header-{name}", "subject": f"header-{name}"}).encode()
        answer = ("reply_to", reply_to.encode())
        yield name, Sent(topic=Topic.IDENTITY_EVENTS, value=value, headers=(*headers, answer))
    old = {"session_id": "old", "established_at": "0001-01-01T00:00:00Z"}
    yield "established-in-year-1", said(Topic.SESSION_ACTIVITY, "session-established", "old", old, rejected=True)
    forty_days = {"session_id": "old", "established_at": wire_time(NOW - timedelta(days=40))}
    yield "too-old", said(Topic.SESSION_ACTIVITY, "session-established", "old", forty_days, rejected=True)


def said(topic: Topic, type_: str, subject: str, data: dict[str, Any], **more: Any) -> Sent:
    rejected = more.pop("rejected", False)
    event = {"specversion": "1.0", "source": "poison", "id": f"{type_}-{subject}", "type": type_, "subject": subject}
    return Sent(topic=topic, value=json.dumps(event | {"data": data} | more).encode(), rejected=rejected)


async def test_poison_is_set_aside_as_it_came_and_its_neighbours_are_applied(service: Service) -> None:
    reply_to = service.settings.topic(Topic.GATEWAY_RECEIPTS)
    for number, (_, poison) in enumerate(poisons(reply_to)):
        partition = number % (PARTITIONS - 1)
        before, after = service.load.take(2), service.load.take(2)
        await service.produce([replace(sent, partition=partition) for sent in (*before, poison, *after)])

    service.start(env={"REVOKER_LOG_LEVEL": "debug"})
    await service.finish()

    aside = [origin(record.headers) for record in await service.read(Topic.REJECTED_EVENTS)]
    assert max(Counter(aside).values()) == 1, service.about(Counter(aside).most_common(3))
    assert await service.read(Topic.GATEWAY_RECEIPTS) == [], "somebody obeyed reply_to"


async def test_times_that_cannot_be_are_clamped_and_the_event_applies(service: Service) -> None:
    far, ancient = wire_time(NOW + timedelta(days=3650)), "0001-01-01T00:00:00.000000Z"
    await service.produce([service.load.established("soon", session_id="now", established_at=None)])
    await service.produce(
        [
            said(Topic.IDENTITY_EVENTS, "password-changed", "soon", {}, time=far),
            service.load.established("once", session_id="once-1"),
            said(Topic.IDENTITY_EVENTS, "password-changed", "once", {}, time=ancient),
            said(Topic.IDENTITY_EVENTS, "logged-out", "once", {"session_id": "once-2"}, time=ancient),
            service.load.established("once", session_id="once-2"),
            service.load.established("ahead", session_id="ahead-1", established_at=far),
        ]
    )

    consumer = service.start()
    await service.settled()
    later = service.load.established("soon", session_id="later", established_at=None)
    await service.produce([later])
    name = service.settings.topic(Topic.IDENTITY_EVENTS)
    clamped = await consumer.metric(f'revoker_clamped_total{{topic="{name}"}}')
    await service.finish()

    live = {row[0] for row in await service.rows("select session_id from sessions where ended_at is null")}
    assert live == {"once-1", "ahead-1", "later"}
    assert clamped


async def test_an_event_said_a_hundred_times_ends_once_and_is_told_under_one_id(service: Service) -> None:
    event = service.load.event("password-changed", "echo", time=wire_time(NOW))
    await service.produce([service.load.established("echo", session_id="echo-1")])
    service.start()
    await service.settled()

    await service.produce([replace(event, partition=number % PARTITIONS) for number in range(100)])
    await service.finish()

    assert len({record.value for record in await service.read(Topic.SESSION_ENDED)}) == 1


async def test_another_content_under_a_known_id_applies_too_and_raises_an_alarm(service: Service) -> None:
    harmless = said(Topic.IDENTITY_EVENTS, "logged-out", "squatted", {"session_id": "none"}, id="same")
    real = said(Topic.IDENTITY_EVENTS, "password-changed", "squatted", {}, id="same")
    await service.produce([service.load.established("squatted", session_id="squatted-1")])
    await service.produce([harmless])
    consumer = service.start()
    await service.settled()
    await service.produce([real])
    await service.settled()

    assert await consumer.metric("revoker_id_conflicts_total") == 1
    await service.finish()

    [row] = await service.rows("select ended_at from sessions")
    assert row["ended_at"] is not None


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_read(service: Service, codec: str) -> None:
    await service.produce(service.load.take(200), compression=codec)

    service.start()
    await service.finish()


class NotText(str):
    """A header name as we show it; what goes over the wire is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"\xff\xfe"


@pytest.mark.parametrize("compression", [None, "lz4"])
async def test_a_header_name_that_is_not_utf_8_stops_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    """The client cannot read it, and drops what it had just taken from other partitions."""
    odd = [(NotText("\\xff\\xfe"), b"1"), ("plain", b"2")]
    event = service.load.event("password-changed", "odd", time=wire_time(NOW))
    junk = Sent(topic=Topic.IDENTITY_EVENTS, value=b"junk", rejected=True)
    await service.produce([service.load.established("odd", session_id="odd-1"), *service.load.take(100)])
    with monkeypatch.context() as patch:
        # The compiled one takes true text only.
        for module in (message_accumulator, aiokafka.producer.producer):
            patch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        good = service.load.event("password-changed", "even", time=wire_time(NOW))
        batch = [good, replace(event, headers=odd), replace(junk, headers=odd), good]
        await service.produce([replace(sent, partition=0) for sent in batch], compression)
    await service.produce(service.load.take(100))

    service.start()
    # So that we can read it back.
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))
    read_any_header()
    await service.finish()


def origin(headers: Any) -> tuple[bytes | None, ...]:
    said = dict(headers)
    return tuple(said[name] for name in REJECTED_HEADERS[1:])
