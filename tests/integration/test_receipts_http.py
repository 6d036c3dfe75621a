"""`POST /v1/receipts`: what is taken is on Kafka, what cannot be is refused and says why."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from revoker.service import reach
from revoker.settings import Settings
from schemas import codec
from schemas.gateway_receipts import GatewayReceipt
from schemas.topics import Topic
from tests.integration.sse import Service, feeding, made_settings, serving
from tests.processes import PATIENCE


@pytest.fixture
async def service(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Service]:
    settings = await made_settings(kafka_bootstrap, topic_prefix)
    async with feeding(settings) as feed, serving(settings, feed) as service:
        yield service


def receipt(**data: Any) -> dict[str, Any]:
    told = {
        "gateway": "chat",
        "instance": "host-7",
        "incarnation": "i-1",
        "epoch": "e-1",
        "state": "serving",
        "mode": "strict",
        "max_staleness": 10,
        "at": "2026-11-21T09:00:00.000000Z",
        "position": "e-1.1.2.3",
        "applied": [{"revocation_id": "r-1", "applied_at": "2026-11-21T09:00:00.000000Z", "connections_dropped": 2}],
    }
    envelope = {"specversion": "1.0", "type": "gateway-receipt", "id": "1", "source": "chat/host-7"}
    return envelope | {"data": told | data}


async def post(service: Service, body: object, token: str | None = None, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {token or service.token()}", "Content-Type": "application/cloudevents+json"}
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return await client.post(f"{service.url}/v1/receipts", content=content, headers=given | headers)


async def test_a_receipt_is_on_kafka_before_it_is_acknowledged(service: Service) -> None:
    answer = await post(service, receipt())

    assert (answer.status_code, answer.content) == (202, b"")
    record = await last(service.settings)
    assert record.key == b"host-7"
    taken = codec.RECEIPTS.adapter.validate_json(record.value)
    assert taken == GatewayReceipt.model_validate_json(json.dumps(receipt()))


async def test_what_is_no_receipt_is_refused_and_says_why(service: Service) -> None:
    wrong: list[tuple[object, dict[str, str], int]] = [
        (b"", {}, 400),
        (b"junk", {}, 400),
        (b"[]", {}, 400),
        ({"type": "session-ended"}, {}, 400),
        (receipt(state="happy"), {}, 400),
        (receipt(max_staleness=-1), {}, 400),
        (receipt(position="x" * 11_000), {}, 400),
        (b" " * 70_000, {}, 413),
        (receipt(), {"Content-Type": "text/plain"}, 415),
    ]
    for body, headers, status in wrong:
        answer = await post(service, body, **headers)

        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert "happy" not in answer.text


async def test_a_token_speaks_for_its_own_gateway_alone(service: Service) -> None:
    for mine in (
        service.token(client_id="chat"),
        service.token(azp="chat", client_id=None),
        service.token(client_id="edge", scope="revoker.gateway revoker.gateway:mail revoker.gateway:chat"),
    ):
        assert (await post(service, receipt(), mine)).status_code == 202

    for other in (
        service.token(client_id=None),
        service.token(client_id="Chat"),
        service.token(client_id="edge", scope="revoker.gateway revoker.gateway:chat2"),
        service.token(client_id="edge", azp="chat"),
    ):
        answer = await post(service, receipt(), other)
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


async def test_only_gateways_may_send_one(service: Service) -> None:
    assert (await post(service, receipt(), service.token(scope="revoker.publish"))).status_code == 403
    assert (await post(service, receipt(), "junk")).status_code == 401
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{service.url}/v1/receipts")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


async def test_what_kafka_does_not_take_is_to_be_sent_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("revoker.api.sending.AIOKafkaProducer.start", start)

    answer = await post(service, receipt())

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "Kafka" not in answer.text
    monkeypatch.undo()
    assert (await post(service, receipt())).status_code == 202


async def last(settings: Settings) -> Any:
    topic = settings.topic(Topic.GATEWAY_RECEIPTS)
    async with reach.consumer(settings) as consumer:
        consumer.subscribe([topic])
        async with asyncio.timeout(PATIENCE):
            return await consumer.getone()
