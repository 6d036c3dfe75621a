"""The demo's page without a demo: its doors, its buttons, and what it shows of a device that has ended."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from starlette.websockets import WebSocketDisconnect

from revoker.cli.demo.page import app as page_app
from revoker.cli.demo.page.app import SUBPROTOCOL, application
from revoker.cli.demo.page.buttons import BUTTONS, Pressing
from revoker.cli.demo.page.cast import Cast, Device
from revoker.cli.demo.story import IPAD, IPHONE, STORY, SignIn, SignIns
from revoker.gateway.testing import TestGateway, ended
from revoker.settings import Settings
from schemas.topics import Topic

if TYPE_CHECKING:
    from starlette.testclient import TestClient

# It would rather have a client that is not locked here.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
ORIGIN: Final = "http://127.0.0.1:8080"
OURS: Final = {"origin": ORIGIN}
SOCKETS: Final = "ws://127.0.0.1:8080"
AGES: Final = {"phone": timedelta(), "tablet": timedelta(hours=1)}


@dataclass
class World:
    """An application without a server, fed by hand; what it publishes is kept."""

    gateway: TestGateway
    cast: Cast
    client: "TestClient"
    sent: list[tuple[Topic, str, dict[str, Any]]] = field(default_factory=list)

    def device(self, word: str) -> Device:
        return next(one for one in self.cast.devices("alice") if one.word == word)

    def socket(self, word: str, headers: dict[str, str] = OURS) -> Any:
        protocols = [SUBPROTOCOL, self.device(word).token]
        return self.client.websocket_connect(f"{SOCKETS}/device", subprotocols=protocols, headers=dict(headers))

    def press(self, button: str, device: str = "", headers: dict[str, str] = OURS) -> Any:
        fields = {"do": button, "device": device}
        return self.client.post("/people/alice", data=fields, headers=headers, follow_redirects=False)


@pytest.fixture
def world() -> Iterator[World]:
    from starlette.testclient import TestClient  # noqa: PLC0415 - it warns

    gateway = TestGateway()
    cast = Cast(["alice", "bob"], gateway.find)
    sent: list[tuple[Topic, str, dict[str, Any]]] = []

    async def send(topic: Topic, subject: str, value: bytes) -> None:
        sent.append((topic, subject, json.loads(value)))

    made = application(gateway, cast, Pressing(cast, Settings(), send), lambda: {"people": cast.people(), "told": []})
    for device, agent in (("tablet", IPAD), ("phone", IPHONE)):
        sign_in = SignIn(subject="alice", device=device, user_agent=agent, client_id="app", ip="192.0.2.1")
        cast.sign_in("alice", sign_in, datetime.now(UTC) - AGES[device])
    with TestClient(made, base_url=ORIGIN) as client:
        yield World(gateway, cast, client, sent)


# Doors


def test_the_page_may_load_nothing_from_elsewhere(world: World) -> None:
    answer = world.client.get("/")

    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[:3] == ["default-src 'none'", "script-src 'self'", "style-src 'self'"]
    assert "connect-src 'self' ws://127.0.0.1:8080" in policy
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert not {" style=", " onclick=", "<style"} & set(answer.text.split())


@pytest.mark.parametrize("file", sorted(path.name for path in (Path(page_app.__file__).parent / "static").iterdir()))
def test_its_parts_come_from_itself(world: World, file: str) -> None:
    assert world.client.get(f"/static/{file}").status_code == 200
    text = world.client.get(f"/static/{file}").text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("origin", [None, "null", "http://127.0.0.1", "https://127.0.0.1:8080", "http://evil.example"])
def test_other_sites_press_nothing_and_open_nothing(world: World, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}

    assert world.press("change-password", "alice-phone", headers).status_code == 403
    for path in ("/watch", "/device"):
        with pytest.raises(WebSocketDisconnect), world.client.websocket_connect(SOCKETS + path, headers=dict(headers)):
            pass
    assert not world.sent


def test_a_name_that_was_rebound_to_this_machine_is_refused(world: World) -> None:
    evil = {"host": "evil.example:8080", "origin": "http://evil.example:8080"}

    assert world.client.get("/", headers=dict(evil)).status_code == 400
    assert world.press("change-password", "alice-phone", evil).status_code == 400
    with pytest.raises(WebSocketDisconnect), world.client.websocket_connect(f"{SOCKETS}/watch", headers=dict(evil)):
        pass
    assert not world.sent


def test_a_token_of_nobody_opens_nothing(world: World) -> None:
    protocols = [SUBPROTOCOL, "made-up"]
    with (
        pytest.raises(WebSocketDisconnect),
        world.client.websocket_connect(f"{SOCKETS}/device", subprotocols=protocols, headers=dict(OURS)),
    ):
        pass


# Buttons


@pytest.mark.parametrize(
    ("button", "type_", "keep", "session"),
    [
        ("change-password", "password-changed", ["alice-phone"], None),
        ("change-email", "email-changed", ["alice-phone"], None),
        ("sign-out", "logged-out", None, "alice-phone"),
        ("report-stolen", "security-concern-reported", ["alice-phone"], None),
    ],
)
def test_a_button_is_an_identity_event(
    world: World, button: str, type_: str, keep: list[str] | None, session: str | None
) -> None:
    answer = world.press(button, "alice-phone")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    ((topic, key, event),) = world.sent
    assert (topic, key, event["type"]) == (Topic.IDENTITY_EVENTS, "alice", type_)
    assert (event["data"].get("keep"), event["data"].get("session_id")) == (keep, session)


def test_every_button_is_on_the_page(world: World) -> None:
    text = world.client.get("/").text

    assert [text.count(f'value="{button.name}"') for button in BUTTONS] == [2] * len(BUTTONS)


@pytest.mark.parametrize(("button", "device"), [("launch", "alice-phone"), ("sign-out", "alice-car"), ("sign-out", "")])
def test_what_is_not_there_cannot_be_pressed(world: World, button: str, device: str) -> None:
    assert world.press(button, device).status_code == 409
    assert not world.sent


def test_somebody_unknown_and_a_flood_are_refused(world: World) -> None:
    assert world.client.post("/people/eve", data={"do": "sign-out"}, headers=dict(OURS)).status_code == 404
    assert world.client.post("/people/alice", data={"do": "x" * 5_000}, headers=dict(OURS)).status_code == 413


# What becomes of a device


def test_the_right_socket_ends_and_the_card_says_how_long_it_took(world: World) -> None:
    with world.socket("phone") as kept, world.socket("tablet") as lost:
        assert kept.accepted_subprotocol == lost.accepted_subprotocol == SUBPROTOCOL
        kept.receive_json()
        lost.receive_json()

        world.gateway.apply(ended("alice", keep=["alice-phone"]))

        with pytest.raises(WebSocketDisconnect) as closed:
            lost.receive_json()
        assert (closed.value.code, closed.value.reason) == (4401, "password-changed")
        ending = world.device("tablet").ending
        assert ending is not None
        assert (ending.code, ending.text) == (4401, "Your password was changed")
        assert ending.milliseconds is not None
        assert ending.milliseconds >= 0
        assert world.device("phone").ending is None
    assert 'data-session="alice-tablet" data-state="ended"' in world.client.get("/").text


def test_who_was_not_connected_has_no_time(world: World) -> None:
    world.gateway.apply(ended("alice"))
    world.cast.look()

    ending = world.device("phone").ending

    assert ending is not None
    assert (ending.code, ending.milliseconds) == (None, None)
    assert world.press("change-password", "alice-phone").status_code == 409
    # At the door it learns why, and that took nothing from anybody's press.
    with world.socket("phone") as late, pytest.raises(WebSocketDisconnect) as closed:
        late.receive_json()
    assert closed.value.code == 4401
    ending = world.device("phone").ending
    assert ending is not None
    assert (ending.code, ending.milliseconds) == (4401, None)


def test_signing_in_again_makes_new_sessions_of_those_that_ended(world: World) -> None:
    world.gateway.apply(ended("alice", keep=["alice-phone"]))
    world.cast.look()

    world.press("sign-in")
    world.press("sign-in")

    ((topic, _, event),) = world.sent
    assert (topic, event["type"]) == (Topic.SESSION_ACTIVITY, "session-established")
    assert event["data"]["session_id"] == "alice-tablet-2"
    assert [one.word for one in world.cast.devices("alice")] == ["tablet-2", "phone"]
    with world.socket("tablet-2") as again:
        again.receive_json()


def test_whoever_watches_is_told(world: World) -> None:
    with world.client.websocket_connect(f"{SOCKETS}/watch", headers=dict(OURS)) as watching:
        first = watching.receive_json()
        assert [one["ending"] for one in first["people"][0]["devices"]] == [None, None]

        world.gateway.apply(ended("alice", keep=["alice-phone"]))
        assert world.client.portal is not None
        world.client.portal.call(world.cast.look)

        after = {one["id"]: one["ending"] for one in watching.receive_json()["people"][0]["devices"]}
    assert after["alice-phone"] is None
    assert after["alice-tablet"]["cause"] == "password-changed"


def test_there_is_a_picture_of_every_device_of_the_story(world: World) -> None:
    scenes = [scene for scene in STORY if isinstance(scene, SignIns)]
    pictures = world.client.get("/static/icons.svg").text

    for sign_in in (one for scene in scenes for one in scene.sign_ins):
        assert f'id="{sign_in.device}"' in pictures
