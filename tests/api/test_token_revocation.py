"""RFC 7009 and global token revocation: what clients and incident tools ask for becomes events, nothing else does."""

import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.policy import KeepRule
from revoker.gateway.testing import held
from revoker.settings import ClaimSettings, PolicyRule, Settings
from revoker.storage import sessions
from schemas.inputs import DEFAULT_INPUTS
from tests import factories, stored
from tests.api.serving import Served, serving, with_topics
from tests.issuer import ISSUER, new_key
from tests.servers import make_settings

REFRESH = "v1.opaque-refresh-token"
DIGEST = hashlib.sha256(REFRESH.encode()).hexdigest()
BLUE = {"format": "opaque", "id": "blue"}
ALICE = {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}
NOW = datetime.now(UTC)


async def register(engine: AsyncEngine, token: str, **data: Any) -> None:
    token_id = hashlib.sha256(token.encode()).hexdigest()
    began = NOW - timedelta(hours=1)
    events = [
        factories.established("s-1", client_id="web", established_at=began),
        factories.issued(token_id, time=NOW - timedelta(minutes=1), kind="refresh", **data),
    ]
    await sessions.register(engine, factories.registration(*events, appended_at=NOW), stored.MINUTE, dict)


async def revoke(served: Served, token: str, client: str | None = "web", **headers: str) -> Any:
    own = served.issuer.token(sub="service-web", client_id=client)
    return await served.ask("POST", "/v1/revoke", own, data={"token": token}, headers=headers)


async def everywhere(served: Served, sub_id: Any, **given: Any) -> Any:
    caller = served.issuer.token(**{"sub": "siem", "client_id": "siem", "scope": "revoker.global-revocation"} | given)
    return await served.ask("POST", "/v1/global-token-revocation", caller, json={"sub_id": sub_id})


