"""A gateway at work: what it cuts, whom it tells, and what its receipts claim."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from revoker.core.claims import SessionClaims
from revoker.core.index import Index
from revoker.core.verdicts import Revocation
from revoker.gateway.callbacks import Ended
from revoker.gateway.errors import GatewayUnavailable
from revoker.gateway.gateway import Gateway
from revoker.gateway.health import Stale
from schemas import codec, inputs
from schemas.fields import wire_time
from tests import feeding
from tests.feeding import Topics, until_health

BEFORE = time.time() - 600


@pytest.fixture
async def topics(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Topics]:
    async with feeding.topics(kafka_bootstrap, topic_prefix) as made:
        await made.create(1)
        await made.beat(partitions=1)
        yield made


def gateway(topics: Topics, **given: Any) -> Gateway:
    return Gateway("chat", **{"bootstrap_servers": topics.bootstrap, "topic_prefix": topics.prefix} | given)


def someone(subject: str = "alice", session_id: str = "s-1") -> SessionClaims:
    return SessionClaims(subject=subject, session_id=session_id, established_at=BEFORE)


class Socket:
    """A connection that closes, or does not."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.verdicts: list[object] = []
        self.hangs = hangs
        self.aborted = False

    async def close(self, verdict: object) -> None:
        self.verdicts.append(verdict)
        if self.hangs:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                self.aborted = True
                raise


async def test_what_ends_is_cut_at_once_and_the_receipt_says_so(topics: Topics) -> None:
    alice, bob = Socket(), Socket()
    async with gateway(topics) as chat:
        await chat.ready(feeding.SECONDS)
        chat.connections.add(someone("alice"), alice.close)
        chat.connections.add(someone("bob"), bob.close)
        chat.drop_cached(lambda ended: len(ended.session_ids))
        value = feeding.notice("alice", "s-1", "s-2")
        await topics.end(value)
        await feeding.until(lambda: alice.verdicts)
        receipts = await topics.told(lambda told: any(receipt["applied"] for receipt in told))

        assert isinstance(alice.verdicts[0], Revocation)
        assert not bob.verdicts
        assert receipts[-1]["applied"] == [
            {
                "revocation_id": feeding.revocation_of(value),
                "applied_at": receipts[-1]["applied"][0]["applied_at"],
                "connections_dropped": 1,
                "cached_sessions_dropped": 2,
            }
        ]
        assert receipts[-1]["position"] == "e1.1"
    assert len(bob.verdicts) == 1  # the gateway stopped: nobody watches over it any more
    assert isinstance(bob.verdicts[0], Stale)


async def test_no_receipt_is_past_a_drop_that_still_runs(topics: Topics) -> None:
    stuck = Socket(hangs=True)
    async with gateway(topics, close_grace=1.0) as chat:
        await chat.ready(feeding.SECONDS)
        chat.connections.add(someone("alice"), stuck.close)
        await topics.end(feeding.notice("alice"), feeding.notice("bob"))
        await feeding.until(lambda: stuck.verdicts)
        # The one behind it is applied, and refused from now on; nothing of it is claimed.
        await feeding.until(lambda: chat.find(someone("bob")) is not None)
        while not stuck.aborted:
            assert chat.health().position == "e1.0"
            await asyncio.sleep(0.02)
        await until_health(chat.health, lambda health: health.position == "e1.2")


async def test_a_callback_that_fails_stops_neither_the_others_nor_the_position(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Ended] = []

    def fails(ended: Ended) -> None:
        raise RuntimeError(ended.subject)

    async def works(ended: Ended) -> None:
        await asyncio.sleep(0)
        told.append(ended)

    async with gateway(topics) as chat:
        chat.on_ended(fails)
        chat.on_ended(works)
        chat.drop_cached(fails)  # type: ignore[arg-type]  # what other people write
        await topics.end(feeding.notice("alice", "s-1"))
        await until_health(chat.health, lambda health: health.position == "e1.1")

    assert [(ended.subject, ended.session_ids, ended.revocation.cause) for ended in told] == [
        ("alice", ("s-1",), "password-changed")
    ]
    assert "callback-failed" in caplog.text


async def test_a_hold_cuts_and_the_receipt_names_it(topics: Topics) -> None:
    held = {
        "specversion": "1.0",
        "type": "hold-placed",
        "id": "n-1",
        "source": "revoker",
        "tenant": "",
        "subject": "alice",
        "data": {
            "hold_id": "h-1",
            "selector": {"tenant": "", "subject": "alice"},
            "until": wire_time(datetime.now(UTC) + timedelta(hours=1)),
            "reason_user": {"en": "We are looking into it"},
        },
    }
    socket = Socket()
    async with gateway(topics) as chat:
        await chat.ready(feeding.SECONDS)
        chat.connections.add(someone(), socket.close)
        await topics.end(json.dumps(held).encode())
        await feeding.until(lambda: socket.verdicts)
        receipts = await topics.told(lambda told: any(receipt["applied"] for receipt in told))

    assert receipts[-1]["applied"][0]["revocation_id"] == "h-1"


async def test_a_life_in_receipts(topics: Topics) -> None:
    chat = gateway(topics, mode="strict", max_staleness=5.0, instance="pod-1")
    async with chat:
        await chat.ready(feeding.SECONDS)
        chat.check(someone())
        await topics.told(lambda told: any(receipt["state"] == "serving" for receipt in told))
    first = chat.health()
    async with chat:
        await chat.ready(feeding.SECONDS)
    receipts = await topics.told(lambda told: [receipt["state"] for receipt in told].count("stopped") == 2)

    assert first.state == "stopped"
    states = [receipt["state"] for receipt in receipts]
    assert states[0] == "replaying"
    assert states[-1] == "stopped"
    assert len({receipt["incarnation"] for receipt in receipts}) == 2
    assert {receipt["instance"] for receipt in receipts} == {"pod-1"}
    last = next(receipt for receipt in receipts if receipt["state"] == "stopped")
    assert last["attributes"] == ["established_at", "session_id", "subject"]
    assert (last["mode"], last["max_staleness"], last["epoch"]) == ("strict", 5.0, "e1")


