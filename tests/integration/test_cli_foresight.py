"""`revoker doctor --topic`: what a topic's records would do, without doing it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from revoker.core.policy import Ends
from revoker.service import foresight, reach, topics
from revoker.service.foresight import shape
from revoker.settings import PolicyRule, Settings
from schemas.fields import wire_time
from schemas.inputs import Input, Lane, Mode
from tests.integration.cli_worker import environment, event, run

RECORDS = Path(__file__).parents[1] / "data/formats"
TABLES = [
    {"topic": "keycloak", "format": "keycloak"},
    {"topic": "keycloak", "format": "keycloak", "lane": "registration"},
    {"topic": "identity-events"},
]


def native(name: str) -> bytes:
    record = json.loads((RECORDS / f"{name}.json").read_bytes())["record"]
    now = datetime.now(UTC)
    return json.dumps(record | ({"time": int(now.timestamp() * 1000)} if "time" in record else {})).encode()


def reading(settings: Settings, **more: Any) -> Settings:
    return settings.model_copy(update={"inputs": tuple(Input.model_validate(one) for one in TABLES), **more})


@pytest.fixture
async def there(settings: Settings) -> Settings:
    chosen = reading(settings)
    await topics.create_missing(chosen)
    return chosen


@pytest.fixture
def env(there: Settings) -> Mapping[str, str]:
    return environment(there, REVOKER_INPUTS=json.dumps(TABLES))


async def write(settings: Settings, topic: str, *values: bytes | None) -> None:
    async with reach.producer(settings) as producer:
        for value in values:
            await producer.send_and_wait(settings.topic(topic), value, key=b"k", partition=0)


async def test_each_record_says_what_it_would_do_and_nothing_is_done(there: Settings, env: Mapping[str, str]) -> None:
    names = ["login", "update-password", "logout", "admin-delete-session", "revoke-grant-access", "login-error"]
    await write(there, "keycloak", *(native(f"keycloak/{name}") for name in names), b'{"type": "NEW_THING"}', None)

    told = (await run(env, "doctor", "--topic", "keycloak", "--json")).json

    assert [(one["native"], one["type"], one["verdict"], one["lane"]) for one in told] == [
        ("LOGIN", "session-established", "registers", "registration"),
        ("UPDATE_PASSWORD", "password-changed", "ends", "revocation"),
        ("LOGOUT", "logged-out", "ends", "revocation"),
        ("USER_SESSION.DELETE", "session-revoked", "ends", "revocation"),
        ("REVOKE_GRANT", "token-revoked", "ends", "revocation"),
        ("LOGIN_ERROR", "LOGIN_ERROR", "ignored", None),
        ("NEW_THING", None, "rejected", None),
        (None, None, "rejected", None),
    ]
    assert [one["effect"] for one in told[1:5]] == [
        "all of the subject's, but 1 kept",
        "one session",
        "one session",
        "one token",
    ]
    assert [one["subject"] for one in told[:4]] == ["a UUID", "a UUID", "a UUID", None]
    assert told[6]["effect"].startswith("unknown-type")
    assert told[7]["effect"] == "empty"
    async with reach.admin(there) as admin:
        assert not [group for group, *_ in await admin.list_consumer_groups() if group.startswith(there.topic_prefix)]


async def test_people_get_a_table_and_no_subject(there: Settings, env: Mapping[str, str]) -> None:
    await write(there, "identity-events", event("password-changed", "alice@example.com"), event("\x1b[31mred"))

    shown = await run({**env, "COLUMNS": "120"}, "doctor", "--topic", "identity-events")

    assert shown.code == 0
    assert all(line.isprintable() for line in shown.out.splitlines())
    assert "an e-mail address" in shown.out
    assert "publish opaque ids" in shown.err
    assert "alice" not in shown.out
    assert "2 read: 1 ends, 1 rejected. Nothing was done." in shown.out


async def test_only_the_newest_are_read(there: Settings, env: Mapping[str, str]) -> None:
    assert (await run(env, "doctor", "--topic", "keycloak")).code == 3
    await write(there, "keycloak", *([native("keycloak/login-error")] * 5), native("keycloak/logout"))

    told = (await run(env, "doctor", "--topic", "keycloak", "--last", "2", "--json")).json

    assert [(one["offset"], one["verdict"]) for one in told] == [(4, "ignored"), (5, "ends")]


async def test_a_topic_that_is_not_read_is_misused(env: Mapping[str, str]) -> None:
    refused = await run(env, "doctor", "--topic", "payroll")

    assert refused.code == 2
    assert "keycloak, identity-events" in refused.err


async def test_policy_and_mode_are_asked(there: Settings) -> None:
    old = wire_time(datetime.now(UTC) - timedelta(days=40))
    clients = PolicyRule(keep_clients=("kiosk",))
    policy = {"email-changed": PolicyRule(ends=Ends.NOTHING), "password-changed": clients}
    report = Input(topic="identity-events", mode=Mode.REPORT_ONLY)
    activity = Input(topic="keycloak", lane=Lane.REGISTRATION)
    await write(
        there,
        "identity-events",
        event("email-changed"),
        event("password-changed"),
        event("security-concern-reported", data={"keep": ["s-1", "s-2"]}),
        event("logged-out", data={"session_id": "s-1", "client_id": "web"}),
        event("session-revoked", data={"session_ids": ["s-1", "s-2"]}),
    )
    await write(
        there,
        "keycloak",
        event("session-established", data={"session_id": "s", "established_at": old}),
        event("session-presented", data={"session_id": "s"}),
        event("token-issued", data={"token_id": "t", "kind": "refresh"}),
    )

    async def effects(settings: Settings, topic: str) -> list[tuple[str, str]]:
        return [(one.verdict.value, one.effect) for one in await foresight.foretold(settings, topic, 10)]

    asked = there.model_copy(update={"policy": policy, "inputs": (Input(topic="identity-events"), activity)})
    assert await effects(asked, "identity-events") == [
        ("ends-nothing", "would end all of the subject's: only recorded (policy)"),
        ("ends", "all of the subject's, but clients kiosk"),
        ("ends", "all of the subject's, but 2 kept if begun within 600 s"),
        ("ends", "one session, as far as client web"),
        ("ends", "2 sessions"),
    ]
    assert await effects(asked, "keycloak") == [
        ("rejected", "older-than-max-lifetime"),
        ("registers", "that a session was used"),
        ("registers", "a refresh token"),
    ]
    [first, *_] = await effects(there.model_copy(update={"inputs": (report,)}), "identity-events")
    assert first == ("ends-nothing", "would end all of the subject's: only recorded (report-only)")


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (None, None),
        ("9F425A8D-7efc-4768-8f23-7647a74fdf13", "a UUID"),
        ("a@b.c", "an e-mail address"),
        ("auth0|507f1f77bcf86cd799439011", "30 characters"),
    ],
)
def test_a_subject_is_described_and_not_shown(subject: str | None, told: str | None) -> None:
    assert shape(subject) == told
