"""Logging out on the whole service: `revoker serve` and the consumers as processes, real Kafka and PostgreSQL.

What is asked for over HTTP is committed and enforced when the answer says so, and whatever is down, it is never lost.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.fields import wire_time
from schemas.topics import Topic
from tests.faults.history import Service
from tests.faults.load import Sent
from tests.issuer import AUDIENCE, Issuer, issuing
from tests.processes import PATIENCE, Process, environment, eventually, spawn

COOKIES = json.dumps([{"name": "sid", "holds": "hash"}, {"name": "remember", "holds": "remember-me"}])
SAME = {"Sec-Fetch-Site": "same-origin"}


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass
class World:
    """All of it, and who issues tokens."""

    service: Service
    issuer: Issuer
    client: httpx.AsyncClient
    serve: Process
    consumers: Process

    def bearer(self, sid: str, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token(sid=sid, **claims)}"}

    async def register(self, *sessions: str, subject: str = "alice", tokens: tuple[str, ...] = ()) -> None:
        """Sign-ins and remember-me tokens, once the registry knows them."""
        data = [
            ("session-established", {"session_id": one, "established_at": wire_time(datetime.now(UTC))})
            for one in sessions
        ]
        data += [("token-issued", {"token_id": one, "kind": "remember-me"}) for one in tokens]
        events = [
            {
                "specversion": "1.0",
                "type": type_,
                "source": "login",
                "id": f"{type_}-{number}-{subject}-{sessions}",
                "subject": subject,
                "data": one,
            }
            for number, (type_, one) in enumerate(data)
        ]
        await self.service.produce(
            [Sent(topic=Topic.SESSION_ACTIVITY, value=json.dumps(one).encode(), key=subject.encode()) for one in events]
        )

        async def known() -> bool:
            rows = await self.service.rows("select session_id from sessions union all select token_id from tokens")
            return {*sessions, *tokens} <= {row[0] for row in rows}

        await eventually(known, "the registry to know them")

    async def live(self) -> set[str]:
        found = await self.service.rows(
            "select session_id from sessions where ended_at is null union all "
            "select token_id from tokens where ended_at is null"
        )
        return {row[0] for row in found}

    async def leave(self, headers: dict[str, str], **query: str) -> httpx.Response:
        return await self.client.post("/logout", headers=headers, params=query)


@pytest.fixture
async def world(service: Service, tmp_path: Path) -> AsyncIterator[World]:
    async with issuing() as issuer:
        consumers = service.run()
        env = environment(
            service.settings,
            REVOKER_HTTP_PORT="0",
            REVOKER_AUTH_ISSUER=issuer.url,
            REVOKER_AUTH_AUDIENCE=AUDIENCE,
            REVOKER_COOKIES=COOKIES,
        )
        serve = spawn(tmp_path / "serve.log", env, "serve")
        service.processes.append(serve)
        await consumers.until("service-started")
        port = (await serve.until("http-listening"))["port"]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            world = World(service, issuer, client, serve, consumers)

            async def ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually(ready, lambda: f"/readyz\n{serve.said[-3000:]}")
            yield world


@pytest.mark.timeout(240)
async def test_who_is_logged_out_is_out(world: World) -> None:
    await world.register("s-1", "s-2", "s-3", digest("opaque"), tokens=(digest("me"),))
    enforced = {"Prefer": "wait=30"}

    one = await world.leave(world.bearer("s-1") | enforced, until="enforced")
    assert (one.status_code, one.json()["state"]) == (200, "enforced")
    # Our own /check is one of the gateways that had to prove it.
    assert (await world.client.get("/check", headers=world.bearer("s-1"))).status_code == 401
    assert (await world.client.get("/check", headers=world.bearer("s-2"))).status_code == 200
    again = await world.leave(world.bearer("s-1", lasts=-60))
    assert (again.json()["state"], again.json()["revocation_id"]) == ("enforced", one.json()["revocation_id"])

    opaque = await world.leave({"Cookie": "sid=opaque; remember=me"} | SAME)
    assert opaque.json()["state"] == "committed"
    assert await world.live() == {"s-2", "s-3"}

    others = await world.leave(world.bearer("s-3") | enforced, scope="others")
    assert others.json()["state"] in {"committed", "enforced"}
    assert await world.live() == {"s-3"}
    refused = await world.leave(world.bearer("s-2"), scope="everywhere")
    assert refused.status_code == 401
    assert await world.live() == {"s-3"}

    # Whom it concerns may look; nobody else learns that there is anything.
    place = f"/v1/revocations/{one.json()['revocation_id']}"
    mine = await world.client.get(place, headers=world.bearer("s-3"))
    assert (mine.json()["state"], mine.json()["cause"], mine.json()["sessions_ended"]) == ("enforced", "logged-out", 1)
    for others_ in (
        world.bearer("b-1", sub="bob"),
        {"Authorization": f"Bearer {world.issuer.machine('revoker.gateway')}"},
    ):
        assert (await world.client.get(place, headers=others_)).status_code == 404
    for allowed in (
        world.bearer("c-1", sub="carol", roles=["auditor"]),
        {"Authorization": f"Bearer {world.issuer.machine('revoker.publish')}"},
    ):
        assert (await world.client.get(place, headers=allowed)).status_code == 200
    assert (await world.client.get(place)).status_code == 401
    assert (await world.client.get("/v1/revocations/nonsense", headers=world.bearer("s-3"))).status_code == 400

    assert not [line for line in world.serve.events() if line["level"] == "error"]
    assert "opaque" not in world.serve.said


@pytest.mark.timeout(240)
async def test_what_kafka_took_happens_though_everybody_else_was_dead(world: World) -> None:
    await world.register("s-1", "s-2")
    world.consumers.kill()
    await world.consumers.gone()

    asked = await world.leave(world.bearer("s-1"))
    assert (asked.status_code, asked.json()["state"]) == (200, "requested")
    assert [one.partition("=")[0] for one in asked.headers.get_list("set-cookie")] == ["sid", "remember"]
    place = f"/v1/revocations/{asked.json()['revocation_id']}"
    assert (await world.client.get(place, headers=world.bearer("s-2"))).status_code == 404
    waiting = asyncio.create_task(
        world.client.get(place, headers=world.bearer("s-2") | {"Prefer": "wait=30"}, params={"until": "enforced"})
    )
    world.service.run()

    async def out() -> bool:
        return (await world.client.get("/check", headers=world.bearer("s-1"))).status_code == 401

    await eventually(out, "the consumers to come back")
    answer = await waiting
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=30")
    assert answer.json()["state"] in {"committed", "enforced"}
    assert await world.live() == {"s-2"}
