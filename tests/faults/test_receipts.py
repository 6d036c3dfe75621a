"""kill -9 of whoever takes receipts in: nothing is lost, counted twice, or unproven again; and receipts that lie."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from revoker.kafka import producer_options
from schemas.fields import wire_time
from schemas.topics import Topic
from tests.faults.driver import STEPS
from tests.faults.history import Service
from tests.faults.load import Sent
from tests.processes import eventually

GATEWAYS = ("chat", "mail", "feed")
REVOCATIONS = 4


def _receipt(gateway: str, epoch: str, vector: Sequence[int], **data: Any) -> bytes:
    said = {
        "gateway": gateway,
        "instance": f"{gateway}-1",
        "incarnation": f"{gateway}-1",
        "epoch": epoch,
        "state": "serving",
        "mode": "best_effort",
        "max_staleness": 10,
        "attributes": ["subject", "session_id"],
        "at": wire_time(datetime.now(UTC)),
        "position": ".".join([epoch, *map(str, vector)]),
    }
    envelope = {"specversion": "1.0", "type": "gateway-receipt", "source": gateway, "id": str(uuid.uuid4())}
    return json.dumps(envelope | {"data": said | data}).encode()


class Talkers:
    """Gateways that report, and what they reported."""

    def __init__(self, service: Service, producer: AIOKafkaProducer) -> None:
        self.service = service
        self._producer = producer
        self._topic = service.settings.topic(Topic.GATEWAY_RECEIPTS)
        self.cut = 0
        self.refused = 0

    async def say(self, ids: Sequence[str], position: Sequence[int], times: int = 10) -> None:
        [row] = await self.service.rows("select epoch from feeds")
        for number in range(times):
            for gateway in GATEWAYS:
                applied = [
                    {"revocation_id": id_, "applied_at": "2026-11-21T09:00:00Z", "connections_dropped": 1}
                    for id_ in ids
                ]
                refused = [{"revocation_id": id_, "count": number + 1} for id_ in ids]
                value = _receipt(gateway, str(row["epoch"]), position, applied=applied, refused=refused)
                await self._producer.send_and_wait(self._topic, value, key=gateway.encode())
                self.cut += len(ids)
                self.refused += len(ids) * (number + 1)

    async def stored(self) -> tuple[int, int]:
        [row] = await self.service.rows(
            "select coalesce(sum(connections), 0)::int, coalesce(sum(refused), 0)::int from gateway_effects"
        )
        return row[0], row[1]


async def _revoked(service: Service) -> list[str]:
    """The ids of a few revocations, announced by a process that runs on."""
    events = [
        Sent(topic=Topic.IDENTITY_EVENTS, value=json.dumps(_event(number)).encode(), key=f"u-{number}".encode())
        for number in range(REVOCATIONS)
    ]
    await service.produce(events)

    async def announced() -> list[str]:
        found = await service.rows(
            "select r.id from revocations r join batches b on b.id = r.batch_id where b.announced_at is not null"
        )
        return [str(row["id"]) for row in found] if len(found) == REVOCATIONS else []

    return await eventually(announced, "revocations to be announced")


def _event(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "password-changed",
        "source": "login",
        "id": f"e-{number}",
        "subject": f"u-{number}",
    }


async def test_a_kill_between_any_two_steps_loses_no_receipt_and_counts_none_twice(service: Service) -> None:
    first = service.start()
    ids = await _revoked(service)
    first.kill()
    await first.gone()
    async with AIOKafkaProducer(**producer_options(service.settings)) as producer:
        talkers = Talkers(service, producer)
        await talkers.say(ids, [0, 0, 0, 0])
        for step in STEPS:
            service.arm(f"receipts.{step}")
            process = service.start()
            await talkers.say(ids, [0, 0, 0, 0], times=3)
            assert await process.gone() == -9, service.about(f"{step}: {process.said[-3000:]}")
        last = service.start()
        ends = await service.ends(Topic.SESSION_ENDED)
        await talkers.say(ids, [ends[number] for number in sorted(ends)], times=1)

        async def enforced() -> bool:
            return not await service.rows("select 1 from batches where enforced_at is null")

        await eventually(enforced, lambda: service.about(last.said[-3000:]))
        before = await service.rows("select enforced_at, proof_id from batches order by id")
        last.kill()
        await last.gone()
        last = service.start()
        await talkers.say(ids, [0, 0, 0, 0], times=1)

        async def counted() -> bool:
            return await talkers.stored() == (talkers.cut, talkers.refused)

        await eventually(counted, lambda: service.about((talkers.cut, talkers.refused, last.said[-3000:])))
    assert await service.rows("select enforced_at, proof_id from batches order by id") == before


async def test_bad_receipts_are_set_aside_and_their_neighbours_taken_in(service: Service) -> None:
    process = service.start()
    ids = await _revoked(service)
    topic = service.settings.topic(Topic.GATEWAY_RECEIPTS)
    async with AIOKafkaProducer(**producer_options(service.settings)) as producer:
        talkers = Talkers(service, producer)
        for bad in (None, b"", b"junk", b"\xff\x00", b"[" * 50_000, _receipt("chat", "e", [1], state="dead")):
            await producer.send_and_wait(topic, bad, key=b"chat")
        await producer.send_and_wait(
            topic, _receipt("chat", "e", [1]), key=b"chat", headers=[("a", None), ("b", b"\xff")]
        )
        await producer.send_and_wait(
            topic,
            _receipt("liar", "e", [1], position="e.x", max_staleness=1e300, at="9999-01-01T00:00:00Z"),
            key=b"chat",
        )
        ends = await service.ends(Topic.SESSION_ENDED)
        await talkers.say(ids, [ends[number] for number in sorted(ends)], times=2)

        async def taken() -> bool:
            return await talkers.stored() == (talkers.cut, talkers.refused)

        await eventually(taken, lambda: service.about(process.said[-3000:]))
    assert len(await service.read(Topic.REJECTED_EVENTS)) == 6
    assert not await service.rows("select 1 from batches where enforced_at is not null")
    [liar] = await service.rows(
        "select position, at <= heard_at + interval '1 s' as clamped from gateways where gateway = 'liar'"
    )
    assert (liar["position"], liar["clamped"]) == (None, True)
