"""`/v1/me`, by a real API and real consumers: what a person's own program sees and may do."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]  # no stubs

from schemas.topics import Topic
from tests import servers
from tests.announced import held, lifted
from tests.people import FIREFOX, SAFARI, People, people, settings_of

pytestmark = pytest.mark.timeout(240)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def database(session_postgres: str, template_database: str) -> Iterator[str]:
    url = servers.new_database(session_postgres, template_database)
    yield url
    servers.drop_database(session_postgres, url)


@pytest.fixture(scope="module")
def world(
    session_kafka: str, session_valkey: str, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[People]:
    folder = tmp_path_factory.mktemp("people")
    settings = settings_of(session_kafka, database, session_valkey)
    places = str(networks(folder / "networks.mmdb"))
    with people(settings, folder, REVOKER_DEVICES__NETWORKS=places, REVOKER_LOGOUT__FRESH="PT10M") as made:
        yield made


def networks(path: Path) -> Path:
    writer = MMDBWriter(6, "Test", ipv4_compatible=True)
    munich = {"city": {"names": {"en": "Munich", "de": "München"}}, "country": {"iso_code": "DE"}}
    writer.insert_network(IPSet(["192.0.2.0/24"]), munich)
    writer.to_db_file(str(path))
    return path


def sessions(world: People, token: str, **headers: str) -> dict[str, dict[str, Any]]:
    with world.client(token, **headers) as client:
        answer = client.get("/v1/me/sessions").raise_for_status().json()
    assert answer["next"] is None
    return {one["session_id"]: one for one in answer["sessions"]}


def test_a_person_sees_own_devices_and_why_one_is_over(world: People) -> None:
    token = world.signs_in("ann", "ann-1", user_agent=FIREFOX, ip="192.0.2.7", client_id="web")
    world.signs_in("ann", "ann-2", user_agent=SAFARI, ip="198.51.100.7", ago=DAY)
    world.signs_in("eve", "eve-1")
    world.tell(Topic.IDENTITY_EVENTS, "logged-out", "ann", {"session_id": "ann-2"})
    world.until(lambda: not sessions(world, token)["ann-2"]["live"], "ann-2 to be over")

    found = sessions(world, token, **{"Accept-Language": "fr, de-AT"})

    assert found.keys() == {"ann-1", "ann-2"}
    mine, other = found["ann-1"], found["ann-2"]
    assert (mine["device"], mine["current"], mine["live"]) == ("Firefox unter Linux", True, True)
    assert mine["place"] == {"city": "München", "country": "Deutschland", "code": "DE"}
    assert (mine["clients"], mine["ended"]) == (["web"], None)
    assert (other["current"], other["place"]) == (False, None)
    assert (other["ended"]["cause"], other["ended"]["initiator"]) == ("logged-out", "user")
    assert other["ended"]["reason"] == "Sie haben sich abgemeldet"
    # Addresses are nobody's business, not even the owner's: whoever has stolen a session would read them.
    assert "192.0.2" not in json.dumps(found)
    with world.client(token) as client:
        own = client.get("/v1/me/session")
    assert own.headers["cache-control"] == "no-store"
    assert own.json()["session_id"] == "ann-1"
    assert own.json()["device"] == "Firefox on Linux"


def test_long_lists_come_in_pages(world: People) -> None:
    token = world.signs_in("ben", "ben-1")
    for number in range(2, 6):
        world.signs_in("ben", f"ben-{number}", ago=number * DAY)
    with world.client(token) as client:
        seen, cursor = [], None
        while True:
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = client.get("/v1/me/sessions", params=query).raise_for_status().json()
            assert len(page["sessions"]) <= 2
            seen += [one["session_id"] for one in page["sessions"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == [f"ben-{number}" for number in range(1, 6)]
        for bad in ("x", "W10", "bnVsbA", "é", "WzEsMiwzXQ"):
            refused = client.get("/v1/me/sessions", params={"cursor": bad})
            assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
        assert client.get("/v1/me/sessions", params={"limit": "0"}).status_code == 400


def test_one_of_ones_own_is_ended_and_everybody_elses_does_not_exist(world: People) -> None:
    token = world.signs_in("cid", "cid-1")
    lost = world.signs_in("cid", "cid-2", user_agent=SAFARI)
    world.signs_in("dan", "dan-1")

    with world.client(token, **{"Accept-Language": "de"}) as client:
        answers = [client.delete(f"/v1/me/sessions/{name}") for name in ("dan-1", "nobody-1", "a%00b", "%F0%9F")]
        assert {one.status_code for one in answers} == {404}
        assert len({one.content for one in answers}) == 1
        ended = client.delete("/v1/me/sessions/cid-2?until=enforced", headers={"Prefer": "wait=20"})
        assert (ended.status_code, ended.json()["state"]) == (200, "enforced")
        again = client.delete("/v1/me/sessions/cid-2")
        assert (again.status_code, again.json()["revocation_id"]) == (200, ended.json()["revocation_id"])

    [event] = world.told("cid")
    assert (event["type"], event["data"]["session_ids"], event["data"]["initiator"]) == (
        "session-revoked",
        ["cid-2"],
        "user",
    )
    assert world.told("dan") == []
    with world.client(lost, **{"Accept-Language": "de"}) as client:
        refused = client.get("/v1/me/session")
    assert (refused.status_code, refused.json()["cause"]) == (401, "session-revoked")
    assert refused.json()["detail"] == "Sie haben dieses Gerät von einem anderen aus abgemeldet"


def test_this_was_not_me_keeps_only_a_fresh_sign_in(world: People) -> None:
    fresh = world.signs_in("fay", "fay-1")
    world.signs_in("fay", "fay-2", ago=DAY)
    stale = world.signs_in("gus", "gus-1", ago=DAY)
    world.signs_in("gus", "gus-2")
    wait = {"Prefer": "wait=20"}

    with world.client(fresh) as client:
        foreign = client.post("/v1/me/security-concerns", json={"session_id": "gus-2"})
        assert foreign.status_code == 404
        assert client.post("/v1/me/security-concerns", json={"session": 1}).status_code == 400
        reported = client.post("/v1/me/security-concerns", json={"session_id": "fay-2"}, headers=wait)
        assert (reported.status_code, reported.json()["state"]) == (200, "committed")
    with world.client(stale) as client:
        assert client.post("/v1/me/security-concerns", headers=wait).status_code == 200

    live = world.rows("select session_id from sessions where subject in ('fay', 'gus') and ended_at is null")
    assert [row[0] for row in live] == ["fay-1"]
    [event] = world.told("fay")
    assert (event["type"], event["data"]["keep"]) == ("security-concern-reported", ["fay-1"])
    assert event["data"]["reason_admin"].endswith("fay-2")


def test_the_stream_says_that_the_session_is_over_and_ends(world: People) -> None:
    token = world.signs_in("hal", "hal-1")
    other = world.signs_in("hal", "hal-2")

    with world.client(cookie=other, **{"Accept-Language": "de"}) as client:
        with client.stream("GET", "/v1/me/notifications") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            lines = stream.iter_lines()
            assert next(lines).startswith("retry: ")
            with world.client(token) as mine:
                mine.delete("/v1/me/sessions/hal-2").raise_for_status()
            told = [line for line in lines if line and not line.startswith(":")]
        kind, data = told
        assert kind == "event: session-ended"
        assert json.loads(data.removeprefix("data: ")) == {
            "kind": "ended",
            "cause": "session-revoked",
            "initiator": "user",
            "reason": "Sie haben dieses Gerät von einem anderen aus abgemeldet",
        }
        assert client.get("/v1/me/notifications").status_code == 401


def test_a_stream_of_somebody_who_stays_lasts_as_long_as_the_token(world: People) -> None:
    world.signs_in("ida", "ida-1")
    # As long as it lasts, and the skew.
    short = world.token("ida", "ida-1", lasts=-27)

    with world.client(short) as client, client.stream("GET", "/v1/me/notifications") as stream:
        assert stream.status_code == 200
        assert "session-ended" not in "".join(stream.iter_text())


def test_a_hold_is_told_and_lifting_it_lets_back_in(world: People) -> None:
    token = world.signs_in("kim", "kim-1")

    with world.client(cookie=token) as client:
        with client.stream("GET", "/v1/me/notifications") as stream:
            lines = stream.iter_lines()
            next(lines)
            world.announce("kim", held({"subject": "kim"}, "h-kim"))
            _, data = [line for line in lines if line and not line.startswith(":")]
        assert json.loads(data.removeprefix("data: ")).items() >= {"kind": "held", "cause": "held"}.items()
        page = client.get("/devices", headers={"Accept-Language": "de"})
        assert (page.status_code, client.get("/v1/me/session").status_code) == (403, 403)
        assert "Ihr Zugang ist angehalten" in page.text

        world.announce("kim", lifted("h-kim"))

        world.until(lambda: client.get("/devices").status_code == 200, "kim to be let in again")


def test_who_signed_in_long_ago_cannot_end_others_where_that_is_asked_for(world: People) -> None:
    token = world.signs_in("lea", "lea-1", ago=DAY)
    world.signs_in("lea", "lea-2")

    with world.client(cookie=token) as client:
        refused = client.delete("/v1/me/sessions/lea-2")
        page = client.post("/devices/end", data={"session_id": "lea-2"})
        # Of oneself one may always take leave.
        assert client.delete("/v1/me/sessions/lea-1", headers={"Prefer": "wait=20"}).status_code == 200

    assert (refused.status_code, page.status_code) == (401, 401)
    assert "insufficient_user_authentication" in refused.headers["www-authenticate"]
    assert "max_age=" in refused.headers["www-authenticate"]
    assert "Please sign in again first" in page.text
    assert world.sign_in_page in page.text
    assert [event["data"]["session_ids"] for event in world.told("lea")] == [["lea-1"]]


def test_without_the_database_nothing_is_listed_and_everything_can_be_ended(world: People) -> None:
    token = world.signs_in("max", "max-1", user_agent=FIREFOX)
    world.signs_in("max", "max-2")

    with world.client(cookie=token) as client:
        with world.without_sessions():
            listed = client.get("/v1/me/sessions")
            page = client.get("/devices")
            ended = client.delete("/v1/me/sessions/max-2")
            nobodys = client.delete("/v1/me/sessions/nobody-1")
        assert (listed.status_code, listed.headers["retry-after"]) == (503, "5")
        assert page.status_code == 200
        assert "Your other devices cannot be shown right now." in page.text
        assert "Sign out all other devices" in page.text
        # Whose it is nobody can tell, so nobody is told.
        assert (ended.status_code, nobodys.status_code) == (202, 202)
        world.until(lambda: not sessions(world, token)["max-2"]["live"], "max-2 to be over")
        assert sessions(world, token).keys() == {"max-1", "max-2"}


@pytest.mark.parametrize(
    ("data", "status"),
    [({}, 404), ({"session_id": ""}, 404), ({"session_id": "a\x00b"}, 404), ({"session_id": "x" * 5_000}, 413)],
)
def test_a_form_that_makes_no_sense_changes_nothing(world: People, data: dict[str, str], status: int) -> None:
    with world.client(cookie=world.token("nat", "nat-1")) as client:
        answer = client.post("/devices/end", data=data, headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert client.post("/devices/end", json=data).status_code == 415
    assert world.told("nat") == []


def test_files_are_kept_only_as_long_as_they_are_the_newest(world: People) -> None:
    with world.client() as client:
        script = client.get("/static/session.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        again = client.get("/static/session.js", headers={"If-None-Match": script.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for name in ("nothing.js", "..%2fdevices.py", "session.js%00"):
            assert client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/me/session"),
        ("GET", "/v1/me/sessions"),
        ("DELETE", "/v1/me/sessions/jon-1"),
        ("POST", "/v1/me/security-concerns"),
        ("GET", "/v1/me/notifications"),
        ("POST", "/devices/end"),
        ("POST", "/devices/not-me"),
    ],
)
def test_nobody_gets_in_by_a_cookie_from_elsewhere_or_by_nothing(world: People, method: str, path: str) -> None:
    cookie = f"session={world.token('jon', 'jon-1')}"
    hostile = {"Cookie": cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

    nothing = httpx.request(method, world.url + path)
    elsewhere = httpx.request(method, world.url + path, headers=hostile)

    # A page sends on to where one signs in.
    assert (nothing.status_code, elsewhere.status_code) == (401 if path.startswith("/v1") else 303, 403)
    assert world.told("jon") == []
