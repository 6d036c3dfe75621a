"""What OAuth asks for, on the whole service: introspected before and after, whoever ends it. Real Kafka and PostgreSQL.

A refresh token is opaque and known by its hash; the access tokens of its session are JWTs that nobody registers.
"""

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.fields import wire_time
from tests.faults.history import Service
from tests.issuer import AUDIENCE, Issuer, issuing
from tests.processes import PATIENCE, environment, eventually, spawn

REFRESH = "v1.the-refresh-token"
WAIT = {"Prefer": "wait=30"}


@dataclass
class World:
    """The service over HTTP, and who issues tokens for it."""

    client: httpx.AsyncClient
    issuer: Issuer

    async def post(self, path: str, token: str, **given: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} | given.pop("headers", {})
        return await self.client.post(path, headers=headers, **given)

    async def is_active(self, token: str) -> bool:
        caller = self.issuer.token(sub="files", scope="revoker.introspect")
        answer = await self.post("/v1/introspect", caller, data={"token": token})
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    async def passes(self, token: str) -> bool:
        answer = await self.client.get("/check", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code == 200

    async def closed(self, *tokens: str) -> None:
        """Returns once none of them opens anything."""

        async def over() -> bool:
            return not any([await self.is_active(one) or await self.passes(one) for one in tokens])

        await eventually(over, "introspection and /check to refuse them")

    async def sign_in(self, subject: str, session_id: str, *refresh: str) -> str:
        """An access token of the client `web`; its session and refresh tokens are registered."""
        now = wire_time(datetime.now(UTC))
        data = [("session-established", {"session_id": session_id, "client_id": "web", "established_at": now})]
        data += [
            (
                "token-issued",
                {"token_id": _digest(one), "kind": "refresh", "session_id": session_id, "client_id": "web"},
            )
            for one in refresh
        ]
        events = [
            {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "login", "type": type_, "subject": subject}
            | {"data": one, "time": now}
            for type_, one in data
        ]
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        answer = await self.post("/v1/events", self.issuer.machine("revoker.publish"), json=events, headers=kind)
        assert answer.status_code == 202, answer.text
        return self.issuer.token(sub=subject, sid=session_id, azp="web", jti=f"of-{session_id}", lasts=900)


@pytest.fixture
async def world(service: Service, tmp_path: Path) -> AsyncIterator[World]:
    async with issuing() as issuer:
        consumers = service.run()
        auth = {"REVOKER_AUTH_ISSUER": issuer.url, "REVOKER_AUTH_AUDIENCE": AUDIENCE}
        serve = spawn(tmp_path / "serve.log", environment(service.settings, REVOKER_HTTP_PORT="0", **auth), "serve")
        service.processes.append(serve)
        await consumers.until("service-started")
        port = (await serve.until("http-listening"))["port"]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:

            async def ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually(ready, lambda: f"/readyz\n{serve.said[-3000:]}")
            yield World(client, issuer)


@pytest.mark.timeout(240)
async def test_what_a_client_or_an_incident_tool_ends_is_over_everywhere(world: World) -> None:
    access = await world.sign_in("alice", "s-1", REFRESH)
    elsewhere = await world.sign_in("alice", "s-2")

    async def registered() -> bool:
        return await world.is_active(REFRESH)

    await eventually(registered, "the registry to know the refresh token")
    assert await world.is_active(access)
    assert await world.passes(access)

    own = world.issuer.token(sub="service-web", client_id="web")
    answer = await world.post("/v1/revoke", own, data={"token": REFRESH}, headers=WAIT)
    assert (answer.status_code, answer.json()["state"]) == (200, "committed"), answer.text
    assert not await world.is_active(REFRESH)
    await world.closed(access)
    assert await world.is_active(elsewhere)
    assert (await world.post("/v1/revoke", own, data={"token": REFRESH})).status_code == 200

    tool = world.issuer.token(sub="siem", client_id="siem", scope="revoker.global-revocation")
    subject = {"sub_id": {"format": "iss_sub", "iss": world.issuer.url, "sub": "alice"}}
    answer = await world.post("/v1/global-token-revocation", tool, json=subject, headers=WAIT)
    assert (answer.status_code, answer.json()["state"]) == (200, "committed"), answer.text
    seen = await world.client.get(answer.headers["location"], headers={"Authorization": f"Bearer {_responder(world)}"})
    assert seen.json()["cause"] == "security-concern-reported"
    await world.closed(elsewhere)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _responder(world: World) -> str:
    return world.issuer.token(sub="rita", roles=["responder"])
