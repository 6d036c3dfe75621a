"""The demo's issuer without a demo: who gets a token and a cookie, and that the API's own verifier takes them."""

import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import pytest

from revoker.api.keys import Keys
from revoker.api.tokens import TokenRefusedError, Verified, Verifier
from revoker.cli.demo.issuer import AUDIENCE, COOKIE
from revoker.cli.demo.issuer import desk as desks
from revoker.cli.demo.issuer.app import application
from revoker.cli.demo.issuer.codes import LASTS_MINUTES, Codes
from revoker.cli.demo.issuer.desk import DEVICES, Desk
from revoker.cli.demo.issuer.tokens import Signer
from revoker.cli.demo.story import IPHONE
from revoker.settings import AuthSettings
from revoker.storage.reading import SessionFound
from schemas.topics import Topic

URL: Final = "http://127.0.0.1:8090"
API: Final = "http://127.0.0.1:8080"
OURS: Final = {"origin": URL}
SECRET: Final = "the secret of the folder"
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class World:
    """An issuer without a server. What it publishes is kept, and known to the registry at once."""

    client: httpx.AsyncClient
    codes: Codes
    verifier: Verifier
    sent: list[tuple[Topic, str, dict[str, Any]]] = field(default_factory=list)
    known: list[SessionFound] = field(default_factory=list)
    now: float = 0.0
    forgetful: bool = False

    async def sign_in(self, person: str, device: str, headers: Mapping[str, str] = OURS) -> httpx.Response:
        return await self.client.post("/sign-in", data={"person": person, "device": device}, headers=headers)

    async def token(self, wanted: Mapping[str, Any], secret: str = SECRET) -> httpx.Response:
        headers = OURS | {"authorization": f"Bearer {secret}"}
        return await self.client.post("/tokens", json=wanted, headers=headers)

    async def verified(self, token: str) -> Verified:
        return await self.verifier.verify(token.encode())

    def signed_in(self, answer: httpx.Response) -> str:
        """The token in the cookie of somebody who was sent to the own devices."""
        assert (answer.status_code, answer.headers["location"]) == (303, f"{API}/devices"), answer.text
        name, _, rest = answer.headers["set-cookie"].partition("=")
        token, *attributes = rest.split("; ")
        assert name == COOKIE
        assert {each.lower() for each in attributes} >= {"httponly", "path=/", "samesite=lax"}
        assert not any(each.lower().startswith("domain") for each in attributes)
        return token


@pytest.fixture
async def world() -> AsyncIterator[World]:
    sent: list[tuple[Topic, str, dict[str, Any]]] = []
    known: list[SessionFound] = []

    async def send(topic: Topic, subject: str, value: bytes) -> None:
        event = json.loads(value)
        sent.append((topic, subject, event))
        if not made.forgetful:
            known.append(found(subject, event["data"]["session_id"]))

    async def sessions(subject: str) -> Sequence[SessionFound]:
        return [one for one in known if one.subject == subject]

    signer = Signer(URL)
    codes = Codes(lambda: made.now)
    app = application(signer, Desk(signer, ["alice", "bob"], send, sessions), codes, api=API, secret=SECRET)
    transport = httpx.ASGITransport(app)
    auth = AuthSettings(issuer=URL, audience=AUDIENCE)
    keys = Keys(auth, transport=transport)
    headers = {"user-agent": BROWSER}
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=headers) as client:
        made = World(client, codes, Verifier(auth, keys), sent, known)
        yield made


def found(subject: str, session: str, age: timedelta = timedelta()) -> SessionFound:
    return SessionFound(
        tenant="",
        subject=subject,
        session_id=session,
        client_id="web",
        established_at=datetime.now(UTC) - age,
        expires_at=None,
        device_id=None,
        device_name=None,
        ip=None,
        last_active_at=None,
        last_ip=None,
        ended_at=None,
        ended_by=None,
        born_ended=False,
        expired=False,
        cause=None,
        live_tokens=0,
    )


# Signing in


async def test_a_person_signs_in_on_a_device_and_gets_a_cookie_that_the_api_takes(world: World) -> None:
    answer = await world.sign_in("bob", "phone")

    claims = (await world.verified(world.signed_in(answer))).claims
    [(topic, subject, event)] = world.sent
    assert (topic, subject) == (Topic.SESSION_ACTIVITY, "bob")
    assert (event["type"], event["subject"], event["data"]["user_agent"]) == ("session-established", "bob", IPHONE)
    assert (claims["sub"], claims["sid"]) == ("bob", event["data"]["session_id"])
    assert claims["client_id"] == event["data"]["client_id"]
    # To the microsecond: a token without its fraction could be older than a change that came before it.
    established_at = datetime.fromisoformat(event["data"]["established_at"])
    assert claims["auth_time"] == pytest.approx(established_at.timestamp(), abs=1e-6)


async def test_each_sign_in_is_a_session_of_its_own(world: World) -> None:
    tokens = [world.signed_in(await world.sign_in("bob", "browser")) for _ in range(3)]

    assert len({(await world.verified(token)).claims["sid"] for token in tokens}) == 3
    assert {event["data"]["user_agent"] for _, _, event in world.sent} == {BROWSER}


@pytest.mark.parametrize(("person", "device"), [("", ""), ("mallory", "phone"), ("alice", "toaster")])
async def test_nobody_else_signs_in_and_on_nothing_else(world: World, person: str, device: str) -> None:
    answer = await world.sign_in(person, device)

    assert answer.status_code == 400
    assert "Choose who you are" in answer.text
    assert "set-cookie" not in answer.headers
    assert not world.sent


@pytest.mark.parametrize("origin", [None, "null", API, "http://localhost:8090", "http://evil.example"])
async def test_other_sites_sign_nobody_in(world: World, origin: str | None) -> None:
    answer = await world.sign_in("alice", "phone", {} if origin is None else {"origin": origin})

    assert answer.status_code == 403
    assert not world.sent


