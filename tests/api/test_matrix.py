"""Every route, asked by everybody: what comes out is what `revoker.api.documents.access` says, and nothing else.

The routes are taken from the application. One that is new fails here until it stands in that table and until it is said
below how it is asked; so nobody adds a door without saying who may use it.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.api.documents.access import ACCESS, Access
from revoker.api.grants import ALL_TENANTS, AUDITOR, GATEWAY, GLOBAL_REVOCATION, INTROSPECT, PUBLISH, RESPONDER, SUPPORT
from revoker.gateway.testing import ended, held
from revoker.settings import AuthSettings, ClaimSettings, CookieSettings, HttpSettings, Settings
from revoker.storage import sessions
from tests import factories, stored
from tests.api.serving import HERE, Served, serving, with_topics
from tests.issuer import ISSUER

Route = tuple[str, str]

SCOPES = (PUBLISH, GATEWAY, INTROSPECT, GLOBAL_REVOCATION)
ROLES = (RESPONDER, AUDITOR, SUPPORT)
LEAVING = ("POST", "/logout")
SIGN_IN = 303
EVENT = {"specversion": "1.0", "id": "e-1", "source": "login", "type": "password-changed", "subject": "zoe"}
RECEIPT = {
    "specversion": "1.0",
    "id": "r-1",
    "source": "chat/host",
    "type": "gateway-receipt",
    "data": {
        "gateway": "web",
        "instance": "host",
        "incarnation": "i-1",
        "epoch": "e-1",
        "state": "serving",
        "mode": "strict",
        "max_staleness": 10,
        "at": "2026-11-21T09:00:00Z",
        "position": "e-1.0",
    },
}
CLOUDEVENT = {"Content-Type": "application/cloudevents+json"}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How a route is asked by somebody who may, and what they get."""

    allowed: int
    path: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    is_page: bool = False
    """Whoever is nobody is sent to sign in."""


ASKS: Mapping[Route, Ask] = {
    ("GET", "/asyncapi"): Ask(allowed=200),
    ("GET", "/asyncapi.json"): Ask(allowed=200),
    ("GET", "/docs"): Ask(allowed=200),
    ("GET", "/openapi.json"): Ask(allowed=200),
    ("GET", "/static/{name}"): Ask(allowed=404, path="/static/nothing.css"),
    ("GET", "/v1/hooks/{name}"): Ask(allowed=404, path="/v1/hooks/none"),
    ("POST", "/v1/hooks/{name}"): Ask(allowed=204, path="/v1/hooks/none", given={"json": {}}),
    ("POST", "/logout"): Ask(allowed=200),
    ("GET", "/devices"): Ask(allowed=200, is_page=True),
    ("GET", "/devices/sign-out"): Ask(allowed=200, is_page=True),
    ("GET", "/devices/not-me"): Ask(allowed=200, is_page=True),
    ("POST", "/devices/end"): Ask(allowed=404, given={"data": {"session_id": "of-nobody"}}, is_page=True),
    ("POST", "/devices/not-me"): Ask(allowed=303, given={"data": {"x": ""}}, is_page=True),
    ("GET", "/v1/me/session"): Ask(allowed=200),
    ("GET", "/v1/me/sessions"): Ask(allowed=200),
    ("DELETE", "/v1/me/sessions/{session_id}"): Ask(allowed=404, path="/v1/me/sessions/of-nobody"),
    ("POST", "/v1/me/security-concerns"): Ask(allowed=202),
    # There is no stream to be had from a process that is stopping.
    ("GET", "/v1/me/notifications"): Ask(allowed=503),
    ("GET", "/v1/notifications"): Ask(allowed=503),
    ("GET", "/v1/revocations/{id}"): Ask(allowed=404, path=f"/v1/revocations/{uuid.UUID(int=0)}"),
    ("POST", "/v1/events"): Ask(allowed=202, given={"json": EVENT, "headers": CLOUDEVENT}),
    ("POST", "/v1/introspect"): Ask(allowed=200, given={"data": {"token": "x"}}),
    ("POST", "/v1/revoke"): Ask(allowed=200, given={"data": {"token": "x"}}),
    ("POST", "/v1/global-token-revocation"): Ask(
        allowed=204,
        given={
            "json": {
                "sub_id": {
                    "format": "complex",
                    "user": {"format": "iss_sub", "iss": ISSUER, "sub": "zoe"},
                    "tenant": {"format": "opaque", "id": "blue"},
                }
            }
        },
    ),
    ("POST", "/v1/receipts"): Ask(allowed=202, given={"json": RECEIPT, "headers": CLOUDEVENT}),
}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Somebody, and what they have."""

    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tenant: str | None = "blue"
    lasts: float = 300.0
    token: bool = True
    cookie: bool = False
    is_ours: bool = True
    """The cookie comes from a page of ours."""

    def may(self, access: Access) -> bool:
        """Whether it is anybody of whom the table speaks."""
        return access.person or access.client or bool({*access.scopes, *access.roles} & {*self.scopes, *self.roles})


EVERYTHING = Caller(scopes=(*SCOPES, ALL_TENANTS), roles=ROLES)
CALLERS: Mapping[str, Caller] = {
    "nobody": Caller(token=False),
    "a person": Caller(),
    "a person by cookie": Caller(cookie=True),
    "a page of somebody else": Caller(cookie=True, is_ours=False),
    **{role: Caller(roles=(role,)) for role in ROLES},
    **{scope: Caller(scopes=(scope,)) for scope in SCOPES},
    "everything": EVERYTHING,
    "of no tenant": Caller(scopes=SCOPES, roles=ROLES, tenant=None),
    "expired": replace(EVERYTHING, lasts=-600),
    "ended": EVERYTHING,
    "held": EVERYTHING,
}


def routes(app: FastAPI) -> set[Route]:
    """All of them, by method and path."""
    found = set()
    for context in iter_route_contexts(app.routes):
        assert context.path is not None
        found |= {(method, context.path) for method in (context.methods or set()) - {"HEAD"}}
    return found


def expected(name: str, caller: Caller, route: Route) -> int:
    """What `caller` must get."""
    access, ask = ACCESS[route], ASKS[route]
    if access.platform:
        return 401
    if caller.cookie and not caller.is_ours and (access.person or route == LEAVING) and needs_proof(route):
        return 403
    if not access.anyone:
        if name in {"nobody", "expired"} or (caller.cookie and not access.person):
            return SIGN_IN if ask.is_page else 401
        if name == "ended":
            return 401
        if name in {"held", "of no tenant"} or not caller.may(access):
            return 403
    return ask.allowed


def needs_proof(route: Route) -> bool:
    """Whether a cookie has to come from a page of ours: not for a link, whose answer no other page can read."""
    method, path = route
    return method != "GET" or path.startswith("/v1/me/")


async def asked(served: Served, name: str, caller: Caller, route: Route) -> int:
    """What `caller` gets. Everybody has a session of their own, so that none ends another's."""
    method, ask = route[0], ASKS[route]
    own = {"ended": "s-ended", "held": "s-held"}.get(name, f"s-{uuid.uuid4()}")
    token = served.issuer.token(
        sub="alice",
        sid=own,
        jti=own,
        client_id="web",
        scope=" ".join(caller.scopes),
        roles=list(caller.roles),
        tenant=caller.tenant,
        lasts=caller.lasts,
    )
    headers = dict(ask.given.get("headers", {}))
    if caller.cookie:
        headers |= {"Cookie": f"session={token}", "Origin": HERE if caller.is_ours else "https://evil.example"}
    elif caller.token:
        headers["Authorization"] = f"Bearer {token}"
    given = {key: value for key, value in ask.given.items() if key != "headers"}
    answer = await served.client.request(method, ask.path or route[1], headers=headers, **given)
    if answer.status_code == 401 and not ask.is_page and route != ("POST", "/v1/hooks/{name}"):
        assert answer.headers["www-authenticate"].startswith("Bearer"), (route, name)
    return answer.status_code


