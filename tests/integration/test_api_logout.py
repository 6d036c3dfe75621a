"""`POST /logout`: what ends, what the browser forgets, where it lands, and who cannot make it happen."""

import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import Request

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.gateway.testing import ended, held
from revoker.settings import ClaimSettings, CookieSettings, HttpSettings, LogoutSettings, Settings
from schemas.fields import wire_time
from schemas.inputs import IDENTITY_EVENTS, SESSION_ACTIVITY
from tests.api_service import HOME, Service, api_settings, in_process
from tests.factories import established
from tests.issuer import new_key
from tests.processes import eventually
from tests.stored import register

COOKIES = (
    CookieSettings(name="__Host-session", holds="token", same_site="Strict"),
    CookieSettings(name="sid", holds="hash", path="/app", domain="sessions.example", same_site="None"),
    CookieSettings(name="sid", path="/", http_only=False),
    CookieSettings(name="remember", holds="remember-me", same_site=None),
    CookieSettings(name="theme", secure=False, http_only=False),
)
DELETIONS = [
    "__Host-session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict",
    "sid=; Path=/app; Domain=sessions.example; Max-Age=0; Secure; HttpOnly; SameSite=None",
    "sid=; Path=/; Max-Age=0; Secure; SameSite=Lax",
    "remember=; Path=/; Max-Age=0; Secure; HttpOnly",
    "theme=; Path=/; Max-Age=0; SameSite=Lax",
]
LOGOUT = LogoutSettings(sign_in="/sign-in", redirects=("/bye", "https://app.example/*"))
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Site": "same-origin"}
SAME = {"Sec-Fetch-Site": "same-origin"}
NO_WAIT = {"Prefer": "wait=0"}
"""The database is away here: there is nothing to wait for."""


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with in_process(settings()) as service:
        yield service


def settings(**given: Any) -> Settings:
    return api_settings(**{"cookies": COOKIES, "logout": LOGOUT} | given)


async def leave(service: Service, headers: Mapping[str, str], **given: Any) -> httpx.Response:
    return await service.client.post("/logout", headers=NO_WAIT | dict(headers), **given)


def cookie(service: Service, **claims: Any) -> dict[str, str]:
    return {"Cookie": f"__Host-session={service.token(**claims)}"} | SAME


def asked(service: Service) -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(event["type"], event.get("subject"), event["data"]) for event in service.sender.events]


def is_cleared(answer: httpx.Response) -> bool:
    """All of it, byte for byte, or nothing."""
    told = answer.headers.get_list("set-cookie"), answer.headers.get("clear-site-data")
    assert told in ((DELETIONS, '"cache", "storage"'), ([], None))
    assert answer.headers["cache-control"] == "no-store"
    return bool(told[0])


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


# What ends


@pytest.mark.parametrize("by", ["bearer", "cookie"])
async def test_the_session_ends_on_the_server_and_in_the_browser(service: Service, by: str) -> None:
    headers = service.bearer() if by == "bearer" else cookie(service)

    answer = await leave(service, headers)

    assert answer.status_code == 200
    assert asked(service) == [("logged-out", "alice", {"session_id": "s-1"})]
    ((topic, key, event),) = service.sender.sent
    assert topic == service.parts.settings.topic("identity-events")
    assert (key, event["source"]) == (b"alice", "revoker-api")
    told = answer.json()
    assert (told["state"], told["scope"], told["event_id"]) == ("requested", "one", event["id"])
    assert is_cleared(answer)


async def test_only_post_logs_out(service: Service) -> None:
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        answer = await service.client.request(method, "/logout?scope=everywhere", headers=cookie(service))

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
        assert not answer.headers.get_list("set-cookie")
    assert not asked(service)


