"""Finding sessions, ending them, and proof of it: the commands against real servers, with a stand-in consumer."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from revoker.kafka import client_options
from revoker.service import topics
from revoker.settings import Settings
from schemas.inputs import SESSION_ACTIVITY, Input, Mode
from tests.integration.cli_worker import FIREFOX, NOWHERE, Worker, environment, established, event, run, wire, working

LATER = wire(datetime.now(UTC) + timedelta(days=9))


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[Worker]:
    await topics.ensure(settings)
    async with working(settings) as at_work:
        yield at_work


@pytest.fixture
def env(settings: Settings) -> Mapping[str, str]:
    return environment(settings)


async def sessions(env: Mapping[str, str], subject: str = "alice", *more: str) -> dict[str, str]:
    done = await run(env, "sessions", subject, "--all", "--json", *more)
    return {one["session_id"]: one["state"] for one in done.json["sessions"]}


async def test_that_sessions_are_shown_to_people_and_to_programs(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(
        established("s-1", client_id="web", user_agent=FIREFOX, ip="203.0.113.9", expires_at=LATER, device_id="d-1"),
        established("s-2", expires_at=wire(datetime.now(UTC) - timedelta(minutes=1))),
        event("token-issued", data={"session_id": "s-1", "token_id": "t-1", "kind": "refresh"}),
        event("token-issued", data={"token_id": "t-2", "kind": "remember-me"}),
        event("session-presented", data={"session_id": "s-1", "ip": "203.0.113.10"}),
    )
    shown = await run({**env, "COLUMNS": "100"}, "sessions", "alice")
    assert shown.code == 0
    for words in (
        "1 live session, 1 over",
        "Firefox on Linux",
        "web",
        "s-1",
        "203.0.113.10",
        "in 8 d",
        "active",
        "t-2",
    ):
        assert words in shown.out
    assert "s-2" not in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100

    said = (await run(env, "sessions", "alice", "--all", "--json")).json
    assert (said["tenant"], said["subject"]) == ("", "alice")
    first, second = said["sessions"]
    assert (first["session_id"], first["state"], first["live_tokens"]) == ("s-1", "live", 1)
    assert (first["expires_at"], first["ip"], first["last_ip"]) == (LATER, "203.0.113.9", "203.0.113.10")
    assert (second["session_id"], second["state"]) == ("s-2", "expired")
    assert [token["token_id"] for token in said["tokens"]] == ["t-2"]


async def test_that_a_subject_without_sessions_is_exit_3(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(established("s-1"))
    assert (await run(env, "sessions", "nobody")).code == 3
    assert (await run(env, "sessions", "alice", "--tenant", "acme")).code == 3
    assert (await run(env, "sessions", "alice")).code == 0


async def test_that_all_sessions_end_but_the_kept_one_with_proof(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(*(established(f"s-{n}", client_id="web") for n in range(3)), established("b", subject="bob"))
    done = await run(env, "revoke", "alice", "--keep", "s-0", "--reason", "Your phone was lost", "--json")
    assert done.code == 0, done.err
    said = done.json
    assert (said["state"], said["announced"], said["sessions_ended"]) == ("committed", True, 2)
    assert {one["session_id"] for one in said["sessions"]} == {"s-1", "s-2"}
    assert 0 < said["milliseconds"] < 10_000
    assert said["requested_at"] <= said["committed_at"] <= said["announced_at"]
    assert await sessions(env) == {"s-0": "live", "s-1": "ended", "s-2": "ended"}
    assert await sessions(env, "bob") == {"b": "live"}

    notice = await announced(worker.settings, said["revocation_id"])
    assert notice["data"]["reason_user"] == {"en": "Your phone was lost"}
    assert (notice["data"]["cause"], notice["data"]["initiator"]) == ("logged-out-everywhere", "admin")
    assert {one["session_id"] for one in notice["data"]["sessions"]} == {"s-1", "s-2"}


async def announced(settings: Settings, revocation_id: str) -> Any:
    """The notification of that revocation, as any gateway reads it."""
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=None, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(10):
        topic = settings.topic("session-ended")
        consumer.assign([TopicPartition(topic, n) for n in range(settings.kafka.partitions)])
        async for record in consumer:
            notice = json.loads(record.value)
            if notice["data"]["revocation_id"] == revocation_id:
                return notice
    return None


async def test_that_named_sessions_end_and_no_others(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(*(established(f"s-{n}") for n in range(3)))
    done = await run(env, "revoke", "alice", "--session", "s-0", "--session", "s-2")
    assert done.code == 0, done.err
    for words in ("ended      2 sessions", "committed", "announced", "ms later", "session-revoked"):
        assert words in done.out
    assert await sessions(env) == {"s-0": "ended", "s-1": "live", "s-2": "ended"}


async def test_that_one_client_can_be_ended_alone(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(established("s", client_id="web"), established("s", client_id="tv"))
    assert (await run(env, "revoke", "alice", "--session", "s", "--client", "tv")).code == 0
    said = (await run(env, "sessions", "alice", "--all", "--json")).json["sessions"]
    assert {one["client_id"]: one["state"] for one in said} == {"web": "live", "tv": "ended"}
    assert next(one["cause"] for one in said if one["client_id"] == "tv") == "logged-out"


async def test_that_a_dry_run_says_what_would_end_and_changes_nothing(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(
        *(established(f"s-{n}") for n in range(3)),
        event("token-issued", data={"session_id": "s-1", "token_id": "t-1", "kind": "refresh"}),
        event("token-issued", data={"session_id": "s-0", "token_id": "t-0", "kind": "refresh"}),
        event("token-issued", data={"token_id": "t-2", "kind": "remember-me"}),
    )
    done = await run(env, "revoke", "alice", "--keep", "s-0", "--dry-run", "--json")
    assert done.code == 0
    assert {one["session_id"] for one in done.json["sessions"]} == {"s-1", "s-2"}
    assert done.json["tokens"] == 2
    assert "would end 3 sessions and 3 tokens" in (await run(env, "revoke", "alice", "--dry-run")).out
    one = await run(env, "revoke", "alice", "--session", "s-2", "--dry-run", "--json")
    assert ([s["session_id"] for s in one.json["sessions"]], one.json["tokens"]) == (["s-2"], 0)
    assert (await run(env, "revoke", "nobody", "--dry-run")).code == 3
    assert set((await sessions(env)).values()) == {"live"}
    assert (await run(env, "revocations")).code == 3

    # What it says is what then happens.
    ended = await run(env, "revoke", "alice", "--keep", "s-0", "--json")
    assert (ended.json["sessions_ended"], ended.json["tokens_ended"]) == (2, 2)


async def test_that_ending_nothing_is_exit_3_and_the_revocation_stands(worker: Worker, env: Mapping[str, str]) -> None:
    done = await run(env, "revoke", "alice")
    assert done.code == 3
    assert "The revocation stands" in done.out
    await worker.register(established("old", established_at=wire(datetime.now(UTC) - timedelta(hours=1))))
    assert await sessions(env) == {"old": "ended"}
    again = await run(env, "revoke", "alice", "--session", "old")
    assert again.code == 3
    assert "an earlier revocation covers all of it" in again.out


async def test_that_an_unproven_revocation_is_exit_4_and_its_id_finds_it_later(
    worker: Worker, env: Mapping[str, str]
) -> None:
    await worker.register(established("s-1"))
    worker.announcing.clear()
    done = await run(env, "revoke", "alice", "--wait", "300ms")
    assert done.code == 4
    id_ = done.out.split()[1]
    assert f"revoker revocations {id_}" in done.err
    committed = await run(env, "revocations", id_)
    assert "committed, not announced" in committed.out
    assert (await run(env, "revocations", id_, "--json")).json["announced"] is False

    worker.announcing.set()
    await worker.send("identity-events", event("logged-out", data={"session_id": "fence"}))
    assert (await run(env, "revocations", id_, "--json")).json["announced"] is True


async def test_that_without_consumers_it_is_accepted_and_no_more(settings: Settings, env: Mapping[str, str]) -> None:
    await topics.ensure(settings)
    done = await run(env, "revoke", "alice", "--wait", "200ms", "--json")
    assert (done.code, done.json["state"], done.json["announced"]) == (4, "requested", False)
    assert (await run(env, "revocations", done.json["revocation_id"])).code == 3


async def test_that_the_revocation_is_sent_though_the_database_is_away(worker: Worker, env: Mapping[str, str]) -> None:
    await worker.register(established("s-1"))
    away = {**env, "REVOKER_DATABASE_URL": f"postgresql://u:hunter2@{NOWHERE}/x"}
    done = await run(away, "revoke", "alice", "--wait", "1s")
    assert done.code == 4
    assert NOWHERE in done.err
    assert "hunter2" not in done.err
    assert (await sessions(env))["s-1"] == "ended"


async def test_that_a_report_only_input_is_told_honestly(settings: Settings, env: Mapping[str, str]) -> None:
    watched = settings.model_copy(
        update={"inputs": (Input(topic="identity-events", mode=Mode.REPORT_ONLY), SESSION_ACTIVITY)}
    )
    await topics.ensure(watched)
    inputs = '[{"topic":"identity-events","mode":"report-only"},{"topic":"session-activity","lane":"registration"}]'
    async with working(watched) as worker:
        await worker.register(established("s-1"))
        done = await run({**env, "REVOKER_INPUTS": inputs}, "revoke", "alice")
    assert done.code == 3
    assert "report-only: 1 would have ended, none did" in done.out
    assert (await sessions(env))["s-1"] == "live"
    assert "report-only" in (await run(env, "revocations")).out


async def test_that_revocations_are_listed_newest_first_with_what_they_did(
    worker: Worker, env: Mapping[str, str]
) -> None:
    await worker.register(established("s-1", client_id="web"), established("s-2"))
    change = event("password-changed", data={"keep": ["s-2"], "reason_admin": "ticket\u00a07"}, source="idp")
    await worker.send("identity-events", change)
    await worker.send(
        "identity-events", event("password-changed", data={"keep": ["s-2", "s-3"]}, time=wire(long_ago()))
    )
    await worker.send("identity-events", event("logged-out", subject="bob", data={"session_id": "b"}), key=b"bob")

    everything = (await run(env, "revocations", "--json")).json
    assert [(one["cause"], one["redundant"]) for one in everything] == [
        ("logged-out", False),
        ("password-changed", True),
        ("password-changed", False),
    ]
    of_alice = (await run(env, "revocations", "--subject", "alice", "--limit", "1", "--json")).json
    assert [one["revocation_id"] for one in of_alice] == [everything[1]["revocation_id"]]
    table = await run({**env, "COLUMNS": "100"}, "revocations")
    for one in everything:
        assert one["revocation_id"] in table.out
    assert "redundant" in table.out
    assert max(map(len, table.out.splitlines())) <= 100

    id_ = everything[2]["revocation_id"]
    detail = await run({**env, "COLUMNS": "100"}, "revocations", id_)
    for words in (
        "password-changed by user",
        "of idp",
        "Your password was changed",
        "s-2",
        "s-1",
        "ms later",
        "subject alice",
    ):
        assert words in detail.out
    said = (await run(env, "revocations", id_, "--json")).json
    assert (said["state"], said["announced"], said["keep"]) == ("committed", True, ["s-2"])
    assert [one["session_id"] for one in said["sessions"]] == ["s-1"]
    assert said["milliseconds_to_committed"] <= said["milliseconds_to_announced"]


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=2)


async def test_that_an_unknown_revocation_is_exit_3(worker: Worker, env: Mapping[str, str]) -> None:
    del worker
    assert (await run(env, "revocations", str(uuid.uuid4()))).code == 3
    assert (await run(env, "revocations")).code == 3


async def test_that_a_database_that_is_away_is_exit_6_and_one_line(database_settings: Settings) -> None:
    env = {**environment(database_settings), "REVOKER_DATABASE_URL": f"postgresql://u:hunter2@{NOWHERE}/x"}
    for words in (
        ["migrate"],
        ["sessions", "alice"],
        ["revocations"],
        ["revoke", "alice", "--dry-run"],
        ["prune"],
        ["erase", "alice", "--yes"],
    ):
        done = await run(env, *words)
        assert (done.code, done.out, len(done.err.splitlines())) == (6, "", 1), words
        assert NOWHERE in done.err
        assert "hunter2" not in done.err


async def test_that_a_database_without_the_schema_is_named_and_migrate_cures_it(empty_database_url: str) -> None:
    env = {"REVOKER_DATABASE_URL": empty_database_url}
    before = await run(env, "sessions", "alice")
    assert before.code == 2
    assert "revoker migrate" in before.err
    first, second = await run(env, "migrate"), await run(env, "migrate")
    assert (first.code, second.code) == (0, 0)
    assert "migrated from nothing" in first.out
    assert "nothing to do" in second.out
    assert (await run(env, "sessions", "alice")).code == 3


@pytest.mark.parametrize("wrong", ["no_such_database", "garbage"])
async def test_that_a_wrong_database_url_is_exit_2(database_url: str, wrong: str) -> None:
    url = wrong if wrong == "garbage" else f"{database_url.rpartition('/')[0]}/{wrong}"
    done = await run({"REVOKER_DATABASE_URL": url}, "sessions", "alice")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "database_url" in done.err
