"""`revoker serve` as a process, on a real Kafka and with a real issuer: what a proxy sees."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from revoker.core.revocation import Selector
from revoker.gateway import Gateway, SessionClaims
from revoker.service import reach
from revoker.settings import Settings
from schemas.topics import Topic
from tests.announced import ended, held, lifted
from tests.integration.sse import Feed, feeding, made_settings, reading
from tests.issuer import AUDIENCE, Issuer, issuing
from tests.processes import PATIENCE, ROOT, Process, environment, eventually, spawn


@dataclass
class Serve:
    """The process, and who issues tokens for it."""

    process: Process
    url: str
    issuer: Issuer
    feed: Feed

    async def check(self, token: str | None = None, path: str = "/check", **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return await self.get(path, **given | headers)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await client.get(self.url + path, headers=headers)

    async def answers(self, status: int, path: str, **headers: str) -> None:
        async def found() -> bool:
            return (await self.get(path, **headers)).status_code == status

        await eventually(found, lambda: f"{status} at {path}\n{self.process.said[-3000:]}")


@asynccontextmanager
async def serving(settings: Settings, log: Path, *words: str, **more: str) -> AsyncIterator[Process]:
    process = spawn(log, environment(settings, REVOKER_HTTP_PORT="0", **more), "serve", *words)
    try:
        yield process
    finally:
        process.kill()
        await process.gone()


@pytest.fixture
async def serve(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Serve]:
    settings = await made_settings(kafka_bootstrap, topic_prefix)
    async with feeding(settings) as feed, issuing() as issuer:
        await feed.beat()
        auth = {"REVOKER_AUTH_ISSUER": issuer.url, "REVOKER_AUTH_AUDIENCE": AUDIENCE}
        async with serving(settings, tmp_path / "serve.log", **auth) as process:
            port = (await process.until("http-listening"))["port"]
            serve = Serve(process, f"http://127.0.0.1:{port}", issuer, feed)
            await serve.answers(200, "/readyz")
            yield serve


async def test_what_is_announced_is_refused_and_streamed(serve: Serve) -> None:
    token = serve.issuer.token(sid="s-1", jti="secret-id")
    headers = {"Authorization": f"Bearer {token}"}
    assert (await serve.check(token, "/check/any/path?x=1")).status_code == 200

    await serve.feed.write(held({"subject": "alice"}))
    await serve.answers(403, "/check", **headers)
    await serve.feed.write(lifted())
    await serve.answers(200, "/check", **headers)
    await serve.feed.write(body := ended(session_ids=["s-1"]))
    await serve.answers(401, "/check", **headers)

    async with reading(serve.url, serve.issuer.machine()) as reader:
        assert json.loads(body)["id"] in [event.data.get("id") for event in await reader.until("snapshot-complete")]
        stopping = asyncio.create_task(serve.process.gone())
        serve.process.signal(signal.SIGTERM)
        await reader.end()
        assert await stopping == 0
    assert token not in serve.process.said
    assert not [line for line in serve.process.events() if line["level"] == "error"]


async def test_an_http_gateway_follows_it(serve: Serve) -> None:
    await serve.feed.write(ended(Selector(tenant="", subject="bob"), ["s-2"]))
    gateway = Gateway("chat", feed_url=serve.url, feed_token=serve.issuer.machine)
    async with gateway:
        await gateway.ready(PATIENCE)
        assert gateway.find(SessionClaims(subject="bob", session_id="s-2")) is not None
        claims = SessionClaims(subject="alice", session_id="s-1")
        assert gateway.find(claims) is None
        await serve.feed.write(ended(session_ids=["s-1"]))

        async def over() -> bool:
            return gateway.find(claims) is not None

        await eventually(over, "the gateway to hear of it")


async def test_sessions_in_use_are_told_of_once_a_minute(serve: Serve) -> None:
    for _ in range(5):
        assert (await serve.check(serve.issuer.token(sid="s-1", azp="web"))).status_code == 200
    topic = f"{serve.feed.settings.topic_prefix}{Topic.SESSION_ACTIVITY}"
    async with reach.consumer(serve.feed.settings) as consumer:
        consumer.subscribe([topic])
        async with asyncio.timeout(PATIENCE):
            record: Any = await consumer.getone()
        more = await consumer.getmany(timeout_ms=500)

    event = json.loads(record.value)
    assert (record.key, event["type"], event["subject"]) == (b"alice", "session-presented", "alice")
    assert event["data"] == {"session_id": "s-1", "client_id": "web", "ip": "127.0.0.1"}
    assert not more


async def test_a_body_that_nobody_reads_harms_nobody(serve: Serve) -> None:
    headers = {"Authorization": f"Bearer {serve.issuer.token()}"}
    async with httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_connections=1)) as client:
        for size in (10, 300_000, 10, 0):
            answer = await client.post(f"{serve.url}/check/upload", headers=headers, content=b"x" * size)
            assert answer.status_code == 200


async def test_what_runs_says_so(serve: Serve) -> None:
    assert (await serve.get("/livez")).json() == {"alive": True}
    assert (await serve.get("/readyz")).json()["checks"].keys() == {"gateway", "issuer", "session-ended", "database"}
    await serve.check(serve.issuer.token())

    metrics = (await serve.get("/metrics")).text
    assert 'revoker_check_total{answer="live"} 1.0' in metrics
    assert (await serve.get("/v1/other")).status_code == 404


async def test_without_an_issuer_nobody_is_let_in(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = await made_settings(kafka_bootstrap, topic_prefix)
    async with serving(settings, tmp_path / "serve.log", "--only", "check", REVOKER_ADMIN_PORT="0") as process:
        port = (await process.until("http-listening"))["port"]
        said = await process.until("auth-not-configured")
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answers = {
                path: (await client.get(url + path, headers={"Authorization": "Bearer x"})).status_code
                for path in ("/check", "/v1/notifications", "/metrics")
            }
        live, _ = await process.ask("/livez")

    assert "[auth] issuer" in said["why"]
    assert answers == {"/check": 503, "/v1/notifications": 404, "/metrics": 404}
    assert live == 200


async def test_headers_from_everywhere_are_refused_at_the_start(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = await made_settings(kafka_bootstrap, topic_prefix)
    async with serving(settings, tmp_path / "serve.log", REVOKER_CHECK__IDENTIFY="headers") as process:
        assert await process.gone() == 2

    assert "trusted_networks" in process.said


def test_whoever_answers_check_alone_loads_neither_routes_nor_a_database() -> None:
    code = "import sys, revoker.api.serve; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert "starlette" in loaded.split()
    assert not {"fastapi", "sqlalchemy", "asyncpg", "jinja2", "babel", "maxminddb"} & set(loaded.split())