async def test_leaving_twice_is_asking_for_the_same(service: Service) -> None:
    first = await leave(service, service.bearer())
    second = await leave(service, service.bearer(jti="another-token", iat=1))
    other = await leave(service, service.bearer(sid="s-2"))

    assert first.json() == second.json()
    assert first.json()["revocation_id"] != other.json()["revocation_id"]


@pytest.mark.parametrize("headers", [{}, PAGE, {"Cookie": "other=1"} | SAME])
async def test_without_a_session_one_is_logged_out_already(service: Service, headers: dict[str, str]) -> None:
    answer = await leave(service, headers)

    if "Accept" in headers:
        assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")
    else:
        assert (answer.status_code, answer.json()) == (200, {"state": "nothing", "scope": "one"})
    assert is_cleared(answer)
    assert not asked(service)


async def test_an_expired_token_suffices_to_leave(service: Service) -> None:
    for headers in (service.bearer(lasts=-86_400), cookie(service, lasts=-86_400)):
        service.sender.sent.clear()
        answer = await leave(service, headers)

        assert answer.status_code == 200
        assert asked(service) == [("logged-out", "alice", {"session_id": "s-1"})]
        assert is_cleared(answer)


async def test_the_token_of_an_ended_or_held_session_suffices_to_leave(service: Service) -> None:
    await service.gateway.feed(ended("alice", sessions=["s-1"]), held("bob"))

    assert (await leave(service, service.bearer())).status_code == 200
    assert (await leave(service, service.bearer(sub="bob", sid="s-2"))).status_code == 200
    assert [subject for _, subject, _ in asked(service)] == ["alice", "bob"]


async def test_what_the_issuer_did_not_sign_ends_nothing(service: Service) -> None:
    tokens = [
        "junk",
        service.token(key=new_key("first")),
        service.token(aud="https://other.example"),
        service.token(iss="https://other.example"),
        service.token(lasts=-9, header={"typ": "logout+jwt"}),
    ]
    for token in tokens:
        for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"__Host-session={token}"} | SAME):
            answer = await leave(service, headers)
            assert (answer.status_code, answer.json()["state"]) == (200, "nothing")
            assert is_cleared(answer)
    assert not asked(service)


async def test_a_token_without_a_session_ends_by_itself(service: Service) -> None:
    expires = int(time.time()) + 300

    await leave(service, service.bearer(sid=None, jti="t-1", exp=expires))

    ((type_, subject, data),) = asked(service)
    assert (type_, subject, data["token_id"]) == ("token-revoked", "alice", "t-1")
    assert data["expires_at"].startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(expires)))


async def test_a_token_that_names_neither_can_only_be_forgotten(service: Service) -> None:
    answer = await leave(service, service.bearer(sid=None))

    assert (answer.status_code, answer.json()["state"]) == (200, "nothing")
    assert is_cleared(answer)


async def test_everything_that_the_browser_shows_ends(service: Service) -> None:
    both = f"__Host-session={service.token()}; __Host-session={service.token(sub='bob', sid='s-2')}"
    headers = {"Cookie": f"{both}; sid=opaque; remember=me; theme=dark"} | SAME

    answer = await leave(service, headers)

    assert asked(service) == [
        ("logged-out", "alice", {"session_id": "s-1"}),
        ("logged-out", "bob", {"session_id": "s-2"}),
        ("logged-out", None, {"session_id": digest("opaque")}),
        ("token-revoked", None, {"token_id": digest("me")}),
    ]
    assert answer.json()["revocation_id"]
    for secret in ("opaque", "remember=me", service.token()):
        assert secret not in json.dumps(service.sender.events)


async def test_all_others_are_ended_and_this_one_stays(service: Service) -> None:
    answer = await leave(service, cookie(service), data={"scope": "others"})

    assert answer.status_code == 200
    assert asked(service) == [("logged-out-everywhere", "alice", {"keep": ["s-1"]})]
    assert not is_cleared(answer)


