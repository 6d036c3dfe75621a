"""`/check`: who passes, who does not, and what the proxy is told."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.api.app import Api
from revoker.api.callers import ByHeaders, ByToken, header_safe
from revoker.api.check import Check
from revoker.api.keys import Keys
from revoker.api.metrics import ApiMetrics
from revoker.api.networks import Networks
from revoker.api.tokens import Verifier
from revoker.core.claims import SessionClaims
from revoker.core.index import Index
from revoker.core.revocation import Selector
from revoker.core.verdicts import Hold, Revocation
from revoker.gateway.claims_from import header_claims
from revoker.gateway.health import Stale
from revoker.settings import AuthSettings, CheckSettings, ClaimSettings
from tests.announced import ended, held, lifted, read
from tests.issuer import AUDIENCE, ISSUER, Issuer


class Gateway:
    """What `/check` asks, on an index that the test feeds."""

    def __init__(self) -> None:
        self.index = Index()
        self.stale: Stale | None = None
        self.tries: list[tuple[str, str | None, bool]] = []

    def hear(self, body: bytes) -> None:
        self.index.apply(read(body))

    def check(self, claims: SessionClaims) -> Revocation | Hold | Stale | None:
        return self.index.find(claims, datetime.now(UTC).timestamp()) or self.stale

    def refused(
        self, claims: SessionClaims, verdict: Revocation | Hold, *, ip: str | None = None, verified: bool = False
    ) -> None:
        del claims
        self.tries.append((verdict.id, ip, verified))


class Service:
    """The application and all around it."""

    def __init__(self, check: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None) -> None:
        self.issuer = Issuer()
        self.gateway = Gateway()
        self.seen: list[SessionClaims] = []
        auth = AuthSettings(issuer=ISSUER, audience=AUDIENCE)
        settings = CheckSettings.model_validate(check or {})
        self.keys = Keys(auth, transport=httpx.ASGITransport(self.issuer))
        networks = Networks(settings.trusted_networks)
        self.metrics = ApiMetrics()
        self.ahead = 0.0
        by_token = ByToken(
            Verifier(auth, self.keys, self.now),
            self.keys,
            settings,
            ClaimSettings.model_validate(claims or {}),
            self.now,
        )
        by_headers = ByHeaders(header_claims(settings.header_prefix), networks)
        app = Check(
            self.gateway,
            by_token if settings.identify == "token" else by_headers,
            networks,
            self.metrics.answered,
            lets_anonymous_pass=settings.anonymous == "pass",
            saw=lambda claims, _: self.seen.append(claims),
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(Api(app)), base_url="http://check")

    def now(self) -> float:
        return time.time() + self.ahead

    async def ask(
        self, token: str | None = None, *, path: str = "/check", method: str = "GET", **headers: str
    ) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return await self.client.request(method, path, headers=bearer | headers)


@pytest.fixture
def service() -> Service:
    return Service()


async def test_a_live_session_passes_and_is_named(service: Service) -> None:
    answer = await service.ask(service.issuer.token(sid="s-1"))

    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["X-Revoker-Subject"] == "alice"
    assert answer.headers["X-Revoker-Session"] == "s-1"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", ["/check", "/check/", "/check/v1/orders/7", "/check/%2e%2e/x"])
async def test_every_method_and_path_is_the_same_question(service: Service, method: str, path: str) -> None:
    live, dead = service.issuer.token(sid="s-1"), service.issuer.token(sid="s-2", sub="bob")
    service.gateway.hear(ended(Selector(tenant="", subject="bob"), ["s-2"]))

    assert (await service.ask(live, method=method, path=path)).status_code == 200
    assert (await service.ask(dead, method=method, path=path)).status_code == 401


@pytest.mark.parametrize("path", ["/checks", "/check.php", "/", "/v1/notifications"])
async def test_nothing_else_is_the_question(service: Service, path: str) -> None:
    answer = await service.ask(service.issuer.token(), path=path)

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_an_ended_session_is_refused_with_the_reason(service: Service) -> None:
    service.gateway.hear(ended(session_ids=["s-1"], reason_user={"en": "Changed", "de": "Geändert"}))

    answer = await service.ask(service.issuer.token(sid="s-1"), **{"Accept-Language": "de-AT, en;q=0.5"})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token", error_description="password-changed"'
    assert answer.headers["X-Revoker-Cause"] == "password-changed"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {
        "title": "Unauthorized",
        "status": 401,
        "detail": "Geändert",
        "cause": "password-changed",
    }
    assert "X-Revoker-Subject" not in answer.headers
    assert [(ip, verified) for _, ip, verified in service.gateway.tries] == [("127.0.0.1", True)]


async def test_a_session_that_began_later_passes(service: Service) -> None:
    service.gateway.hear(ended(session_ids=["s-1"]))
    later = int(datetime.now(UTC).timestamp()) + 2

    assert (await service.ask(service.issuer.token(sid="s-2", auth_time=later))).status_code == 200


async def test_a_held_session_is_refused_until_the_hold_is_lifted(service: Service) -> None:
    token = service.issuer.token(sid="s-1")
    service.gateway.hear(held({"subject": "alice"}))

    refused = await service.ask(token)
    service.gateway.hear(lifted())

    assert refused.status_code == 403
    assert refused.headers["X-Revoker-Cause"] == "held"
    assert "WWW-Authenticate" not in refused.headers
    assert (await service.ask(token)).status_code == 200


async def test_who_cannot_know_says_so(service: Service) -> None:
    service.gateway.stale = Stale(age=60, why="the view is too old")

    answer = await service.ask(service.issuer.token())

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_without_a_token_there_is_a_plain_challenge(service: Service) -> None:
    answer = await service.ask()

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_token_that_does_not_hold_is_refused(service: Service) -> None:
    for token in (service.issuer.token(lasts=-60), "junk", ""):
        answer = await service.ask(token)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')


async def test_the_anonymous_may_pass_but_not_with_a_bad_token() -> None:
    service = Service({"anonymous": "pass"})

    answer = await service.ask()

    assert answer.status_code == 200
    # Empty, so that what a client sends under these names does not survive the proxy's copying.
    assert answer.headers["X-Revoker-Subject"] == answer.headers["X-Revoker-Session"] == ""
    assert (await service.ask("junk")).status_code == 401
    assert (await service.ask(Authorization="Basic YTpi")).status_code == 200


async def test_nobody_is_judged_while_the_issuer_is_away(service: Service) -> None:
    service.issuer.failing = True

    answer = await service.ask(service.issuer.token())

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


async def test_a_verified_token_is_not_verified_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    token = service.issuer.token(sid="s-1")
    await service.ask(token)
    monkeypatch.setattr(Verifier, "verify", None)

    assert (await service.ask(token)).status_code == 200

    service.gateway.hear(ended(session_ids=["s-1"]))
    assert (await service.ask(token)).status_code == 401


async def test_a_remembered_token_expires(service: Service) -> None:
    token = service.issuer.token(lasts=300)
    assert (await service.ask(token)).status_code == 200

    service.ahead = 329
    assert (await service.ask(token)).status_code == 200
    service.ahead = 331
    assert (await service.ask(token)).status_code == 401


async def test_what_a_withdrawn_key_signed_is_not_remembered(service: Service) -> None:
    token = service.issuer.token()
    assert (await service.ask(token)).status_code == 200
    service.issuer.rotate("second", keep=False)
    await service.keys.refresh()

    assert (await service.ask(token)).status_code == 401


async def test_the_memory_is_bounded() -> None:
    service = Service({"tokens": 3})
    for number in range(10):
        assert (await service.ask(service.issuer.token(sid=f"s-{number}"))).status_code == 200

    app = service.client._transport.app  # type: ignore[attr-defined]
    assert len(app._check._identify._known) == 3


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"sub": "Zoë Q.", "sid": "a b"}, ("Zo%C3%AB%20Q.", "a%20b")),
        ({"sub": "100%", "sid": None}, ("100%25", "")),
        ({"sub": None, "sid": "s-1"}, ("", "s-1")),
        ({"sub": "auth0|5f", "sid": 'x=y;z,"q"'}, ("auth0|5f", "x=y;z,%22q%22")),
    ],
)
async def test_names_are_safe_in_a_header(service: Service, claims: dict[str, Any], expected: tuple[str, str]) -> None:
    answer = await service.ask(service.issuer.token(**claims))

    assert (answer.headers["X-Revoker-Subject"], answer.headers["X-Revoker-Session"]) == expected


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_any_text_can_be_told_and_read_back(text: str) -> None:
    told = header_safe(text)

    assert all(0x21 <= byte <= 0x7E for byte in told)
    assert unquote(told.decode()) == text


@pytest.mark.parametrize(
    "claims",
    [{"sub": "a\nb"}, {"sub": ["alice"]}, {"sid": 7}, {"sub": "x" * 600}, {"auth_time": "now"}, {"sub": None}],
)
async def test_claims_that_cannot_be_are_refused(service: Service, claims: dict[str, Any]) -> None:
    assert (await service.ask(service.issuer.token(**claims))).status_code == 401


async def test_claims_have_the_names_that_the_settings_give_them() -> None:
    names = {"subject": "uid", "tenant": "org", "session_id": "session", "labels": {"plan": "p"}, "device_id": "dev"}
    service = Service(claims=names)

    await service.ask(
        service.issuer.token(uid="u", org="acme", session="s", p="pro", dev="d", azp="web", jti="t", auth_time=5)
    )

    (claims,) = service.seen
    assert (claims.subject, claims.tenant, claims.session_id, claims.device_id) == ("u", "acme", "s", "d")
    assert (claims.client_id, claims.token_id, claims.key_id) == ("web", "t", "first")
    assert (claims.labels, claims.established_at) == ({"plan": "pro"}, 5)


# Cookies


async def test_a_cookie_may_hold_the_token() -> None:
    service = Service({"cookies": ["session", "other"]})
    token = service.issuer.token(sid="s-1")

    for cookie in (f"a=b; session={token}", f"other={token}", f'session="{token}"', f"session=; session={token}"):
        assert (await service.ask(Cookie=cookie)).status_code == 200, cookie
    assert (await service.ask(Cookie=f"third={token}")).status_code == 401


async def test_a_dead_cookie_does_not_hide_behind_a_live_one() -> None:
    service = Service({"cookies": ["session"]})
    live, dead = service.issuer.token(sub="bob", sid="s-9"), service.issuer.token(sid="s-1")
    service.gateway.hear(ended(session_ids=["s-1"]))

    for cookie in (f"session={live}; session={dead}", f"session={dead}; session={live}"):
        assert (await service.ask(Cookie=cookie)).status_code == 401
    assert (await service.ask(live, Cookie=f"session={dead}")).status_code == 401
    # One that does not hold helps nobody, and harms nobody.
    assert (await service.ask(live, Cookie="session=expired")).status_code == 200


# Headers of a proxy


async def test_headers_are_believed_from_trusted_networks_alone() -> None:
    trusted = Service({"identify": "headers", "trusted_networks": ["127.0.0.0/8"]})
    other = Service({"identify": "headers", "trusted_networks": ["10.0.0.0/8"]})
    headers = {"X-Revoker-Subject": "alice", "X-Revoker-Session": "s-1"}

    assert (await trusted.ask(**headers)).status_code == 200
    assert (await other.ask(**headers)).status_code == 401
    trusted.gateway.hear(ended(session_ids=["s-1"]))
    assert (await trusted.ask(**headers)).status_code == 401
    assert [(ip, verified) for _, ip, verified in trusted.gateway.tries] == [("127.0.0.1", False)]


async def test_tokens_are_not_looked_at_where_headers_count_and_the_other_way_round() -> None:
    by_headers = Service({"identify": "headers", "trusted_networks": ["127.0.0.0/8"]})
    by_token = Service({"trusted_networks": ["127.0.0.0/8"]})

    assert (await by_headers.ask(by_headers.issuer.token())).status_code == 401
    assert (await by_token.ask(**{"X-Revoker-Subject": "alice"})).status_code == 401


@pytest.mark.parametrize(
    ("forwarded", "origin"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 127.0.0.2", "203.0.113.9"),
        ("203.0.113.9, nonsense", "203.0.113.9"),
        ("unknown", "127.0.0.1"),
    ],
)
async def test_where_a_dead_token_is_tried_from_is_told(forwarded: str, origin: str) -> None:
    service = Service({"trusted_networks": ["127.0.0.0/8"]})
    service.gateway.hear(ended(session_ids=["s-1"]))

    await service.ask(service.issuer.token(sid="s-1"), **{"X-Forwarded-For": forwarded})

    assert [ip for _, ip, _ in service.gateway.tries] == [origin]


async def test_nobody_chooses_where_it_came_from(service: Service) -> None:
    service.gateway.hear(ended(session_ids=["s-1"]))

    await service.ask(service.issuer.token(sid="s-1"), **{"X-Forwarded-For": "203.0.113.9"})

    assert [ip for _, ip, _ in service.gateway.tries] == ["127.0.0.1"]


async def test_answers_are_counted(service: Service) -> None:
    service.gateway.hear(ended(Selector(tenant="", subject="bob")))
    await service.ask(service.issuer.token())
    await service.ask(service.issuer.token(sub="bob"))

    counted = {
        name: service.metrics.registry.get_sample_value("revoker_check_total", {"answer": name})
        for name in ("live", "ended", "held")
    }
    assert counted == {"live": 1, "ended": 1, "held": 0}