async def test_another_name_of_this_machine_is_refused(world: World) -> None:
    for host in ("localhost:8090", "evil.example:8090"):
        assert (await world.client.get("/sign-in", headers={"host": host})).status_code == 400


async def test_the_page_needs_no_script_and_its_form_may_lead_to_the_api(world: World) -> None:
    answer = await world.client.get("/sign-in")

    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", f"form-action 'self' {API}"} <= set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert set(re.findall(r'name="person" value="(\w+)"', answer.text)) == {"alice", "bob"}
    assert set(re.findall(r'option value="(\w+)"', answer.text)) == set(DEVICES)
    assert "password" not in re.findall(r'type="(\w+)"', answer.text)
    for link in re.findall(r'<link [^>]*href="([^"]+)"', answer.text):
        assert (await world.client.get(link)).status_code == 200
    assert (await world.client.get("/")).headers["location"] == "/sign-in"


async def test_it_does_not_wait_for_ever_for_the_registry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "_PATIENCE_SECONDS", 0.05)
    world.forgetful = True

    world.signed_in(await world.sign_in("alice", "phone"))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", None),
        ("?signed-out=done", ("done", "You are signed out.")),
        ("?signed-out=failed", ("failed", "elsewhere you may not be")),
        ("?signed-out=reauthenticate", ("failed", "Sign in again")),
        ("?signed-out=<script>", ("done", "You are signed out.")),
    ],
)
async def test_who_comes_from_signing_out_is_told_how_it_went(
    world: World, query: str, told: tuple[str, str] | None
) -> None:
    page = (await world.client.get(f"/sign-in{query}")).text

    notice = re.search(r'class="notice" data-went="(\w+)" role="status">([^<]+)<', page)
    assert (notice is None) == (told is None)
    assert notice is None or told is None or (notice[1] == told[0] and told[1] in notice[2])
    assert "<script" not in page


# Links that sign in


async def test_a_link_signs_in_once(world: World) -> None:
    code = world.codes.new("alice")

    looked = await world.client.head("/sign-in", params={"code": code})
    first = await world.client.get("/sign-in", params={"code": code})
    second = await world.client.get("/sign-in", params={"code": code})

    assert looked.status_code == 200
    assert (await world.verified(world.signed_in(first))).claims["sub"] == "alice"
    assert second.status_code == 410
    assert "used already" in second.text
    assert "set-cookie" not in second.headers
    assert len(world.sent) == 1


async def test_a_link_grows_old_and_cannot_be_made_up(world: World) -> None:
    codes = [world.codes.new("alice") for _ in range(2)]
    assert len(set(codes)) == 2

    world.now = LASTS_MINUTES * 60 - 1
    world.signed_in(await world.client.get("/sign-in", params={"code": codes[0]}))
    world.now += 2
    for code in (codes[1], "", "made-up"):
        assert (await world.client.get("/sign-in", params={"code": code})).status_code == 410
    assert len(world.sent) == 1


# Tokens for `revoker demo token`


async def test_a_token_says_what_was_asked_for(world: World) -> None:
    since = timedelta(hours=3)
    world.known.append(found("bob", "bob-desktop", since))
    wanted = {
        "subject": "bob",
        "session": "bob-desktop",
        "client": "web",
        "scope": ["revoker.publish", "revoker.introspect"],
        "role": ["auditor", "support"],
        "tenant": "acme",
        "expires": 60,
    }

    answer = await world.token(wanted)

    claims = (await world.verified(answer.text)).claims
    assert answer.status_code == 200
    assert claims["sub"] == "bob"
    assert (claims["sid"], claims["client_id"], claims["tenant"]) == ("bob-desktop", "web", "acme")
    assert (claims["scope"], claims["roles"]) == ("revoker.publish revoker.introspect", ["auditor", "support"])
    assert claims["exp"] - claims["iat"] == 60
    # Of a session it says since when that is signed in, or an old session would pass as a fresh one.
    assert time.time() - claims["auth_time"] == pytest.approx(since.total_seconds(), abs=60)


async def test_a_plain_token_is_a_fresh_sign_in_without_a_session(world: World) -> None:
    claims = (await world.verified((await world.token({"subject": "alice"})).text)).claims

    assert not {"sid", "client_id", "scope", "roles", "tenant"} & claims.keys()
    assert time.time() - claims["auth_time"] < 60


async def test_a_token_for_others_is_not_taken(world: World) -> None:
    answer = await world.token({"subject": "alice", "audience": "somebody-else"})

    with pytest.raises(TokenRefusedError, match="somebody else"):
        await world.verified(answer.text)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": "alice", "expires": 0}, "expires"),
        ({"subject": "alice", "expires": 31 * 86_400}, "expires"),
        ({"subject": "alice", "session": "s" * 600}, "session"),
    ],
)
async def test_what_cannot_be_is_named(world: World, wanted: dict[str, Any], named: str) -> None:
    answer = await world.token(wanted)

    assert answer.status_code == 400
    assert answer.text.startswith(f"{named}: ")


@pytest.mark.parametrize("secret", ["", "wrong", f"{SECRET}x"])
async def test_without_the_secret_there_is_no_token(world: World, secret: str) -> None:
    assert (await world.token({"subject": "alice"}, secret)).status_code == 401
    assert (await world.client.post("/tokens", json={"subject": "alice"}, headers=OURS)).status_code == 401


async def test_the_private_half_of_the_key_stays_inside_and_is_another_one_with_each_start(world: World) -> None:
    [key] = (await world.client.get("/keys")).json()["keys"]

    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert Signer(URL).keys()["keys"][0]["x"] != key["x"]
