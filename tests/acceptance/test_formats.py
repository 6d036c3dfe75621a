"""Identity platforms, from their own records to the database: consumers as they are run, on real servers.

Each platform's topic is read by both lanes, each of which keeps its own position and passes the other's records by.
"""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from revoker.service import reach, records, topics
from revoker.service.rejected import newest
from revoker.settings import HookSettings, Settings
from schemas.fields import wire_time
from schemas.inputs import Format, Input
from tests.api.serving import serving
from tests.processes import Process, environment, eventually, spawn

RECORDS = Path(__file__).parents[1] / "data/formats"
FORMATS = (Format.KEYCLOAK, Format.AUTH0, Format.OKTA, Format.GOTRUE)
REALM = "a9cbb114-34bf-44d1-a398-354813798345"
KEYCLOAK = {"topic": "keycloak", "format": "keycloak", "realms": {REALM: "acme"}}
OTHERS = [{"topic": one.value, "format": one.value} for one in FORMATS[1:]]
OURS = [{"topic": "identity-events"}, {"topic": "session-activity", "lane": "registration"}]
ACTIVITY = {"session-established", "session-presented"}
SECRET = "a-secret-of-this-test"

Table = Mapping[str, Any]


def in_both_lanes(*tables: Table) -> list[Table]:
    return [{**table, "lane": lane} for table in tables for lane in ("revocation", "registration")]


def described(format_: Format) -> Sequence[dict[str, Any]]:
    return [json.loads(file.read_bytes()) for file in sorted((RECORDS / format_).glob("*.json"))]


def named(format_: Format, name: str) -> dict[str, Any]:
    return next(one for one in described(format_) if one["name"] == name)


def recent(record: Mapping[str, Any]) -> bytes:
    """The record as of now: what is older than sessions can be is not taken in."""
    now = datetime.now(UTC)
    times = dict.fromkeys(("date", "published", "created_at"), wire_time(now))
    said: dict[str, Any] = json.loads(json.dumps(record))
    for part in (said, said.get("data"), said.get("record"), said.get("auth_audit_event")):
        if isinstance(part, dict):
            part.update({name: told for name, told in times.items() if name in part})
    if isinstance(said.get("time"), int):
        said["time"] = time.time_ns() // 1_000_000
    return json.dumps(said).encode()


class World:
    """Consumers at work."""

    def __init__(self, settings: Settings, process: Process) -> None:
        self.settings = settings
        self.process = process

    async def write(self, topic: str, *values: bytes) -> None:
        async with reach.producer(self.settings) as producer:
            for value in values:
                await producer.send_and_wait(self.settings.topic(topic), value, key=b"k")

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with reach.postgres(self.settings) as engine, engine.connect() as connection:
            return [tuple(row) for row in (await connection.exec_driver_sql(statement)).all()]

    async def applied(self) -> dict[tuple[str, str], int]:
        """By lane and topic: how many records are behind it."""
        found = await self.rows("select lane, topic, sum(next_offset)::int from lane_positions group by 1, 2")
        return {(lane, topic.removeprefix(self.settings.topic_prefix)): count for lane, topic, count in found}

    async def settled(self, *tables: Table) -> None:
        """Once each lane has applied all of its topics."""
        ends: dict[str, int] = {}
        for topic in {table["topic"] for table in tables}:
            async with records.opened(self.settings, self.settings.topic(topic)) as log:
                ends[topic] = sum(log.end.values())

        async def done() -> bool:
            assert self.process.code is None, self.process.said[-3000:]
            applied = await self.applied()
            return all(applied.get((one["lane"], one["topic"]), 0) == ends[one["topic"]] for one in tables)

        await eventually(done, lambda: self.process.said[-3000:])

    async def rejected(self) -> list[tuple[str, str]]:
        """Reason and topic of what was set aside."""
        prefix = self.settings.topic_prefix
        return sorted((one.reason, (one.topic or "").removeprefix(prefix)) for one in await newest(self.settings, 100))


@asynccontextmanager
async def consumers(settings: Settings, log: Path, *tables: Table) -> AsyncIterator[World]:
    chosen = settings.model_copy(update={"inputs": tuple(Input.model_validate(one) for one in tables)})
    await topics.ensure(chosen)
    process = spawn(log, environment(chosen, REVOKER_INPUTS=json.dumps(tables), REVOKER_ADMIN_PORT="0"), "consumers")
    try:
        await process.until("service-started")
        yield World(chosen, process)
    finally:
        process.kill()
        await process.gone()


