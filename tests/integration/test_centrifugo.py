"""The recipe for Centrifugo: its program on a real Kafka, and all of it in the real one where that is on the PATH."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from aiokafka import AIOKafkaConsumer
from joserfc import jwt
from joserfc.jwk import OctKey

from revoker.embedded import EmbeddedKafka
from revoker.embedded.ports import free_ports
from tests import feeding
from tests.feeding import Topics
from tests.integration.proxied import RECIPES
from tests.processes import PATIENCE, eventually, spawned
from tests.programs import on_path

SECRET = "not-a-secret-of-anybody-0123456789"
COMMANDS = "centrifugo-commands"


def token(subject: str) -> str:
    return jwt.encode({"alg": "HS256"}, {"sub": subject, "exp": int(time.time()) + 600}, OctKey.import_key(SECRET))


def config(folder: Path, bootstrap: str, port: int) -> Path:
    """The recipe's, with this test's addresses, and what a Centrifugo needs besides."""
    told = json.loads((RECIPES / "centrifugo.json").read_text())
    told["consumers"][0]["kafka"]["brokers"] = [bootstrap]
    told |= {
        "http_server": {"address": "127.0.0.1", "port": port},
        "client": {"token": {"hmac_secret_key": SECRET}, "allowed_origins": ["*"]},
    }
    written = folder / "centrifugo.json"
    written.write_text(json.dumps(told))
    return written


@asynccontextmanager
async def running(folder: Path, bootstrap: str) -> AsyncIterator[str]:
    """Centrifugo; the address of its WebSocket."""
    program = on_path("centrifugo")
    [port] = free_ports(1)
    log = folder / "centrifugo.log"
    process = program.start("--config", config(folder, bootstrap, port), log=log)

    async def answers() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        await eventually(answers, lambda: log.read_text()[-3000:])
        yield f"ws://127.0.0.1:{port}/connection/websocket"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)


async def replied(client: Any, id_: int) -> dict[str, Any]:
    """The reply to command `id_`; the server's pings are answered meanwhile."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for line in (await client.recv()).splitlines():
                message: dict[str, Any] = json.loads(line)
                if not message:
                    await client.send("{}")
                elif message.get("id") == id_:
                    return message


@asynccontextmanager
async def connected(address: str, subject: str) -> AsyncIterator[Any]:
    async with websockets.connect(address, proxy=None, open_timeout=PATIENCE) as client:
        await client.send(json.dumps({"id": 1, "connect": {"token": token(subject)}}))
        assert "connect" in await replied(client, 1)
        yield client


@asynccontextmanager
async def recipe(folder: Path, prefix: str) -> AsyncIterator[Topics]:
    """Its program on a Kafka of its own: the topic that it writes has one name everywhere."""
    async with EmbeddedKafka() as kafka, feeding.topics(kafka.bootstrap_servers, prefix) as topics:
        await topics.create(2)
        await topics.create_one(COMMANDS, 1)
        await topics.beat()
        env = {"REVOKER_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "REVOKER_TOPIC_PREFIX": prefix}
        process = spawned(folder / "recipe.log", env, sys.executable, str(RECIPES / "centrifugo.py"))
        try:
            await topics.told(lambda told: any(receipt["state"] == "serving" for receipt in told))
            yield topics
        finally:
            process.kill()
            await process.gone()


async def test_its_program_says_whom_to_disconnect(tmp_path: Path, topic_prefix: str) -> None:
    async with recipe(tmp_path, topic_prefix) as topics:
        await topics.end(feeding.notice("alice", "s-1"))
        consumer = AIOKafkaConsumer(COMMANDS, bootstrap_servers=topics.bootstrap, auto_offset_reset="earliest")
        async with consumer, asyncio.timeout(PATIENCE):
            told = await consumer.getone()

    disconnect = {"code": 4401, "reason": "password-changed"}
    assert json.loads(told.value) == {"method": "disconnect", "payload": {"user": "alice", "disconnect": disconnect}}
    assert told.key == b"alice"


@pytest.mark.timeout(240)
async def test_whose_session_ends_is_disconnected_and_nobody_else(tmp_path: Path, topic_prefix: str) -> None:
    on_path("centrifugo")
    async with (
        recipe(tmp_path, topic_prefix) as topics,
        running(tmp_path, topics.bootstrap) as address,
        connected(address, "alice") as alice,
        connected(address, "bob") as bob,
    ):
        await topics.end(feeding.notice("alice", "s-1"))
        async with asyncio.timeout(PATIENCE):
            await alice.wait_closed()
        await bob.send(json.dumps({"id": 2, "rpc": {"method": "any", "data": {}}}))

        assert (alice.close_code, alice.close_reason) == (4401, "password-changed")
        assert (await replied(bob, 2))["id"] == 2