@pytest.fixture
async def tenants(settings: Settings) -> Any:
    chosen = await with_topics(settings)
    cookies = (CookieSettings(name="session", holds="token"),)
    # All are alice here, and nobody shall have to wait for a turn.
    http = HttpSettings(person_rate=1_000)
    async with serving(chosen, claims=ClaimSettings(tenant="tenant"), cookies=cookies, http=http) as served:
        served.parts.stopping.set()
        await served.gateway.feed(
            ended(None, session_id="s-ended", tenant="blue"),
            ended(None, session_id="s-ended"),
            held(None, session_id="s-held", tenant="blue"),
        )
        yield served


async def test_every_route_is_classified(tenants: Served) -> None:
    assert routes(tenants.routed) == set(ACCESS) == set(ASKS)


async def test_everybody_gets_what_the_table_says(tenants: Served) -> None:
    wrong: dict[Route, Any] = {}
    for route in ASKS:
        wanted = {name: expected(name, caller, route) for name, caller in CALLERS.items()}
        # At once, since some wait for a database that nobody writes to here.
        answers = await asyncio.gather(*[asked(tenants, name, caller, route) for name, caller in CALLERS.items()])
        found = dict(zip(CALLERS, answers, strict=True))
        if found != wanted:
            wrong[route] = {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}
    assert not wrong, "\n".join(map(str, wrong.items()))


async def test_what_is_of_one_tenant_is_not_there_for_another(tenants: Served, writer: AsyncEngine) -> None:
    now = datetime.now(UTC)
    began = factories.established("s-1", "alice", tenant="blue", client_id="web", established_at=now)
    await sessions.register(writer, factories.registration(began, appended_at=now), stored.MINUTE, dict)
    outcome = await stored.apply(
        writer, factories.decision("password-changed", "alice", tenant="blue", appended_at=now, data={"keep": ["s-1"]})
    )
    revocation = f"/v1/revocations/{outcome.applied[0].revocation.id}"

    async def seen(method: str, path: str, sub: str, tenant: str | None, scope: str = "", *roles: str) -> int:
        token = tenants.issuer.token(sub=sub, sid=f"s-{uuid.uuid4()}", tenant=tenant, scope=scope, roles=roles)
        return (await tenants.ask(method, path, token)).status_code

    assert await seen("GET", revocation, "alice", "blue") == 200
    assert await seen("GET", revocation, "siem", "blue", PUBLISH) == 200
    assert await seen("GET", revocation, "siem", None, f"{PUBLISH} {ALL_TENANTS}") == 200
    for who in (
        ("alice", "green"),
        ("bob", "blue"),
        ("siem", "green", PUBLISH),
        ("eve", "green", "", RESPONDER),
        ("eve", "blue", GATEWAY),
    ):
        assert await seen("GET", revocation, *who) == 404, who
    for sub, tenant in (("alice", "green"), ("bob", "blue")):
        assert await seen("DELETE", "/v1/me/sessions/s-1", sub, tenant) == 404
    assert not await tenants.events()


async def test_without_an_issuer_nobody_gets_in(settings: Settings) -> None:
    async with serving(settings, auth=AuthSettings()) as served:
        served.parts.stopping.set()
        for route, access in ACCESS.items():
            if not access.anyone and not access.platform:
                status = await asked(served, "a person", CALLERS["everything"], route)
                assert status == 503, route
