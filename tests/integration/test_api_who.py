"""Who is let in, as whom, and what everybody else is told."""

import hashlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from revoker.api.failing import HANDLERS
from revoker.api.who import Principal
from revoker.gateway.testing import ended, held
from revoker.settings import ClaimSettings, CookieSettings, HttpSettings, Settings
from schemas.fields import wire_time
from tests.api_service import HOME, Service, api_settings, in_process
from tests.factories import established
from tests.issuer import new_key
from tests.processes import eventually
from tests.stored import register

SAME = {"Sec-Fetch-Site": "same-origin"}
COOKIES = (
    CookieSettings(name="__Host-token", holds="token"),
    CookieSettings(name="sid", holds="hash"),
)


class Doors:
    """One route for each kind of somebody."""

    def __init__(self, service: Service) -> None:
        self.service = service
        who, router = service.parts.who, APIRouter()

        def route(path: str, ask: Any, *methods: str) -> None:
            async def told(principal: Annotated[Principal, Depends(ask)]) -> dict[str, Any]:
                claims = principal.claims
                return {
                    "subject": claims.subject,
                    "session": claims.session_id,
                    "tenant": principal.tenant,
                    "scopes": sorted(principal.scopes),
                    "roles": sorted(principal.roles),
                    "by_cookie": principal.by_cookie,
                }

            router.add_api_route(path, told, methods=list(methods) or ["GET"])

        async def fresh(request: Request) -> Principal:
            principal = await who.person(request)
            who.fresh(principal, timedelta(minutes=10))
            return principal

        route("/person", who.person, "GET", "POST", "DELETE")
        route("/v1/me/x", who.person, "GET", "DELETE")
        route("/machine", who.machine("revoker.publish"))
        route("/staff", who.staff("responder", "auditor"))
        route("/fresh", fresh)
        app = FastAPI(exception_handlers=dict(HANDLERS))
        app.include_router(router)
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME)

    async def ask(self, path: str = "/person", method: str = "GET", **headers: str) -> httpx.Response:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.request(method, path, headers=told)

    async def by_token(self, token: str, path: str = "/person", **headers: str) -> httpx.Response:
        return await self.ask(path, Authorization=f"Bearer {token}", **headers)

    async def machine(self, scope: str, path: str = "/machine", **claims: Any) -> httpx.Response:
        return await self.by_token(self.service.issuer.machine(scope, **claims), path)


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    async with in_process(api_settings(cookies=COOKIES)) as service:
        yield Doors(service)


def challenge(answer: httpx.Response) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.headers["WWW-Authenticate"])


async def test_a_token_of_the_issuer_says_who_it_is(doors: Doors) -> None:
    answer = await doors.by_token(doors.service.token())

    assert answer.status_code == 200
    assert answer.json() == {
        "subject": "alice",
        "session": "s-1",
        "tenant": "",
        "scopes": [],
        "roles": [],
        "by_cookie": False,
    }
    assert (await doors.ask(authorization=f"bearer {doors.service.token()}")).status_code == 200


async def test_nobody_is_asked_to_say_who_they_are(doors: Doors) -> None:
    for path in ("/person", "/machine", "/staff", "/v1/me/x"):
        for headers in ({}, {"Authorization": "Basic YTpi"}, {"Cookie": "other=1"}):
            answer = await doors.ask(path, **headers)

            assert answer.status_code == 401
            # Without a token there is no error to name (RFC 6750, section 3.1).
            assert "error" not in challenge(answer)


async def test_a_token_that_does_not_hold_is_refused_and_not_repeated(doors: Doors) -> None:
    issuer = doors.service.issuer
    good = doors.service.token()
    wrong = {
        "junk": "junk",
        "none": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.",
        "expired": doors.service.token(lasts=-60),
        "of another audience": doors.service.token(aud="https://other.example"),
        "of another issuer": doors.service.token(iss="https://other.example"),
        "of another key": doors.service.token(key=new_key("first")),
        "of another type": doors.service.token(header={"typ": "secevent+jwt"}),
        "a security event": doors.service.token(events={"https://schemas.openid.net/secevent/caep/event-type/x": {}}),
        "not yet": doors.service.token(nbf=time.time() + 600),
        "cut": good[:-4],
        "of nobody": issuer.token(sub=None, sid="s-1"),
        "with a claim that cannot be": doors.service.token(sid=["s-1"]),
        "endless": doors.service.token(exp=None),
    }
    for why, token in wrong.items():
        answer = await doors.by_token(token)

        assert answer.status_code == 401, why
        assert 'error="invalid_token"' in challenge(answer), why
        assert token not in answer.text + str(answer.headers)
    twice = await doors._client.get("/person", headers=[("Authorization", f"Bearer {good}")] * 2)
    assert twice.status_code == 401