@pytest.mark.timeout(240)
async def test_records_of_platforms_end_and_register_what_they_say(settings: Settings, tmp_path: Path) -> None:
    tables = in_both_lanes(KEYCLOAK, *OTHERS)
    written = {one: [recent(told["record"]) for told in described(one)] for one in FORMATS}
    meant = {(one, told["means"]["type"]) for one in FORMATS for told in described(one) if told["means"]}
    async with consumers(settings, tmp_path / "log", *tables) as world:
        for format_, values in written.items():
            await world.write(format_, *values)
        await world.write("keycloak", b'{"type": "NEW_THING"}', b"\xff", b'{"type": "LOGOUT", "realmId": "other"}')
        await world.settled(*tables)

        stored = await world.rows("select source, cause, tenant from revocations")
        assert {(source.partition("/")[0], cause) for source, cause, _ in stored} == {
            (format_, type_) for format_, type_ in meant if type_ not in ACTIVITY
        }
        assert {tenant for source, _, tenant in stored if source == f"keycloak/{REALM}"} == {"acme"}
        assert {source for source, _, _ in stored} == {f"keycloak/{REALM}", "auth0/acme", "okta", "gotrue"}
        sessions = await world.rows("select tenant, session_id, host(ip), ended_at is not null from sessions")
        assert set(sessions) == {
            ("acme", "NwdMHLlWx7c-mHOCRuC1dmmY", "192.0.2.7", True),
            ("", "Zc3pLbqTqQjC0rVvAqD9WlqkZfQy2k8g", "203.0.113.9", True),
            ("", "102nZHzd6OHSfGG51vsoc22gw", "203.0.113.9", True),
        }
        # By one lane, though both have read them.
        aside = [("not-json", "keycloak"), ("unknown-type", "keycloak"), ("wrong-tenant", "keycloak")]
        assert await world.rejected() == aside

        # A platform sends again what it did not see taken.
        for format_, values in written.items():
            await world.write(format_, *values)
        await world.settled(*tables)
        assert Counter(await world.rows("select source, cause, tenant from revocations")) == Counter(stored)
        assert await world.rejected() == aside


@pytest.mark.timeout(240)
async def test_what_is_posted_is_committed_when_the_answer_says_so(settings: Settings, tmp_path: Path) -> None:
    hook = HookSettings.model_validate({"name": "okta", "format": "okta", "secret": SECRET})
    suspended = named(Format.OKTA, "user.lifecycle.suspend")
    event = {"specversion": "1.0", "type": "password-changed", "source": "login", "id": "e-1", "subject": "alice"}
    async with consumers(settings, tmp_path / "log", *OURS) as world, serving(world.settings, hooks=(hook,)) as served:
        token = served.issuer.machine("revoker.publish")
        for _ in range(2):
            answer = await served.ask("POST", "/v1/events", token, json=event, headers={"Prefer": "wait=25"})
            assert answer.status_code == 200, answer.text
            [result] = answer.json()["results"]
            assert result["state"] == "committed"
        records_ = [json.loads(recent(suspended["record"])), {"eventType": "user.lifecycle.cloned"}]
        told = {"Authorization": SECRET}
        posted = await served.client.post("/v1/hooks/okta", json={"data": {"events": records_}}, headers=told)
        assert posted.status_code == 204

        async def stored() -> list[tuple[Any, ...]] | None:
            found = await world.rows("select id::text, source, cause, subject from revocations order by committed_at")
            return found if len(found) == 2 else None

        first, second = await eventually(stored, lambda: world.process.said[-3000:])
        assert first == (result["revocation_id"], "login", "password-changed", "alice")
        assert second[1:] == ("okta", "account-disabled", suspended["means"]["subject"])
        assert await world.rejected() == [("unknown-type", "hooks/okta")]


@pytest.mark.timeout(240)
async def test_a_lane_that_is_added_reads_from_the_beginning_and_the_other_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    """Neither what the other lane has applied nor what a release without lanes had is its own."""
    alone, both = {**KEYCLOAK, "lane": "revocation"}, in_both_lanes(KEYCLOAK)
    told = [recent(named(Format.KEYCLOAK, name)["record"]) for name in ("LOGIN", "LOGOUT")]
    async with consumers(settings, tmp_path / "first", alone) as world:
        await world.write("keycloak", *told)
        await world.settled(alone)
        assert await world.rows("select cause from revocations") == [("logged-out",)]
        assert await world.rows("select 1 from sessions") == []
        # As the release before would have left it.
        async with reach.postgres(world.settings) as engine, engine.begin() as connection:
            columns = "topic, partition, next_offset, moved_at"
            await connection.exec_driver_sql(
                f"with old as (delete from lane_positions returning {columns}) "
                f"insert into input_positions ({columns}) select * from old"
            )

    async with consumers(settings, tmp_path / "second", *both) as world:
        await world.settled(*both)

        assert await world.rows("select session_id from sessions") == [("NwdMHLlWx7c-mHOCRuC1dmmY",)]
        applied = {lane: count for (lane, topic), count in (await world.applied()).items() if topic == "keycloak"}
        assert applied == {"revocation": 2, "registration": 2}
        # Taken over, and not read once more.
        assert await world.process.metric('revoker_events_total{lane="registration"') == 2
        assert await world.process.metric('revoker_events_total{lane="revocation"') == 0
