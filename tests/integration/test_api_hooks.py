"""`/v1/hooks`: platforms post as they do, with their secret, and nothing of it is lost or sent for ever."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from revoker.api.hooks import MOST
from revoker.errors import ConfigurationError
from revoker.settings import ClaimSettings, HookSettings, Settings
from schemas.inputs import Format, Input, Lane
from tests.api_service import Service, api_settings, in_process

RECORDS = Path(__file__).parents[1] / "data/formats"
SECRET = "a-secret-of-this-test"
IDENTITY, ACTIVITY, REJECTED = "identity-events", "session-activity", "rejected-events"


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_bytes())["record"]
    return found


def hook(format_: Format, **more: Any) -> HookSettings:
    return HookSettings(**{"name": format_.value, "format": format_, "secret": SECRET} | more)


def hooked(*hooks: HookSettings, **more: Any) -> Settings:
    return api_settings(hooks=hooks or tuple(hook(one) for one in Format if one is not Format.CLOUDEVENTS), **more)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with in_process(hooked()) as made:
        yield made


async def post(
    service: Service, name: str, body: Any, kind: str = "application/json", **headers: str
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": SECRET, "Content-Type": kind} | headers
    return await service.client.post(f"/v1/hooks/{name}", content=content, headers=given)


def published(service: Service) -> list[tuple[str, str, str]]:
    """Topic, type and subject of each."""
    return [(topic, event["type"], event.get("subject", "")) for topic, _, event in service.sender.sent]


AUTH0, OKTA = "auth0|507f1f77bcf86cd799439011", "00u1qw6mqitPHM8AJ0g7"


@pytest.mark.parametrize("shape", ["array", "lines", "object", "one"])
async def test_auth0_posts_arrays_lines_or_objects(service: Service, shape: str) -> None:
    records = [record("auth0/slo"), record("auth0/failed-login"), record("auth0/s")]
    body: Any = {
        "array": records,
        "lines": "\n".join(map(json.dumps, records)).encode() + b"\n",
        "object": {"logs": records},
        "one": records[0],
    }[shape]

    answer = await post(service, "auth0", body, "application/x-ndjson" if shape == "lines" else "application/json")

    assert (answer.status_code, answer.content) == (204, b"")
    told = [(IDENTITY, "logged-out", AUTH0), (ACTIVITY, "session-established", AUTH0)]
    assert published(service) == (told[:1] if shape == "one" else told)
    assert service.sender.sent[0][1] == AUTH0.encode()


async def test_okta_posts_events_in_an_envelope(service: Service) -> None:
    events = [record("okta/session-end"), record("okta/suspend"), record("okta/group")]
    envelope = {"eventType": "com.okta.event_hook", "eventId": "1", "data": {"events": events}}

    answer = await post(service, "okta", envelope)

    assert (answer.status_code, answer.content) == (204, b"")
    assert published(service) == [(IDENTITY, "logged-out", OKTA), (IDENTITY, "account-disabled", OKTA)]


async def test_okta_is_answered_its_challenge_and_nobody_else(service: Service) -> None:
    challenge = {"X-Okta-Verification-Challenge": "My verification challenge"}

    answer = await service.client.get("/v1/hooks/okta", headers=challenge)

    assert (answer.status_code, answer.json()) == (200, {"verification": "My verification challenge"})
    assert (await service.client.get("/v1/hooks/auth0", headers=challenge)).status_code == 404
    assert (await service.client.get("/v1/hooks/nobody", headers=challenge)).status_code == 404
    assert (await service.client.get("/v1/hooks/okta")).status_code == 404
    long = {"X-Okta-Verification-Challenge": "x" * 1_001}
    assert (await service.client.get("/v1/hooks/okta", headers=long)).status_code == 404


async def test_kratos_posts_one_record_and_names_its_deliveries(service: Service) -> None:
    body = record("kratos/settings-password")
    del body["id"]
    trigger = {"Ory-Webhook-Trigger-ID": "1c9f2e6a-3b7d-4f55-9a0e-8d7c6b5a4f3e"}

    for _ in range(2):
        assert (await post(service, "kratos", body, **trigger)).status_code == 204

    first, again = service.sender.events
    assert first == again
    assert first["id"] == trigger["Ory-Webhook-Trigger-ID"]
    assert "time" not in first, "it happens when Kafka takes it, at each attempt under the same id"


@pytest.mark.parametrize("name", ["logout", "logout-webhook"])
async def test_gotrue_posts_rows(service: Service, name: str) -> None:
    assert (await post(service, "gotrue", record(f"gotrue/{name}"))).status_code == 204
    assert [type_ for _, type_, _ in published(service)] == ["logged-out-everywhere"]


# Who may


@pytest.mark.parametrize("shown", ["", "wrong", SECRET + "x", f"Bearer {SECRET}", SECRET.upper()])
async def test_only_the_secret_opens(service: Service, shown: str) -> None:
    answer = await post(service, "auth0", record("auth0/slo"), Authorization=shown)

    assert answer.status_code == 401
    assert service.sender.sent == []


async def test_no_secret_two_secrets_a_token_and_an_unknown_name_get_the_same_answer(service: Service) -> None:
    body = json.dumps(record("auth0/slo"))
    asked: list[tuple[str, Any]] = [
        ("auth0", {}),
        ("auth0", [("Authorization", SECRET), ("Authorization", SECRET)]),
        ("auth0", service.machine("revoker.publish")),
        ("nobody", {"Authorization": SECRET}),
        ("nobody", {}),
    ]

    answers = [await service.client.post(f"/v1/hooks/{name}", content=body, headers=headers) for name, headers in asked]

    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert service.sender.sent == []


def test_a_hook_needs_a_secret_that_is_one_and_a_platform(tmp_path: Path) -> None:
    for wrong in (
        {"secret": "short"},
        {"secret": None},
        {"secret_file": tmp_path / "both"},
        {"format": "cloudevents"},
        {"name": "No Name"},
        {"realms": {"a": "b"}, "format": "okta"},
    ):
        with pytest.raises(ValidationError):
            HookSettings.model_validate({"name": "x", "format": "auth0", "secret": SECRET} | wrong)
    with pytest.raises(ValidationError, match="twice"):
        hooked(hook(Format.OKTA), hook(Format.OKTA))
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "empty").write_text("")
    assert hook(Format.OKTA, secret=None, secret_file=tmp_path / "secret").proof() == SECRET
    for missing in ("empty", "nothing"):
        with pytest.raises(ConfigurationError):
            hook(Format.OKTA, secret=None, secret_file=tmp_path / missing).proof()


# Bad input, and ours


async def test_what_cannot_be_read_is_set_aside_and_its_neighbours_are_published(service: Service) -> None:
    lines = [json.dumps(record("auth0/scp")).encode(), b"{oops", b'{"type": "zzz"}', b'{"type": "slo"}', b"7"]

    answer = await post(service, "auth0", b"\n".join(lines), "application/x-ndjson")

    assert answer.status_code == 204
    # Kept as it arrived: `sent` could not hold what is no JSON.
    assert [topic for topic, *_ in service.sender.sent] == [IDENTITY]
    assert [topic for topic, *_ in service.sender.raw] == [REJECTED] * 4
    assert [value for _, _, value in service.sender.raw] == [lines[1], b'{"type":"zzz"}', b'{"type":"slo"}', b"7"]
    told = [headers["revoker-reason"].decode().partition(":")[0] for headers in service.sender.headers if headers]
    assert told == ["not-json", "unknown-type", "invalid", "invalid"]
    assert {headers["revoker-topic"] for headers in service.sender.headers if headers} == {b"hooks/auth0"}


@pytest.mark.parametrize(
    ("name", "body", "kind", "status"),
    [
        ("okta", b"{oops", "application/json", 400),
        ("okta", b"{}", "application/xml", 415),
        ("auth0", b"[{}" + b",{}" * MOST + b"]", "application/json", 413),
        ("auth0", b"x" * 2_000_001, "text/plain", 413),
    ],
)
async def test_a_body_that_is_none_is_refused(service: Service, name: str, body: bytes, kind: str, status: int) -> None:
    assert (await post(service, name, body, kind)).status_code == status


async def test_what_kafka_did_not_take_is_to_be_sent_again(service: Service) -> None:
    service.sender.failing = True

    answer = await post(service, "okta", {"data": {"events": [record("okta/suspend")]}})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_counts_say_what_became_of_records(service: Service) -> None:
    records = [record("auth0/scp"), record("auth0/failed-login"), {"type": "zzz"}]

    await post(service, "auth0", records)

    count = service.parts.metrics.registry.get_sample_value
    for outcome in ("accepted", "ignored", "rejected"):
        assert count("revoker_published_total", {"by": "auth0", "outcome": outcome}) == 1


# Whom it speaks for


async def test_a_hook_speaks_for_its_tenant_and_as_its_source() -> None:
    several = ClaimSettings(tenant="org")
    bound = hook(Format.OKTA, tenant="acme", source="https://acme.okta.com")
    realms = hook(Format.AUTH0, realms={"acme": "acme", "sister": "other"}, name="both")
    strange = hook(Format.AUTH0, realms={"sister": "other"})

    async with in_process(hooked(bound, realms, strange, claims=several)) as service:
        await post(service, "okta", record("okta/suspend"))
        await post(service, "both", record("auth0/scp"))
        await post(service, "auth0", record("auth0/scp"))

        told = [(event["tenant"], event["source"]) for event in service.sender.events]
        assert told == [("acme", "https://acme.okta.com"), ("acme", "auth0/acme")]
        assert b"wrong-tenant" in service.sender.headers[-1]["revoker-reason"]


async def test_the_inputs_that_it_writes_to_bind_it() -> None:
    inputs = (
        Input(topic="native", format=Format.OKTA),
        Input(topic="in", tenant="acme", source="login"),
        Input(topic="acts", lane=Lane.REGISTRATION),
    )

    async with in_process(hooked(hook(Format.OKTA), inputs=inputs)) as service:
        await post(service, "okta", {"data": {"events": [record("okta/suspend"), record("okta/session-start")]}})

        told = [(topic, event.get("tenant"), event["source"]) for topic, _, event in service.sender.sent]
        assert told == [("in", "acme", "login"), ("acts", None, "okta")]


async def test_patterns_and_types_of_a_hook_count() -> None:
    picky = hook(Format.OKTA, ignore=("user.session.*", "account-*"), types=("password-changed",))

    async with in_process(hooked(picky)) as service:
        names = ("session-end", "suspend", "reset-password", "suspicious-activity")
        await post(service, "okta", {"data": {"events": [record(f"okta/{name}") for name in names]}})

        assert [event["type"] for event in service.sender.events] == ["password-changed"]
        assert [b"type-not-allowed" in headers["revoker-reason"] for headers in service.sender.headers if headers] == [
            True
        ]