async def test_an_ended_session_is_refused_here_too(doors: Doors) -> None:
    token = doors.service.token()
    await doors.service.gateway.feed(ended("alice", sessions=["s-1"], cause="password-changed"))

    for path in ("/person", "/v1/me/x"):
        answer = await doors.by_token(token, path)
        assert answer.status_code == 401
        assert challenge(answer) == 'Bearer error="invalid_token", error_description="password-changed"'
        assert answer.json()["cause"] == "password-changed"
    assert (await doors.machine("revoker.publish", sub="alice", sid="s-1")).status_code == 401
    # A cookie that holds does not hide one that is over.
    live = doors.service.token(sid="s-2", sub="bob")
    both = f"__Host-token={live}; __Host-token={token}"
    assert (await doors.ask(Cookie=both)).status_code == 401
    assert (await doors.ask(Cookie=f"__Host-token={live}")).status_code == 200


async def test_a_held_session_is_told_that_signing_in_would_not_help(doors: Doors) -> None:
    await doors.service.gateway.feed(held("alice"))

    answer = await doors.by_token(doors.service.token())

    assert answer.status_code == 403
    assert "WWW-Authenticate" not in answer.headers
    assert answer.json()["cause"] == "held"


async def test_a_strict_service_that_cannot_know_lets_nobody_in() -> None:
    async with in_process(mode="strict", max_staleness=0.5) as service:
        doors = Doors(service)
        await service.gateway.ready(10)
        service.gateway.lose_feed()

        async def stale() -> bool:
            return service.gateway.stale() is not None

        await eventually(stale, "the gateway to know that it cannot know")

        answer = await doors.by_token(service.token())

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_a_cookie_counts_with_the_proof_of_its_page(doors: Doors) -> None:
    cookie = f"__Host-token={doors.service.token()}"
    link = {"Sec-Fetch-Site": "cross-site"}

    assert (await doors.ask(Cookie=cookie)).json()["by_cookie"] is True
    assert (await doors.ask("/person", "GET", Cookie=cookie, **link)).status_code == 200
    for path, method in (("/person", "POST"), ("/person", "DELETE"), ("/v1/me/x", "DELETE"), ("/v1/me/x", "GET")):
        assert (await doors.ask(path, method, Cookie=cookie, **SAME)).status_code == 200
        assert (await doors.ask(path, method, Cookie=cookie, Origin=HOME)).status_code == 200
        assert (await doors.ask(path, method, Cookie=cookie, **link)).status_code == 403
        assert (await doors.ask(path, method, Cookie=cookie, Origin="https://evil.example")).status_code == 403
        silent = await doors.ask(path, method, Cookie=cookie)
        assert silent.status_code == (200 if method == "GET" else 403)
    # A bearer proves it by itself: no page can make a browser send one.
    assert (await doors.by_token(doors.service.token(), "/v1/me/x", **link)).status_code == 200


async def test_a_cookie_is_for_people_alone(doors: Doors) -> None:
    cookie = f"__Host-token={doors.service.issuer.machine('revoker.publish', roles=['responder'])}"

    for path in ("/machine", "/staff"):
        assert (await doors.ask(path, Cookie=cookie, **SAME)).status_code == 401


async def test_a_machine_needs_its_scope(doors: Doors) -> None:
    assert (await doors.machine("openid revoker.publish")).status_code == 200
    for scope in ("", "revoker.publisher", "revoker.gateway", "REVOKER.PUBLISH"):
        answer = await doors.machine(scope)
        assert answer.status_code == 403
        assert challenge(answer) == 'Bearer error="insufficient_scope", scope="revoker.publish"'


@pytest.mark.parametrize(
    ("names", "claims", "roles"),
    [
        ((), {"roles": ["responder", 7]}, ["responder"]),
        ((), {"realm_access": {"roles": ["auditor", "offline"]}}, ["auditor", "offline"]),
        (
            (),
            {"roles": "auditor support", "realm_access": {"roles": ["responder"]}},
            ["auditor", "responder", "support"],
        ),
        (("https://a.example/roles",), {"https://a.example/roles": ["auditor"]}, ["auditor"]),
        (("resource_access.revoker.roles",), {"resource_access": {"revoker": {"roles": ["auditor"]}}}, ["auditor"]),
        ((), {"roles": {"responder": True}}, None),
        ((), {"realm_access": ["responder"]}, None),
        ((), {"Roles": ["responder"]}, None),
        ((), {"scope": "responder"}, None),
    ],
)
async def test_roles_come_from_where_the_settings_say(
    names: tuple[str, ...], claims: dict[str, Any], roles: list[str] | None
) -> None:
    settings = ClaimSettings(roles=names) if names else ClaimSettings()
    async with in_process(api_settings(claims=settings)) as service:
        answer = await Doors(service).by_token(service.token(**claims), "/staff")

        if roles is None:
            assert answer.status_code == 403
            assert 'error="insufficient_scope"' in challenge(answer)
        else:
            assert answer.json()["roles"] == roles


