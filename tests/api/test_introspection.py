"""RFC 7662: active only while a token holds and nothing is over or on hold, for whoever may ask; else one answer."""

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc.jwk import ECKey
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.gateway.testing import TestGateway, ended, held, lifted
from revoker.settings import ClaimSettings, Settings
from revoker.storage import sessions
from tests import factories, stored
from tests.api.serving import Served, serving
from tests.issuer import AUDIENCE, ISSUER, new_key
from tests.servers import make_settings

INACTIVE = {"active": False}
OPAQUE = "v1.opaque-refresh-token"
DIGEST = hashlib.sha256(OPAQUE.encode()).hexdigest()
NOW = datetime.now(UTC)


async def introspected(served: Served, token: str, **claims: Any) -> Any:
    caller = served.issuer.token(**{"sub": "files", "scope": "revoker.introspect"} | claims)
    answer = await served.ask("POST", "/v1/introspect", caller, data={"token": token})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def register(engine: AsyncEngine, token: str = OPAQUE, *, session: str | None = "s-1", **data: Any) -> None:
    """A refresh token of the client `web`, issued a minute ago within a session of an hour."""
    whose = {"subject": data.pop("subject", "alice"), "tenant": data.pop("tenant", "")}
    issued = data.pop("time", NOW - timedelta(minutes=1))
    known: dict[str, Any] = {"kind": "refresh", "client_id": "web"} | data
    events = []
    if session is not None:
        began = NOW - timedelta(hours=1)
        events.append(factories.established(session, client_id="web", established_at=began, **whose))
        known["session_id"] = session
    events.append(factories.issued(hashlib.sha256(token.encode()).hexdigest(), time=issued, **whose, **known))
    outcome = await sessions.register(
        engine, factories.registration(*events, appended_at=NOW), stored.MINUTE, lambda: stored.NOWHERE
    )
    assert outcome is not None


async def test_an_access_token_is_told_as_it_is(served: Served) -> None:
    token = served.issuer.token(sid="s-1", jti="t-1", azp="web", scope="files", cnf={"jkt": "thumb"}, active="no")
    told = await introspected(served, token)

    assert told["active"] is True
    assert (told["sub"], told["iss"], told["aud"], told["jti"]) == ("alice", ISSUER, AUDIENCE, "t-1")
    assert (told["scope"], told["client_id"], told["sid"]) == ("files", "web", "s-1")
    assert (told["token_use"], told["token_type"], told["cnf"]) == ("access_token", "DPoP", {"jkt": "thumb"})
    assert time.time() < told["exp"] < time.time() + 400


async def test_what_ends_or_holds_a_session_closes_it(served: Served) -> None:
    token = served.issuer.token(sid="s-1", jti="t-1", azp="web")
    await served.gateway.feed(held("alice"))
    assert await introspected(served, token) == INACTIVE
    await served.gateway.feed(lifted())
    assert (await introspected(served, token))["active"] is True

    await served.gateway.feed(ended(None, token_id="t-1"))
    assert await introspected(served, token) == INACTIVE
    other = served.issuer.token(sid="s-1", jti="t-2", azp="web")
    assert (await introspected(served, other))["active"] is True
    await served.gateway.feed(ended("alice", sessions=["s-1"]))
    assert await introspected(served, other) == INACTIVE


async def test_what_does_not_hold_is_nothing(served: Served) -> None:
    hour = 3600
    for claims in (
        {"exp": 1},
        {"iss": "https://elsewhere.example"},
        {"aud": "https://elsewhere.example"},
        {"nbf": time.time() + hour},
        {"header": {"typ": "secevent+jwt"}},
        {"header": {"typ": "logout+jwt"}},
    ):
        assert await introspected(served, served.issuer.token(**claims)) == INACTIVE, claims


async def test_what_somebody_else_signed_is_nothing(served: Served) -> None:
    forged = new_key("first")
    assert isinstance(forged, ECKey)
    assert await introspected(served, served.issuer.token(key=forged)) == INACTIVE
    for token in ("x", "a.b.c", "..", "é", "x" * 20_000, "eyJhbGciOiJub25lIn0.e30."):
        assert await introspected(served, token) == INACTIVE


async def test_an_opaque_token_is_known_by_its_hash(served: Served, engine: AsyncEngine) -> None:
    await register(engine)
    told = await introspected(served, OPAQUE)

    assert told == {
        "active": True,
        "token_use": "refresh_token",
        "sub": "alice",
        "client_id": "web",
        "iss": ISSUER,
        "jti": DIGEST,
        "sid": "s-1",
        "iat": int((NOW - timedelta(minutes=1)).timestamp()),
        "exp": int((NOW - timedelta(minutes=1) + served.settings.sessions.lifetime).timestamp()),
    }
    # Its name opens nothing: neither as it is, nor as the id of a token that somebody made up.
    assert await introspected(served, DIGEST) == INACTIVE
    forged = served.issuer.token(key=new_key("theirs"), jti=DIGEST)
    assert await introspected(served, forged) == INACTIVE


