"""`GET /v1/notifications` over real HTTP from a real Kafka: nothing is missed, whatever a reader comes back with."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete

from revoker.api.history import History
from revoker.api.stream import CutError, Stream
from revoker.api.tail import RING_BYTES
from revoker.core.revocation import Selector
from revoker.embedded import EmbeddedKafka
from revoker.service import reach
from revoker.settings import Settings
from schemas.topics import Topic
from tests.announced import ended, held, lifted
from tests.integration.sse import Feed, Reader, Service, about, feeding, made_settings, reading, serving
from tests.processes import eventually


@pytest.fixture
async def kafka_settings(kafka_bootstrap: str, topic_prefix: str) -> Settings:
    return await made_settings(kafka_bootstrap, topic_prefix)


@pytest.fixture
async def feed(kafka_settings: Settings) -> AsyncIterator[Feed]:
    async with feeding(kafka_settings) as feed:
        await feed.beat()
        yield feed


@pytest.fixture
async def service(kafka_settings: Settings, feed: Feed) -> AsyncIterator[Service]:
    async with serving(kafka_settings, feed) as service:
        yield service


def of(*subjects: str) -> list[bytes]:
    return [ended(Selector(tenant="", subject=subject), [f"s-{subject}"]) for subject in subjects]


def ids(bodies: Sequence[bytes]) -> list[str]:
    return [json.loads(body)["id"] for body in bodies]


async def caught_up(reader: Reader) -> list[str]:
    return about(await reader.until("snapshot-complete"))


async def test_first_the_past_then_what_comes(service: Service) -> None:
    past, coming = of("a", "b", "c", "d"), of("e", "f")
    await service.feed.write(*past)

    async with service.reading() as reader:
        first = await reader.next()
        assert first is not None
        assert (first.kind, first.data) == ("started", {"epoch": "e-1", "snapshot": True})
        assert sorted(await caught_up(reader)) == sorted(ids(past))
        for body in coming:
            await service.feed.write(body)
            assert [await reader.notified()] == ids([body])

    assert reader.response.headers["Content-Type"].startswith("text/event-stream")
    assert reader.response.headers["Cache-Control"] == "no-store"
    told = next(event.data for event in reader.events if event.kind == "notification" and event.data["subject"] == "a")
    assert told == json.loads(past[0])


@pytest.mark.parametrize("ring_bytes", [RING_BYTES, 4_000])
async def test_every_id_resumes_without_a_gap(kafka_settings: Settings, feed: Feed, ring_bytes: int) -> None:
    bodies = of(*(f"u-{number}" for number in range(30)))
    async with serving(kafka_settings, feed, ring_bytes=ring_bytes) as service:
        await feed.write(*bodies[:20])
        async with service.reading() as reader:
            await caught_up(reader)
            for body in bodies[20:]:
                await feed.write(body)
                await reader.notified()
            await reader.until("beat")
        seen = reader.events
        assert sorted(about(seen)) == sorted(ids(bodies))

        for number in [*range(0, len(seen), 5), len(seen) - 1]:
            async with service.reading(seen[number].id) as again:
                resumed = await caught_up(again)
            assert again.events[0].data["snapshot"] is False
            # All that came after it; and nothing twice that was read in one stretch.
            assert set(resumed) == set(about(seen[number + 1 :]))
            assert len(resumed) == len(set(resumed))


async def test_a_cursor_that_is_none_of_ours_gets_a_snapshot(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revoker.api.stream._AHEAD_SECONDS", 0.1)
    past = of("a", "b")
    await service.feed.write(*past)

    for cursor in ("", "junk", "e-2.1.1.1", "e-1.9.9.9", "e-1.0.0.0.0.0", "e-1", "e-1.-1.0.0"):
        async with service.reading(cursor) as reader:
            assert sorted(await caught_up(reader)) == sorted(ids(past)), cursor
        assert reader.events[0].data["snapshot"] is True


async def test_a_cursor_from_before_the_retention_gets_a_snapshot(service: Service) -> None:
    await service.feed.write(*of("a", "b", "c"), partition=0)
    async with service.reading() as reader:
        await caught_up(reader)
    last = of("d")
    await service.feed.write(*last, partition=0)
    async with reach.admin(service.settings) as admin:
        place = TopicPartition(service.settings.topic(Topic.SESSION_ENDED), 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=3)})

    async with serving(service.settings, service.feed) as fresh, fresh.reading("e-1.1.0.0") as again:
        assert await caught_up(again) == ids(last)

    assert again.events[0].data["snapshot"] is True


async def test_who_comes_from_a_process_that_is_ahead_is_waited_for(service: Service) -> None:
    body = of("a")
    async with service.reading("e-1.1.0.0") as reader:
        await service.feed.write(*body, partition=0)
        assert await caught_up(reader) == []

    assert reader.events[0].data["snapshot"] is False


async def test_what_nobody_needs_any_more_is_not_in_a_snapshot(kafka_settings: Settings, feed: Feed) -> None:
    now = datetime.now(UTC)
    over = ended(not_before=now - timedelta(days=2), covers_until=now - timedelta(days=1))
    gone = held({"subject": "a"}, minutes=-1)
    needed, junk = of("a"), (None, b"", b"junk", b"[]", b'{"type": 1}', b"\xff", b"[" * 5_000)
    await feed.write(over, gone, *needed)
    await feed.junk(*junk)
    async with serving(kafka_settings, feed, ring_bytes=1) as service, service.reading() as reader:
        assert await caught_up(reader) == ids(needed)


async def test_a_short_lifetime_makes_a_short_snapshot(kafka_settings: Settings, feed: Feed) -> None:
    await feed.write(*of("a"))
    await asyncio.sleep(1.5)
    late = of("b")
    await feed.write(*late)
    async with serving(kafka_settings, feed) as service:
        async with service.reading(lifetime=1) as reader:
            found = await caught_up(reader)
        async with service.reading(lifetime="soon") as refused:
            assert refused.response.status_code == 400

    assert found in ([], ids(late))


async def test_beats_tell_the_epoch_and_how_fresh_it_is(service: Service) -> None:
    async with service.reading() as reader:
        await caught_up(reader)
        beats = [(await reader.until("beat"))[-1] for _ in range(2)]

    for beat in beats:
        assert beat.data["epoch"] == "e-1"
        at = datetime.fromisoformat(beat.data["at"])
        assert abs((datetime.now(UTC) - at).total_seconds()) < 30
    assert beats[0].data["at"] < beats[1].data["at"]


async def test_while_kafka_is_away_there_are_no_beats_and_nothing_is_lost(
    own_kafka: EmbeddedKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revoker.api.tail._FRESH_SECONDS", 0.8)
    settings = await made_settings(own_kafka.bootstrap_servers, topic_prefix)
    async with feeding(settings) as feed:
        await feed.beat()
        async with serving(settings, feed) as service, service.reading() as reader:
            await reader.until("beat")
            os.kill(own_kafka.pid, signal.SIGSTOP)
            number = -1
            # It may still be told what Kafka said a moment ago.
            while number != service.tail.beat[0]:
                number = service.tail.beat[0]
                await asyncio.sleep(2)
            os.kill(own_kafka.pid, signal.SIGCONT)
            await feed.write(*(bodies := of("a", "b")))
            assert sorted([await reader.notified() for _ in bodies]) == sorted(ids(bodies))
            await reader.until("beat")


async def test_another_epoch_ends_the_stream_and_begins_anew(service: Service) -> None:
    past = of("a")
    await service.feed.write(*past)
    async with service.reading() as reader:
        await caught_up(reader)
        await service.feed.beat("e-2")
        await reader.end()
    await service.followed()

    async with service.reading(reader.events[-1].id) as again:
        assert await caught_up(again) == ids(past)
    assert again.events[0].data == {"epoch": "e-2", "snapshot": True}


async def test_partitions_that_are_added_are_read(service: Service) -> None:
    async with service.reading() as reader:
        await caught_up(reader)
        async with reach.admin(service.settings) as admin:
            await admin.create_partitions({service.settings.topic(Topic.SESSION_ENDED): NewPartitions(4)})
        await service.feed.beat(partitions=4)
        await reader.end()
    await service.followed()
    new = of("a")

    async with service.reading(reader.events[-1].id) as again:
        await caught_up(again)
        await service.feed.write(*new, partition=3)
        assert [await again.notified()] == ids(new)
    assert again.events[0].data["snapshot"] is False


async def test_one_who_does_not_read_is_cut_and_nobody_else_notices(kafka_settings: Settings, feed: Feed) -> None:
    async with serving(kafka_settings, feed, send_seconds=0.5) as service:
        host, port = service.url.removeprefix("http://").split(":")
        request = f"GET /v1/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token()}\r\n\r\n"
        lazy, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(request.encode())
        await lazy.readline()
        async with service.reading() as reader:
            await caught_up(reader)
            big = [
                ended(Selector(tenant="", subject=f"u-{n}"), [f"{n}-{'x' * 400}-{k}" for k in range(400)])
                for n in range(60)
            ]
            for body in big:
                await feed.write(body)
            assert sorted([await reader.notified() for _ in big]) == sorted(ids(big))

            async def cut() -> bool:
                return service.metrics.registry.get_sample_value("revoker_streams_cut_total") == 1

            await eventually(cut, "the reader that does not read to be cut")
            await feed.write(*(more := of("last")))
            assert [await reader.notified()] == ids(more)
        writer.close()


async def test_a_reader_that_fell_out_of_the_ring_is_cut(kafka_settings: Settings, feed: Feed) -> None:
    async with serving(kafka_settings, feed, ring_bytes=20_000) as service:
        stream = Stream(service.tail, History(kafka_settings), None, tenant=None, lifetime=None).chunks()
        text = b""
        while b"snapshot-complete" not in text:
            text = await anext(stream)
        bodies = of(*(f"u-{number}" for number in range(40)))
        await feed.write(*bodies)

        async def moved() -> bool:
            return service.tail.start > 0

        await eventually(moved, "the ring to move on")
        with pytest.raises(CutError, match="slow"):
            await _exhausted(stream)


# Who may read


async def test_only_a_token_with_the_scope_opens_the_stream(service: Service) -> None:
    async with reading(service.url, None) as nobody:
        assert nobody.response.status_code == 401
        assert nobody.response.headers["WWW-Authenticate"] == 'Bearer scope="revoker.gateway"'
    async with reading(service.url, service.issuer.token(lasts=-60)) as late:
        assert late.response.status_code == 401
        assert 'error="invalid_token"' in late.response.headers["WWW-Authenticate"]
    for scope in ("revoker.publish", "", "revoker.gateways", ["other"]):
        async with reading(service.url, service.token(scope=scope)) as other:
            assert other.response.status_code == 403
            assert 'error="insufficient_scope"' in other.response.headers["WWW-Authenticate"]
            assert other.response.headers["Content-Type"] == "application/problem+json"
    for scope in ("openid revoker.gateway", ["revoker.gateway"]):
        async with reading(service.url, service.token(scope=scope)) as good:
            assert good.response.status_code == 200


async def test_the_stream_ends_with_its_token(service: Service) -> None:
    began = time.monotonic()
    # Thirty seconds are forgiven to clocks.
    async with reading(service.url, service.token(lasts=-28)) as reader:
        assert reader.response.status_code == 200
        await reader.end()

    assert time.monotonic() - began < 30


async def test_a_tenant_sees_its_own_and_what_concerns_all(kafka_settings: Settings, feed: Feed) -> None:
    mine = ended(Selector(tenant="acme", subject="a"), ["s-1"])
    theirs = ended(Selector(tenant="other", subject="a"), ["s-2"])
    everybodys = ended(Selector(key_id="k-1"), ["s-3"])
    bodies = [mine, theirs, everybodys, held({"tenant": "other", "subject": "a"}), lifted()]
    async with serving(kafka_settings, feed, tenant="org") as service:
        await feed.write(*bodies)
        wanted = sorted(ids([mine, everybodys, bodies[4]]))
        async with reading(service.url, service.token(org="acme")) as reader:
            await reader.until("snapshot-complete")
            assert sorted(about(reader.events)) == wanted
            await feed.write(*bodies)
            assert sorted([await reader.notified() for _ in wanted]) == wanted
        async with reading(service.url, service.token(scope="revoker.gateway all-tenants")) as all_:
            assert len(await caught_up(all_)) == 2 * len(bodies)
        async with reading(service.url, service.token()) as unbound:
            assert unbound.response.status_code == 403

    seen = {event.about: event.data["data"] for event in reader.events if event.kind == "notification"}
    assert seen[ids([mine])[0]]["sessions"] == [{"session_id": "s-1", "client_id": ""}]
    assert seen[ids([everybodys])[0]]["sessions"] == []
    assert seen[ids([everybodys])[0]]["selector"] == {"key_id": "k-1"}


async def _exhausted(stream: AsyncIterator[bytes]) -> None:
    async for _ in stream:
        pass