async def test_all_of_them_are_ended(service: Service) -> None:
    answer = await leave(service, cookie(service), data={"scope": "everywhere"})

    assert answer.json()["scope"] == "everywhere"
    assert asked(service) == [("logged-out-everywhere", "alice", {})]
    assert "time" not in service.sender.events[0]
    assert is_cleared(answer)


async def test_without_an_own_session_there_is_nothing_to_keep(service: Service) -> None:
    answer = await leave(service, service.bearer(sid=None, jti="t-1"), params={"scope": "others"})

    assert answer.status_code == 400
    assert not asked(service)


@pytest.mark.parametrize("scope", ["others", "everywhere"])
@pytest.mark.parametrize("why", ["nobody", "expired", "ended", "junk"])
async def test_whoever_is_gone_cannot_speak_for_the_others(service: Service, scope: str, why: str) -> None:
    await service.gateway.feed(ended("bob", sessions=["s-2"]))
    headers = {
        "nobody": {},
        "expired": service.bearer(lasts=-60),
        "ended": service.bearer(sub="bob", sid="s-2"),
        "junk": {"Authorization": "Bearer junk"},
    }[why]

    answer = await leave(service, headers, params={"scope": scope})
    page = await leave(service, headers | PAGE, params={"scope": scope, "return_to": "/bye"})

    assert (answer.status_code, answer.headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Bearer")
    assert (page.status_code, page.headers["Location"]) == (303, "/sign-in?signed-out=reauthenticate")
    assert {type_ for type_, _, _ in asked(service)} <= {"logged-out"}
    assert bool(asked(service)) is (why in {"expired", "ended"})
    assert is_cleared(answer)
    assert is_cleared(page)


async def test_a_held_session_cannot_lock_its_owner_out(service: Service) -> None:
    await service.gateway.feed(held("alice"))

    answer = await leave(service, service.bearer(), params={"scope": "everywhere"})

    assert answer.status_code == 403
    assert not asked(service)
    assert not is_cleared(answer)


async def test_ending_others_asks_for_a_fresh_sign_in() -> None:
    fresh = LogoutSettings(sign_in="/sign-in", fresh=timedelta(minutes=5))
    async with in_process(settings(logout=fresh)) as service:
        now = int(time.time())
        for scope in ("others", "everywhere"):
            for auth_time in (None, now - 400):
                stale = service.bearer(auth_time=auth_time)
                answer = await leave(service, stale, params={"scope": scope})
                page = await leave(service, stale | PAGE, params={"scope": scope})

                assert answer.status_code == 401
                assert 'error="insufficient_user_authentication"' in answer.headers["WWW-Authenticate"]
                assert 'max_age="300"' in answer.headers["WWW-Authenticate"]
                assert page.headers["Location"] == "/sign-in?signed-out=reauthenticate"
                assert not is_cleared(answer)
                assert not is_cleared(page)
            assert not asked(service)
        for scope in ("others", "everywhere"):
            assert (await leave(service, service.bearer(auth_time=now - 200), params={"scope": scope})).is_success
        assert (await leave(service, service.bearer())).status_code == 200


# What a request may say


@pytest.mark.parametrize(
    "given",
    [
        {"data": {"scope": "everywhere"}},
        {"json": {"scope": "everywhere"}},
        {"params": {"scope": "everywhere"}},
        {"files": {"scope": (None, "everywhere")}},
        {"data": {"scope": "everywhere"}, "params": {"scope": "one"}},
    ],
)
async def test_the_scope_may_come_in_any_of_these(service: Service, given: dict[str, Any]) -> None:
    assert (await leave(service, service.bearer(), **given)).json()["scope"] == "everywhere"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"data": {"scope": "all"}}, 400),
        ({"params": {"scope": "Everywhere"}}, 400),
        ({"json": {"scope": ["one"]}}, 400),
        ({"json": {"return_to": 7}}, 400),
        ({"json": ["one"]}, 400),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"\xff=%zz", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
        ({"content": b"a=b&" * 30, "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
        ({"files": {"scope": ("a.txt", b"one")}}, 400),
        ({"content": b"<a/>", "headers": {"Content-Type": "application/xml"}}, 415),
        ({"content": b"a" * 20_000, "headers": {"Content-Type": "application/json"}}, 413),
        ({"params": {"until": "later"}}, 400),
    ],
)
async def test_what_makes_no_sense_changes_nothing(service: Service, given: dict[str, Any], status: int) -> None:
    headers = service.bearer() | given.pop("headers", {})

    answer = await service.client.post("/logout", headers=headers, **given)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not is_cleared(answer)
    assert not asked(service)


