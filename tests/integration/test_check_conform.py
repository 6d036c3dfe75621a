"""`revoker gateways conform`: our own `/check` passes it, and one that is wrong does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from revoker.api.server import answering, listen
from revoker.cli.running import Exit
from revoker.core.vectors_gateway import gateway
from revoker.settings import Settings
from tests.integration.sse import feeding, made_settings
from tests.processes import environment, spawn


@pytest.fixture
async def kafka_settings(kafka_bootstrap: str, topic_prefix: str) -> Settings:
    return await made_settings(kafka_bootstrap, topic_prefix)


async def conformed(settings: Settings, log: Path, url: str, *more: str) -> tuple[int, str]:
    process = spawn(log, environment(settings), "gateways", "conform", url, "--json", *more)
    return await process.gone(), process.said


@asynccontextmanager
async def beating(settings: Settings) -> AsyncIterator[None]:
    """Heartbeats as in life: by their times a gateway knows what time it is for the service."""
    async with feeding(settings) as feed:
        await feed.beat()

        async def go_on() -> None:
            while True:
                await asyncio.sleep(0.5)
                await feed.beat()

        beats = asyncio.create_task(go_on())
        try:
            yield
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)


async def test_our_own_check_answers_as_the_vectors_say(kafka_settings: Settings, tmp_path: Path) -> None:
    trusting = {
        "REVOKER_HTTP_PORT": "0",
        "REVOKER_CHECK__IDENTIFY": "headers",
        "REVOKER_CHECK__TRUSTED_NETWORKS": '["127.0.0.1/32"]',
    }
    async with beating(kafka_settings):
        serve = spawn(tmp_path / "serve.log", environment(kafka_settings, **trusting), "serve", "--only", "check")
        try:
            port = (await serve.until("http-listening"))["port"]
            code, said = await conformed(
                kafka_settings, tmp_path / "conform.log", f"http://127.0.0.1:{port}/check", "--wait", "30s"
            )
        finally:
            serve.kill()
            await serve.gone()

    assert json.loads(said)["wrong"] == []
    assert json.loads(said)["tried"] == 1 + len(gateway()["vectors"])
    assert code == Exit.DONE


@pytest.mark.parametrize("status", [200, 401])
async def test_an_endpoint_that_always_says_the_same_is_found_out(
    kafka_settings: Settings, tmp_path: Path, status: int
) -> None:
    async with answering_always(status) as url:
        code, said = await conformed(kafka_settings, tmp_path / "log", url, "--wait", "0s")

    told = json.loads(said)
    assert code == Exit.FAILED
    assert 10 < len(told["wrong"]) < told["tried"]
    assert {one["found"] for one in told["wrong"]} == {status}


async def test_an_endpoint_that_is_not_there_is_said_to_be(kafka_settings: Settings, tmp_path: Path) -> None:
    code, said = await conformed(kafka_settings, tmp_path / "log", "http://127.0.0.1:1/check")

    assert code == Exit.UNREACHABLE
    assert "cannot be asked" in said


@asynccontextmanager
async def answering_always(status: int) -> AsyncIterator[str]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    listening = listen("127.0.0.1", 0)
    try:
        async with answering(app, listening, asyncio.Event()):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/check"
    finally:
        listening.close()