async def test_an_opaque_token_is_over_with_its_session(served: Served, engine: AsyncEngine) -> None:
    await register(engine)
    await served.gateway.feed(held("alice"))
    assert await introspected(served, OPAQUE) == INACTIVE
    await served.gateway.feed(lifted())
    await served.gateway.feed(ended("bob"))
    assert (await introspected(served, OPAQUE))["active"] is True
    # Committed, and not announced yet: the registry knows first.
    logout = factories.decision("logged-out", data={"session_id": "s-1"}, appended_at=NOW)
    await stored.apply(engine, logout)
    assert await introspected(served, OPAQUE) == INACTIVE


async def test_the_sign_in_counts_and_not_the_refresh(served: Served, engine: AsyncEngine) -> None:
    await register(engine)
    await served.gateway.feed(ended("alice", not_before=NOW - timedelta(minutes=30)))
    assert await introspected(served, OPAQUE) == INACTIVE

    await register(engine, "later", session=None, time=NOW - timedelta(minutes=5))
    assert (await introspected(served, "later"))["active"] is True


async def test_an_expired_opaque_token_is_nothing(served: Served, engine: AsyncEngine) -> None:
    await register(engine, expires_at=NOW - timedelta(seconds=1))
    assert await introspected(served, OPAQUE) == INACTIVE


async def test_a_token_of_two_people_is_nobodys(served: Served, engine: AsyncEngine) -> None:
    await register(engine)
    await register(engine, subject="mallory", session=None)
    assert await introspected(served, OPAQUE) == INACTIVE


async def test_tenants_are_apart(database_settings: Settings, engine: AsyncEngine) -> None:
    await register(engine, tenant="blue")
    async with serving(database_settings, claims=ClaimSettings(tenant="tenant")) as served:
        jwt = served.issuer.token(sid="s-1", tenant="blue")
        for token in (jwt, OPAQUE):
            assert (await introspected(served, token, tenant="blue"))["active"] is True
            assert await introspected(served, token, tenant="green") == INACTIVE
            both = await introspected(served, token, scope="revoker.introspect all-tenants")
            assert (both["active"], both["tenant"]) == (True, "blue")
        # What another tenant registers under the same name changes nothing for this one.
        await register(engine, tenant="green")
        assert (await introspected(served, OPAQUE, tenant="blue"))["active"] is True
        assert await introspected(served, OPAQUE, scope="revoker.introspect all-tenants") == INACTIVE


async def test_nobody_guesses() -> None:
    settings = make_settings(database_url="postgresql://127.0.0.1:1/nothing")
    gateway = TestGateway(mode="strict", max_staleness=0.5)
    async with serving(settings, gateway) as served:
        caller = served.issuer.machine("revoker.introspect", sub="files")
        token = served.issuer.token(sid="s-1")
        assert (await served.ask("POST", "/v1/introspect", caller, data={"token": token})).json()["active"] is True
        unknown = await served.ask("POST", "/v1/introspect", caller, data={"token": OPAQUE})
        assert (unknown.status_code, "retry-after" in unknown.headers) == (503, True)

        served.gateway.lose_feed()
        answer = await served.ask("POST", "/v1/introspect", caller, data={"token": token})
        deadline = time.monotonic() + 30
        while answer.status_code == 200 and time.monotonic() < deadline:
            answer = await served.ask("POST", "/v1/introspect", caller, data={"token": token})
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_what_makes_no_sense_is_a_problem(served: Served) -> None:
    caller = served.issuer.machine("revoker.introspect")
    for sent, status in (
        ({"data": {"token": ""}}, 400),
        ({"data": {"token_type_hint": "access_token"}}, 400),
        ({"data": {"token": ["a", "b"]}}, 400),
        ({"data": {f"f{number}": "x" for number in range(30)}}, 400),
        ({"json": {"token": "x"}}, 415),
        ({"content": b"token=x"}, 415),
        ({"data": {"token": "x" * 70_000}}, 413),
        ({"params": {"token": "x"}}, 415),
    ):
        answer = await served.ask("POST", "/v1/introspect", caller, **sent)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), sent
        if status == 400:
            assert answer.json()["error"] == "invalid_request"


async def test_only_those_with_the_scope_may_ask(served: Served) -> None:
    sent: Any = {"data": {"token": served.issuer.token()}}
    assert (await served.ask("POST", "/v1/introspect", **sent)).status_code == 401
    answer = await served.ask("POST", "/v1/introspect", served.issuer.machine("revoker.gateway"), **sent)
    assert (answer.status_code, "insufficient_scope" in answer.headers["www-authenticate"]) == (403, True)
    assert (await served.ask("GET", "/v1/introspect")).status_code == 405