# Where a browser lands


async def test_a_browser_lands_where_it_may(service: Service) -> None:
    for wanted, place in [
        ({}, "/sign-in"),
        ({"return_to": "/bye"}, "/bye"),
        ({"return_to": "https://app.example/out?lang=de"}, "https://app.example/out?lang=de"),
        ({"return_to": "//evil.example"}, "/sign-in"),
        ({"return_to": "https://app.example\\@evil.example"}, "/sign-in"),
        ({"return_to": "/bye\r\nSet-Cookie: a=b"}, "/sign-in"),
    ]:
        answer = await leave(service, cookie(service) | PAGE, data=wanted)

        assert (answer.status_code, answer.headers["Location"], answer.content) == (303, place, b"")
        assert is_cleared(answer)


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html", True),
        ("application/json;q=0.9, Text/HTML;q=0.1", True),
        ("*/*", False),
        ("application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=0.000, */*", False),
        ("text/htmlx", False),
        ("", False),
    ],
)
async def test_a_browser_is_who_accepts_pages(service: Service, accept: str, *, is_page: bool) -> None:
    answer = await leave(service, service.bearer() | {"Accept": accept})

    assert answer.status_code == (303 if is_page else 200)


# Who cannot make it happen


@pytest.mark.parametrize(
    "proof",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.sessions.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Referer": "https://evil.example/?x=https://sessions.example/"},
    ],
)
@pytest.mark.parametrize("holding", ["__Host-session", "sid", "remember", "theme"])
async def test_another_page_can_neither_end_nor_delete_anything(
    service: Service, proof: dict[str, str], holding: str
) -> None:
    """A deletion from elsewhere would sign people out just as well."""
    brought = {"Cookie": f"{holding}={service.token()}"}

    for accept in ({}, {"Accept": "text/html"}):
        answer = await leave(service, brought | proof | accept, data={"scope": "everywhere", "return_to": "/bye"})

        assert answer.status_code == 403
        assert not is_cleared(answer)
    assert not asked(service)


async def test_a_page_from_elsewhere_deletes_no_cookies_that_it_could_not_send(service: Service) -> None:
    """SameSite keeps them from being sent with a form of another site, and not from being deleted by its answer."""
    answer = await leave(service, {"Sec-Fetch-Site": "cross-site", "Accept": "text/html", "Accept-Language": "de"})

    assert answer.status_code == 403
    assert not is_cleared(answer)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-language"] == "de"
    assert "Das hat nicht geklappt" in answer.text


async def test_a_page_of_another_origin_of_ours_may(service: Service) -> None:
    async with in_process(settings(http=HttpSettings(origins=("https://app.example",)))) as trusting:
        headers = {"Cookie": f"__Host-session={service.token()}", "Origin": "https://app.example"}
        headers |= {"Sec-Fetch-Site": "cross-site"}
        trusting.issuer.keys = service.issuer.keys
        assert (await leave(trusting, headers)).status_code == 200


# What fails


