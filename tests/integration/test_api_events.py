"""`POST /v1/events`: every mode of CloudEvents over HTTP, each event judged by itself, and whom a token speaks for."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from revoker.api import cloudevents
from revoker.api.events import MOST
from revoker.api.problems import ProblemError
from revoker.settings import ClaimSettings, HttpSettings, Settings
from schemas import codec
from schemas.inputs import Format, Input, Lane, Mode
from tests.api_service import Service, api_settings, in_process

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PUBLISH = "revoker.publish"


def event(type_: str = "password-changed", id_: str = "e-1", **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "type": type_, "source": "login", "id": id_, "subject": "alice"} | more


def activity(id_: str = "a-1", **more: Any) -> dict[str, Any]:
    return event("session-established", id_, data={"session_id": "s-1"}) | more


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with in_process() as made:
        yield made


async def post(service: Service, body: Any, kind: str = STRUCTURED, **more: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    claims = more.pop("claims", {})
    headers = service.machine(**{"scope": PUBLISH} | claims) | {"Content-Type": kind} | more.pop("headers", {})
    return await service.client.post("/v1/events", content=content, headers=headers, **more)


# Modes


async def test_a_structured_event_is_on_kafka_once_it_is_answered(service: Service) -> None:
    answer = await post(service, event(type="com.example.login.password-changed", data={"keep": ["s-1"]}))

    assert answer.status_code == 202
    [result] = answer.json()["results"]
    assert result == {"id": "e-1", "status": "accepted", "revocation_id": result["revocation_id"]}
    assert answer.headers["location"] == f"/v1/revocations/{result['revocation_id']}"
    [(topic, key, sent)] = service.sender.sent
    assert (topic, key) == ("identity-events", b"alice")
    assert sent == event(data={"keep": ["s-1"]})


async def test_activity_goes_to_its_own_topic_and_ends_nothing(service: Service) -> None:
    answer = await post(service, activity())

    assert (answer.status_code, answer.json()) == (202, {"results": [{"id": "a-1", "status": "accepted"}]})
    assert service.sender.sent == [("session-activity", b"alice", activity())]
    assert "location" not in answer.headers


@pytest.mark.parametrize("kind", [BATCH, "application/json", "application/json; charset=utf-8"])
async def test_a_batch_is_judged_event_by_event(service: Service, kind: str) -> None:
    bad = [event("sold-your-data", "bad-1"), event(id_="bad-2", subject=7), "no event", event(id_="bad-3", data=[])]

    answer = await post(service, [event(), activity(), *bad], kind)

    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [(one["id"], one["status"]) for one in results] == [
        ("e-1", "accepted"),
        ("a-1", "accepted"),
        ("bad-1", "rejected"),
        ("bad-2", "rejected"),
        (None, "rejected"),
        ("bad-3", "rejected"),
    ]
    assert [one["reason"].partition(":")[0] for one in results[2:]] == ["unknown-type", "invalid", "invalid", "invalid"]
    assert {sent["id"] for sent in service.sender.events} == {"e-1", "a-1"}


async def test_every_type_of_both_vocabularies_is_taken(service: Service) -> None:
    named = {"session_id": "s", "session_ids": ["s"], "token_id": "t", "kind": "refresh"}
    types = sorted(codec.IDENTITY.types | codec.ACTIVITY.types)

    answer = await post(service, [event(name, name, data=named) for name in types], BATCH)

    assert {one["status"] for one in answer.json()["results"]} == {"accepted"}
    assert sorted(sent["type"] for sent in service.sender.events) == types


@pytest.mark.parametrize("type_", ["revocation-ordered", "hold-placed", "hold-lifted", "session-ended"])
async def test_what_only_the_api_itself_may_order_is_refused(service: Service, type_: str) -> None:
    answer = await post(service, event(type_, data={"selector": {"everyone": True}, "until": "2027-01-01T00:00:00Z"}))

    assert answer.status_code == 400
    assert service.sender.sent == []


async def test_binary_mode_has_its_attributes_in_headers(service: Service) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "e%201",
        "ce-source": '"a \\"quoted\\" source"',
        "ce-type": "com.example.password-changed",
        "ce-subject": "%C3%A9lise%25",
        "ce-time": "2026-11-21T09:00:00Z",
        "ce-traceparent": "00-ab",
    }
    answer = await post(service, {"keep": ["s-1"]}, "application/json", headers=headers)

    assert answer.status_code == 202
    [sent] = service.sender.events
    assert (sent["id"], sent["source"], sent["subject"]) == ("e 1", 'a "quoted" source', "élise%")
    assert (sent["type"], sent["data"]) == ("password-changed", {"keep": ["s-1"]})


async def test_binary_mode_without_a_body_has_no_data(service: Service) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "l",
        "ce-type": "account-disabled",
        "ce-subject": "u",
    }

    answer = await post(service, b"", "application/vnd.example+json", headers=headers)

    assert answer.status_code == 202
    assert "data" not in service.sender.events[0]


async def test_attributes_that_a_structured_event_repeats_in_headers_do_not_count(service: Service) -> None:
    await post(service, event(), headers={"ce-specversion": "1.0", "ce-subject": "mallory"})

    assert [key for _, key, _ in service.sender.sent] == [b"alice"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"plain", "plain"),
        (b" Euro%20%E2%82%AC%20%F0%9F%98%80 ", "Euro € 😀"),
        (b'"quoted \\" and \\\\"', 'quoted " and \\'),
        (b"%2525", "%25"),
        (b"100%", "100%"),
        (b'"half', '"half'),
    ],
)
def test_values_of_headers_are_unquoted_and_decoded_once(raw: bytes, told: str) -> None:
    assert cloudevents.header_text("ce-id", raw) == told


@pytest.mark.parametrize("raw", [b"%FF", b"\xff", b"%C3%28"])
def test_values_of_headers_that_are_no_text_are_refused(raw: bytes) -> None:
    with pytest.raises(ProblemError):
        cloudevents.header_text("ce-id", raw)


def test_an_attribute_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ProblemError):
        cloudevents.binary(b"", [(b"ce-id", b"1"), (b"CE-ID", b"2")])


# Refusals


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", STRUCTURED, 400),
        (b'{"a": NaN}', STRUCTURED, 400),
        (b"{}", BATCH, 400),
        (b"[" * 10_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"<a/>", "application/cloudevents+xml", 415),
        (b"{}", "", 415),
    ],
)
async def test_what_holds_no_events_is_refused_as_a_whole(
    service: Service, body: bytes, kind: str, status: int
) -> None:
    answer = await post(service, body, kind)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_when_none_is_accepted_the_whole_is_a_bad_request(service: Service) -> None:
    answer = await post(service, [event("x"), event("y")], BATCH)

    assert answer.status_code == 400
    assert [one["status"] for one in answer.json()["results"]] == ["rejected", "rejected"]


async def test_nothing_to_publish_is_nothing_wrong(service: Service) -> None:
    answer = await post(service, [], BATCH)

    assert (answer.status_code, answer.json()) == (202, {"results": []})


async def test_too_much_is_refused(service: Service) -> None:
    large = event(data={"reason_admin": "x" * 70_000})

    assert (await post(service, large)).status_code == 413
    assert (await post(service, [event()] * (MOST + 1), BATCH)).status_code == 413
    mixed = (await post(service, [large, event()], BATCH)).json()["results"]
    assert [one["status"] for one in mixed] == ["rejected", "accepted"]
    async with in_process(api_settings(http=HttpSettings(max_body=65_536))) as small:
        assert (await post(small, [event(id_=str(n)) for n in range(900)], BATCH)).status_code == 413


async def test_a_reason_names_the_place_and_never_the_value(service: Service) -> None:
    secret = "hunter2-" * 80

    answer = await post(service, event(id_="e-1", subject=secret, type="password-changed"))

    assert answer.status_code == 400
    assert "subject" in answer.json()["detail"]
    assert "hunter2" not in answer.text


async def test_without_the_scope_nothing_is_read(service: Service) -> None:
    for headers, status in (({}, 401), (service.machine("revoker.gateway"), 403), (service.bearer(), 403)):
        answer = await service.client.post("/v1/events", json=event(), headers=headers)
        assert answer.status_code == status
    assert service.sender.sent == []


async def test_what_kafka_did_not_take_is_said_and_safe_to_repeat(service: Service) -> None:
    service.sender.failing = True
    refused = await post(service, [event(), activity()], BATCH)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")

    service.sender.failing = False
    first, again = await post(service, event()), await post(service, event())
    assert first.json() == again.json()
    assert service.sender.events == [event(), event()]


# Tenants, sources, inputs


def tenanted(**more: Any) -> Settings:
    return api_settings(claims=ClaimSettings(tenant="org"), **more)


async def test_a_publisher_speaks_for_its_own_tenant(service: Service) -> None:
    async with in_process(tenanted()) as several:
        mine = await post(several, event(), claims={"org": "acme"})
        same = await post(several, event(tenant="acme"), claims={"org": "acme"})
        others = await post(several, event(tenant="other"), claims={"org": "acme"})
        all_ = await post(several, event(tenant="other"), claims={"scope": f"{PUBLISH} all-tenants"})
        nobody = await post(several, event())
        assert [one.status_code for one in (mine, same, others, all_, nobody)] == [202, 202, 400, 202, 403]
        assert [sent["tenant"] for sent in several.sender.events] == ["acme", "acme", "other"]
    assert (await post(service, event(tenant="acme"))).status_code == 400
    assert (await post(service, event(tenant=""))).status_code == 202
    assert (await post(service, event(tenant={"a": 1}))).status_code == 400


async def test_events_go_to_the_input_that_takes_them() -> None:
    inputs = (
        Input(topic="foreign", format=Format.KEYCLOAK),
        Input(topic="try-out", mode=Mode.REPORT_ONLY),
        Input(topic="hr", source="hr", types=("account-disabled",)),
        Input(topic="acme", tenant="acme", ignore=("email-*",)),
        Input(topic="acts", lane=Lane.REGISTRATION),
    )

    async with in_process(tenanted(inputs=inputs)) as several:

        async def topic(body: dict[str, Any], tenant: str) -> str | None:
            several.sender.sent.clear()
            answer = await post(several, body, claims={"org": tenant})
            return several.sender.sent[0][0] if answer.status_code == 202 else None

        assert await topic(event("account-disabled", source="hr"), "other") == "hr"
        assert await topic(event("account-disabled"), "acme") == "acme"
        assert await topic(event("account-disabled"), "other") == "try-out"
        assert await topic(event("email-changed"), "acme") == "try-out"
        assert await topic(activity(), "other") == "acts"


async def test_an_input_that_is_bound_gives_its_tenant_and_refuses_other_sources() -> None:
    async with in_process(api_settings(inputs=(Input(topic="one", tenant="acme", source="login"),))) as bound:
        assert (await post(bound, event())).status_code == 202
        assert (await post(bound, event(source="mallory"))).status_code == 400
        assert (await post(bound, event(tenant="acme"))).status_code == 202
        assert (await post(bound, activity())).status_code == 400
        assert [sent["tenant"] for sent in bound.sender.events] == ["acme", "acme"]


# Waiting


async def test_waiting_without_a_database_says_requested(service: Service) -> None:
    answer = await post(service, [event(), activity()], BATCH, headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert [one.get("state") for one in answer.json()["results"]] == ["requested", None]
    assert (await post(service, event(), params={"until": "never"})).status_code == 400