async def test_every_receipt_is_one_that_the_service_reads(topics: Topics) -> None:
    async with gateway(topics) as chat:
        await chat.ready(feeding.SECONDS)
        await topics.end(feeding.notice("alice"))
        await until_health(chat.health, lambda health: health.position == "e1.1")
        verdict = chat.find(someone())
        assert isinstance(verdict, Revocation)
        chat.refused(someone(), verdict, ip="::ffff:203.0.113.9")
        chat.refused(someone(), verdict, ip="not an address", verified=True)
        receipts = await topics.told(lambda told: any(receipt["refused"] for receipt in told))

    assert receipts[-1]["refused"] == [
        {"revocation_id": verdict.id, "count": 2, "last_ip": "203.0.113.9", "verified": True}
    ]
    for receipt in receipts:
        event = {"specversion": "1.0", "type": "gateway-receipt", "id": "1", "source": "x", "data": receipt}
        codec.decode(
            codec.RECEIPTS,
            inputs.Input(topic="gateway-receipts", lane=inputs.Lane.REGISTRATION),
            json.dumps(event).encode(),
        )


async def test_a_strict_gateway_serves_nobody_before_the_service_knows_of_it(
    topics: Topics,
) -> None:
    await topics.admin.delete_topics([topics.receipts])
    async with gateway(topics, mode="strict") as unknown:
        await until_health(unknown.health, lambda health: health.synced)
        assert isinstance(unknown.check(someone()), Stale)
        assert unknown.health().state == "replaying"
        assert unknown.health().receipts is not None
        with pytest.raises(GatewayUnavailable):
            await unknown.ready(0.2)

        await topics.create_one(topics.receipts, 1)
        await unknown.ready(feeding.SECONDS)

        assert unknown.check(someone()) is None


def test_without_a_way_for_receipts_it_says_that_nobody_hears_of_it() -> None:
    alone = Gateway("chat", redis_url="redis://nowhere.invalid", mode="strict")

    assert "receipts need" in (alone.health().receipts or "")
    assert alone.health().error == "not started"


async def test_a_full_index_is_loud_and_holds_the_position(topics: Topics, caplog: pytest.LogCaptureFixture) -> None:
    bound = Index().size_bytes + 100_000
    await topics.end(
        *[feeding.notice(f"user-{number}", *[f"s-{number}-{i}" for i in range(20)]) for number in range(400)]
    )
    async with gateway(topics, mode="strict", max_bytes=bound) as small:
        health = await until_health(small.health, lambda health: "full" in (health.error or ""))
        stale = small.check(someone("nobody"))

        assert not health.synced
        assert isinstance(stale, Stale)
        assert 0 < int(health.position.removeprefix("e1.")) < 400
        assert "index-full" in caplog.text

    async with gateway(topics, max_bytes=bound, receipts=False) as lenient:
        await until_health(lenient.health, lambda health: "full" in (health.error or ""))
        assert isinstance(lenient.find(someone("user-0")), Revocation)
        assert lenient.check(someone("nobody")) is None


async def test_room_in_the_index_lets_it_go_on(topics: Topics) -> None:
    bound = Index().size_bytes + 100_000
    soon = datetime.now(UTC) + timedelta(seconds=4)
    many = [
        feeding.notice(f"user-{number}", *[f"s-{number}-{i}" for i in range(20)], covers_until=soon)
        for number in range(400)
    ]
    await topics.end(*many, feeding.notice("alice"))
    async with (
        feeding.repeating(lambda: topics.beat(partitions=1), 0.5),
        gateway(topics, mode="strict", max_bytes=bound) as small,
    ):
        await until_health(small.health, lambda health: "full" in (health.error or ""))
        await until_health(small.health, lambda health: health.synced and health.position == "e1.401")
        await small.ready(feeding.SECONDS)

        assert isinstance(small.check(someone()), Revocation)
        assert small.check(someone("bob")) is None


async def test_what_covers_nobody_any_more_is_forgotten_by_the_clock_of_the_service(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    await topics.end(feeding.notice("alice", covers_until=now + timedelta(seconds=2)))
    await topics.end(feeding.notice("bob", covers_until=now + timedelta(hours=1)))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    async with feeding.repeating(lambda: topics.beat(partitions=1), 0.5), gateway(topics) as chat:
        await until_health(chat.health, lambda health: health.position == "e1.2")
        await feeding.until(lambda: chat._instance.index.counts().subjects == 1)
        await asyncio.sleep(0.5)

        assert chat.find(someone("alice")) is None
        assert isinstance(chat.find(someone("bob")), Revocation)


async def test_a_thread_has_a_gateway_of_its_own(topics: Topics) -> None:
    await topics.end(feeding.notice("alice"))
    shared = gateway(topics, mode="strict", receipts=False)

    def in_thread() -> Any:
        with shared.run_in_thread() as thread:
            assert shared.run_in_thread() is thread
            thread.ready(feeding.SECONDS)
            return shared.check(someone()), shared.check(someone("bob"))

    verdicts = await asyncio.to_thread(in_thread)

    assert isinstance(verdicts[0], Revocation)
    assert verdicts[1] is None
    assert shared.health().state == "stopped"