@pytest.mark.parametrize("scope", ["one", "everywhere"])
async def test_a_failing_kafka_keeps_no_cookie_alive(service: Service, scope: str) -> None:
    service.sender.failing = True
    for headers in (service.bearer(), cookie(service)):
        answer = await leave(service, headers, data={"scope": scope})
        page = await leave(service, headers | PAGE, data={"scope": scope, "return_to": "/bye"})

        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert "Kafka" not in answer.text
        assert (page.status_code, page.headers["Location"]) == (303, "/sign-in?signed-out=failed")
        assert is_cleared(answer)
        assert is_cleared(page)


async def test_who_stays_is_told_that_the_others_do_too(service: Service) -> None:
    service.sender.failing = True

    page = await leave(service, cookie(service) | PAGE, data={"scope": "others", "return_to": "/bye"})

    assert page.headers["Location"] == "/bye?signed-out=failed"
    assert not is_cleared(page)


async def test_without_the_database_all_is_well(service: Service) -> None:
    answer = await service.client.post("/logout", headers=service.bearer() | {"Prefer": "wait=1"})

    assert (answer.status_code, answer.json()["state"]) == (200, "requested")
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert (await leave(service, {"Cookie": "sid=opaque"} | SAME)).json()["state"] == "requested"


async def test_without_the_issuer_the_cookies_go_all_the_same(service: Service) -> None:
    service.issuer.failing = True

    for headers in (service.bearer(), cookie(service)):
        answer = await leave(service, headers)
        page = await leave(service, headers | PAGE)

        assert answer.status_code == 503
        assert page.headers["Location"] == "/sign-in?signed-out=failed"
        assert is_cleared(answer)
        assert is_cleared(page)


async def test_an_input_that_does_not_take_it_keeps_no_cookie_alive() -> None:
    inputs = (IDENTITY_EVENTS.model_copy(update={"types": ("password-changed",)}), SESSION_ACTIVITY)
    async with in_process(settings(inputs=inputs)) as service:
        answer = await leave(service, service.bearer())

        assert answer.status_code == 503
        assert is_cleared(answer)


async def test_a_strict_view_that_is_too_old_keeps_nobody_in() -> None:
    async with in_process(settings(), mode="strict", max_staleness=0.5) as service:
        service.gateway.lose_feed()

        async def stale() -> bool:
            return service.gateway.stale() is not None

        await eventually(stale, "the gateway to know that it cannot know")

        assert (await leave(service, service.bearer())).status_code == 200
        every = await leave(service, service.bearer(), params={"scope": "everywhere"})
        assert every.status_code == 503
        assert is_cleared(every)


# Several tenants


async def test_everybody_leaves_their_own_tenant() -> None:
    async with in_process(settings(claims=ClaimSettings(tenant="org"))) as service:
        await leave(service, service.bearer(org="acme"))
        await leave(service, service.bearer(org="acme"), params={"scope": "everywhere"})
        assert [event["tenant"] for event in service.sender.events] == ["acme", "acme"]

        # Whose tenant an opaque cookie is of, only the registry knows.
        answer = await leave(service, {"Cookie": "sid=opaque"} | SAME)
        assert answer.status_code == 503
        assert is_cleared(answer)
        # Of a remember-me cookie whoever comes with it says so.
        service.sender.sent.clear()
        alone = await leave(service, {"Cookie": "remember=me"} | SAME)
        assert (alone.json()["state"], asked(service)) == ("nothing", [])
        both = f"remember=me; __Host-session={service.token(org='acme')}"
        await leave(service, {"Cookie": both} | SAME)
        assert [event["tenant"] for event in service.sender.events] == ["acme", "acme"]


async def test_the_one_tenant_is_that_of_the_input() -> None:
    inputs = (IDENTITY_EVENTS.model_copy(update={"tenant": "acme", "source": "idp"}), SESSION_ACTIVITY)
    async with in_process(settings(inputs=inputs)) as service:
        await leave(service, service.bearer())

        assert [(event["tenant"], event["source"]) for event in service.sender.events] == [("acme", "idp")]


# What is written down