def gist(events: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [(event["type"], event["subject"], event["data"]) for event in events]


async def test_an_access_token_ends_alone(publishing: Served) -> None:
    token = publishing.issuer.token(sid="s-1", jti="t-1", azp="web", lasts=300)
    answer = await revoke(publishing, token)

    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
    ((type_, subject, data),) = gist(await publishing.events())
    until = datetime.fromisoformat(data.pop("expires_at")).timestamp()
    assert (type_, subject, data) == ("token-revoked", "alice", {"token_id": "t-1", "initiator": "user"})
    # Whoever is generous about clocks must not see it come back.
    assert until > time.time() + 300 + publishing.settings.auth.skew.total_seconds() + 60


async def test_with_a_refresh_token_goes_what_was_granted(publishing: Served, writer: AsyncEngine) -> None:
    await register(writer, REFRESH, session_id="s-1", client_id="web")
    await register(writer, "alone", client_id="web")
    for hint in ("refresh_token", "access_token", "whatever"):
        own = publishing.issuer.token(client_id="web")
        sent = {"token": REFRESH, "token_type_hint": hint}
        assert (await publishing.ask("POST", "/v1/revoke", own, data=sent)).status_code == 200
    assert (await revoke(publishing, "alone")).status_code == 200

    events = gist(await publishing.events())
    assert [event[0] for event in events] == ["token-revoked", "logged-out"] * 3 + ["token-revoked"]
    assert events[0][2]["token_id"] == DIGEST
    assert events[1][1:] == ("alice", {"session_id": "s-1", "client_id": "web", "initiator": "user"})


async def test_what_is_none_of_the_clients_business_stays(publishing: Served, writer: AsyncEngine) -> None:
    await register(writer, REFRESH, session_id="s-1", client_id="web")
    await register(writer, "of nobody", session_id="s-1")
    jwt = publishing.issuer.token(sid="s-1", jti="t-1", azp="web")
    for token in (REFRESH, "of nobody", jwt):
        answer = await revoke(publishing, token, client="mobile")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    unnamed = publishing.issuer.token(sid="s-1", azp="web")
    assert (await revoke(publishing, unnamed)).json()["error"] == "unsupported_token_type"
    for token in ("unknown", DIGEST, publishing.issuer.token(exp=1), publishing.issuer.token(key=new_key("first"))):
        assert (await revoke(publishing, token)).status_code == 200
    assert (await revoke(publishing, jwt, client=None)).status_code == 401
    assert not await publishing.events()


async def test_who_waits_is_told_how_far_it_came(publishing: Served) -> None:
    token = publishing.issuer.token(sid="s-1", jti="t-1", azp="web")
    answer = await revoke(publishing, token, Prefer="wait=0")

    assert (answer.status_code, answer.json()["state"]) == (202, "requested")
    assert answer.headers["preference-applied"] == "wait=0"
    assert answer.headers["location"] == f"/v1/revocations/{answer.json()['revocation_id']}"


async def test_the_client_has_to_be_somebody(served: Served) -> None:
    sent: Any = {"data": {"token": served.issuer.token(jti="t-1")}}
    assert (await served.ask("POST", "/v1/revoke", **sent)).status_code == 401
    assert (await served.ask("POST", "/v1/revoke", served.issuer.token(exp=1), **sent)).status_code == 401
    await served.gateway.feed(held("service-web"))
    assert (await revoke(served, "x")).status_code == 403


async def test_what_kafka_or_the_database_did_not_take_is_still_valid() -> None:
    """The dead servers are dead at once: nothing listens there."""
    settings = make_settings(kafka_bootstrap_servers="127.0.0.1:1", database_url="postgresql://127.0.0.1:1/nothing")
    async with serving(settings) as served:
        token = served.issuer.token(sid="s-1", jti="t-1", azp="web")
        for answer in (await revoke(served, token), await revoke(served, REFRESH), await everywhere(served, ALICE)):
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_everything_of_a_person_ends(publishing: Served) -> None:
    for sub_id in (ALICE, {"format": "opaque", "id": "nobody heard of"}):
        answer = await everywhere(publishing, sub_id)
        assert (answer.status_code, answer.content) == (204, b"")

    events = sorted(gist(await publishing.events()), key=lambda event: event[1])
    assert [event[:2] for event in events] == [
        ("security-concern-reported", "alice"),
        ("security-concern-reported", "nobody heard of"),
    ]
    assert events[0][2]["initiator"] == "admin"
    assert "siem" in events[0][2]["reason_admin"]
    assert "keep" not in events[0][2]


@pytest.mark.parametrize(
    ("sub_id", "status"),
    [
        ({"format": "iss_sub", "iss": "https://elsewhere.example", "sub": "alice"}, 404),
        ({"format": "email", "email": "alice@example.com"}, 422),
        ({"format": "aliases", "identifiers": [ALICE]}, 422),
        ({"format": "complex", "user": {"format": "email", "email": "a@b.example"}, "tenant": BLUE}, 422),
        ({"format": "complex", "user": ALICE, "tenant": BLUE, "session": BLUE}, 422),
        ({"format": "iss_sub", "iss": ISSUER}, 400),
        ({"format": "opaque", "id": "x" * 600}, 400),
        ({"format": "opaque", "id": "\u0000"}, 400),
        ({"id": "alice"}, 400),
        ("alice", 400),
        (None, 400),
    ],
)
async def test_who_cannot_be_named_cannot_be_ended(sub_id: Any, status: int) -> None:
    async with serving(make_settings(kafka_bootstrap_servers="127.0.0.1:1")) as served:
        answer = await everywhere(served, sub_id)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert "alice" not in answer.text


async def test_a_tenant_is_named_or_bound(settings: Settings) -> None:
    blue = {"format": "complex", "user": ALICE, "tenant": BLUE}
    chosen = (await with_topics(settings)).model_copy(update={"inputs": DEFAULT_INPUTS})
    async with serving(chosen, claims=ClaimSettings(tenant="tenant")) as served:
        assert (await everywhere(served, ALICE, tenant="blue")).status_code == 204
        assert (await everywhere(served, blue, tenant="blue")).status_code == 204
        assert (await everywhere(served, blue, tenant="green")).status_code == 404
        assert (await everywhere(served, ALICE)).status_code == 403
        both = "revoker.global-revocation all-tenants"
        assert (await everywhere(served, ALICE, scope=both)).status_code == 422
        assert (await everywhere(served, blue, scope=both)).status_code == 204
        assert {event["tenant"] for event in await served.events()} == {"blue"}


async def test_a_policy_that_spares_something_is_not_hidden() -> None:
    spares = PolicyRule(keep=KeepRule.ALWAYS, keep_clients=("tv",))
    settings = make_settings(kafka_bootstrap_servers="127.0.0.1:1", policy={"security-concern-reported": spares})
    async with serving(settings) as served:
        assert (await everywhere(served, ALICE)).status_code == 422


async def test_only_those_with_the_scope_may_end_everything(served: Served) -> None:
    body = json.dumps({"sub_id": ALICE}).encode()
    sent: Any = {"content": body, "headers": {"Content-Type": "application/json"}}
    assert (await served.ask("POST", "/v1/global-token-revocation", **sent)).status_code == 401
    answer = await served.ask("POST", "/v1/global-token-revocation", served.issuer.machine("revoker.publish"), **sent)
    assert (answer.status_code, "insufficient_scope" in answer.headers["www-authenticate"]) == (403, True)