async def test_everybody_is_bound_to_a_tenant_where_there_are_several() -> None:
    async with in_process(api_settings(claims=ClaimSettings(tenant="org"))) as service:
        doors = Doors(service)

        assert (await doors.machine("revoker.publish", org="acme")).json()["tenant"] == "acme"
        assert (await doors.machine("revoker.publish all-tenants")).json()["tenant"] is None
        assert (await doors.machine("revoker.publish")).status_code == 403
        assert (await doors.by_token(service.token(org="acme"))).json()["tenant"] == "acme"
        assert (await doors.by_token(service.token())).status_code == 403
        for claims in ({}, {"org": ""}, {"org": 7}):
            refused = await doors.by_token(service.token(roles=["responder"], **claims), "/staff")
            assert refused.status_code in {401, 403}
        every = await doors.by_token(service.token(roles=["responder", "all-tenants"]), "/staff")
        assert every.json()["tenant"] is None


async def test_a_recent_sign_in_may_be_demanded(doors: Doors) -> None:
    now = int(time.time())
    assert (await doors.by_token(doors.service.token(auth_time=now - 500), "/fresh")).status_code == 200
    for auth_time in (None, now - 700):
        answer = await doors.by_token(doors.service.token(auth_time=auth_time), "/fresh")
        assert answer.status_code == 401
        assert 'error="insufficient_user_authentication"' in challenge(answer)
        assert 'max_age="600"' in challenge(answer)


async def test_without_an_issuer_nobody_gets_in(doors: Doors) -> None:
    doors.service.parts.who._verifier = None

    assert (await doors.by_token("x")).status_code == 503
    assert (await doors.ask(Cookie="__Host-token=x")).status_code == 503
    assert (await doors.machine("revoker.publish")).status_code == 503


async def test_while_the_issuer_is_away_nobody_can_tell() -> None:
    async with in_process() as service:
        service.issuer.failing = True

        answer = await Doors(service).by_token(service.token())

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


# Opaque cookies: the session id is a digest, and the registry knows whose it is.


def opaque(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@pytest.fixture
async def registered(database_settings: Settings, engine: AsyncEngine) -> AsyncIterator[Doors]:
    expires = wire_time(datetime.now(UTC) + timedelta(hours=1))
    await register(
        engine,
        established(opaque("of-alice"), client_id="web", expires_at=expires),
        established(opaque("of-two"), subject="alice", expires_at=expires),
        established(opaque("of-two"), subject="bob", expires_at=expires),
        established(opaque("of-old"), expires_at=wire_time(datetime.now(UTC) - timedelta(seconds=5))),
    )
    url = database_settings.database_url.get_secret_value()
    http = HttpSettings(origins=("https://app.example",))
    async with in_process(api_settings(cookies=COOKIES, database_url=url, http=http)) as service:
        yield Doors(service)


async def test_an_opaque_cookie_is_looked_up(registered: Doors) -> None:
    answer = await registered.ask(Cookie="sid=of-alice")

    assert answer.status_code == 200
    assert answer.json() == {
        "subject": "alice",
        "session": opaque("of-alice"),
        "tenant": "",
        "scopes": [],
        "roles": [],
        "by_cookie": True,
    }
    for cookie in ("sid=of-carol", f"sid={opaque('of-alice')}", "sid=of-two", "sid=of-old", "sid="):
        assert (await registered.ask(Cookie=cookie)).status_code == 401
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert (await registered.ask("/person", "POST", Cookie="sid=of-alice", **cross)).status_code == 403
    trusted = {"Origin": "https://app.example"} | cross
    assert (await registered.ask("/person", "POST", Cookie="sid=of-alice", **trusted)).status_code == 200


async def test_an_opaque_cookie_of_an_ended_session_is_refused(registered: Doors) -> None:
    await registered.service.gateway.feed(ended("alice", sessions=[opaque("of-alice")]))

    answer = await registered.ask(Cookie="sid=of-alice")

    assert (answer.status_code, answer.json()["cause"]) == (401, "password-changed")


async def test_without_the_database_an_opaque_cookie_says_nothing(doors: Doors) -> None:
    answer = await doors.ask(Cookie="sid=of-alice")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "127.0.0.1" not in answer.text