async def test_the_log_says_who_and_which_and_why_and_no_secret(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    token = service.token(jti="the-jti")
    await leave(service, {"Cookie": f"__Host-session={token}; sid=opaque-value; remember=remembered"} | SAME)
    lines: list[Any] = [record.msg for record in caplog.records if record.name.startswith("revoker.")]

    (line,) = [line for line in lines if line["event"] == "logout"]
    assert line["subject"].startswith("sha256:")
    assert {name: line[name] for name in ("tenant", "session", "scope", "why", "outcome")} == {
        "tenant": "",
        "session": "s-1",
        "scope": "one",
        "why": "asked by the person",
        "outcome": "requested",
    }
    said = str(lines)
    for secret in (token, token.split(".")[2], "opaque-value", "remembered", "alice"):
        assert secret not in said


# A real client


class Answer:
    """An answer as the standard library's cookie jar wants it."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    def info(self) -> Any:
        from email.message import Message  # noqa: PLC0415

        message = Message()
        for value in self._answer.headers.get_list("set-cookie"):
            message["Set-Cookie"] = value
        return message


async def test_a_client_that_knows_cookies_forgets_them(service: Service) -> None:
    jar = CookieJar()
    place = Request(f"{HOME}/app/logout")  # noqa: S310 - nothing is opened
    for one in DELETIONS:
        kept = one.replace("=;", "=value;", 1).replace("Max-Age=0", "Max-Age=3600")
        jar.extract_cookies(Answer(httpx.Response(200, headers=[("set-cookie", kept)])), place)  # type: ignore[arg-type]
    assert len(jar) == len(DELETIONS)

    jar.extract_cookies(Answer(await leave(service, service.bearer())), place)  # type: ignore[arg-type]

    assert len(jar) == 0


# What the registry knows


@pytest.fixture
async def registered(database_settings: Settings, engine: AsyncEngine) -> AsyncIterator[Service]:
    expires = wire_time(datetime.now(UTC) + timedelta(hours=1))
    await register(engine, *(established(digest(name), expires_at=expires) for name in ("of-alice", "of-bob")))
    url = database_settings.database_url.get_secret_value()
    async with in_process(settings(database_url=url)) as service:
        yield service


async def test_whose_an_opaque_cookie_is_the_registry_says(registered: Service) -> None:
    for cookies in ("sid=of-alice", "sid=of-alice; remember=me"):
        registered.sender.sent.clear()
        answer = await leave(registered, {"Cookie": cookies} | SAME)

        assert answer.json()["state"] == "requested"
        assert asked(registered)[0] == ("logged-out", "alice", {"session_id": digest("of-alice")})
    assert asked(registered)[1] == ("token-revoked", None, {"token_id": digest("me")})
    everywhere = await leave(registered, {"Cookie": "sid=of-alice"} | SAME, params={"scope": "everywhere"})
    assert everywhere.json()["scope"] == "everywhere"
    assert asked(registered)[-1] == ("logged-out-everywhere", "alice", {})


async def test_invented_cookies_do_not_fill_the_index(registered: Service) -> None:
    """One that the registry does not know (yet) is ended, too; not as many as anybody likes to invent."""
    invented = [{"Cookie": f"sid=invented-{number}; remember=invented-{number}"} | SAME for number in range(80)]
    answers = [await leave(registered, one) for one in invented]

    assert all(one.status_code == 200 and is_cleared(one) for one in answers)
    assert answers[0].json()["state"] == "requested"
    assert answers[-1].json()["state"] == "nothing"
    assert len(asked(registered)) < 80
    known = await leave(registered, {"Cookie": "sid=of-bob"} | SAME)
    assert known.json()["state"] == "requested"


async def test_while_the_database_is_away_no_logout_is_taken_for_invented(service: Service) -> None:
    for number in range(80):
        answer = await leave(service, {"Cookie": f"sid=of-{number}"} | SAME)
        assert answer.json()["state"] == "requested"
    assert len(asked(service)) == 80
