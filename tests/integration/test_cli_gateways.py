"""`revoker gateways`, and what `revoker revocations` says of them."""

import uuid
from collections.abc import Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.service import doctor
from revoker.settings import GatewaySettings, Settings
from tests.integration.cli_worker import environment, run
from tests.integration.test_enforcement import World
from tests.stored import execute


@pytest.fixture
def env(database_settings: Settings) -> Mapping[str, str]:
    return environment(database_settings)


@pytest.fixture
async def world(engine: AsyncEngine, database_settings: Settings) -> World:
    made = World(engine, database_settings)
    await made.begin()
    return made


async def _silent_and_serving(world: World) -> uuid.UUID:
    """One that died, and one that applied."""
    await world.say("0.0.0", instance="dead", max_staleness=7)
    await world.say("0.0.0")
    id_ = await world.announce()
    await world.prove()
    await world.silence(20)
    applied = {"revocation_id": str(id_), "applied_at": "2026-11-21T09:00:00Z", "connections_dropped": 2}
    await world.say(applied=[applied], refused=[{"revocation_id": str(id_), "count": 3, "last_ip": "203.0.113.9"}])
    await world.prove()
    return id_


async def test_that_nobody_there_is_exit_3(env: Mapping[str, str]) -> None:
    done = await run(env, "gateways")
    as_json = await run(env, "gateways", "--json")

    assert (done.code, as_json.code) == (3, 3)
    assert "no gateways" in done.out
    assert "receipts consumers" in done.err
    assert as_json.json == {"receipts_read_until": None, "missing": [], "gateways": []}


async def test_that_each_instance_is_shown_with_how_it_is(world: World, env: Mapping[str, str]) -> None:
    await _silent_and_serving(world)

    done = await run(env, "gateways")
    found = (await run(env, "gateways", "--json")).json["gateways"]

    assert done.code == 0
    assert "dead" in done.out
    assert [(one["instance"], one["state"], one["behind"]) for one in found] == [
        ("dead", "unknown", 30),
        ("host-1", "serving", 15),
    ]
    assert found[0]["seconds_since_heard"] > 19
    assert (found[0]["mode"], found[0]["max_staleness"]) == ("best_effort", 7)


async def test_that_a_required_one_that_is_missing_is_said(world: World, env: Mapping[str, str]) -> None:
    await world.say()

    done = await run({**env, "REVOKER_GATEWAYS__REQUIRED": '["api"]'}, "gateways")

    assert done.code == 0
    assert "api is required" in done.err


async def test_that_a_revocation_names_whom_it_waits_for_and_what_was_done(
    world: World, env: Mapping[str, str]
) -> None:
    id_ = str(await _silent_and_serving(world))

    done = await run(env, "revocations", id_)
    found = (await run(env, "revocations", id_, "--json")).json

    assert done.code == 0
    assert "waiting for chat dead (unknown: silent since" in done.out
    assert "3 times" in done.out
    assert "from 203.0.113.9" in done.out
    assert (found["state"], found["enforced_at"], found["report_only"]) == ("committed", None, False)
    assert [one["instance"] for one in found["enforcement"]["waiting_for"]] == ["dead"]
    [mine] = [one for one in found["enforcement"]["instances"] if one["instance"] == "host-1"]
    assert (mine["how"], mine["proven"], mine["connections_dropped"], mine["refused"]) == ("past", True, 2, 3)
    assert mine["last_ip"] == "203.0.113.9"


async def test_that_retiring_the_silent_one_proves_it(world: World, env: Mapping[str, str]) -> None:
    id_ = str(await _silent_and_serving(world))

    talking = await run(env, "gateways", "retire", "chat", "--instance", "host-1")
    done = await run(env, "gateways", "retire", "chat", "--by", "bob", "--reason", "host is gone")
    nobody = await run(env, "gateways", "retire", "mail")
    await world.prove()
    shown = await run(env, "revocations", id_)
    listed = (await run(env, "revocations", "--json")).json
    gone = (await run(env, "gateways", "--all", "--json")).json["gateways"]

    assert (talking.code, done.code, nobody.code) == (5, 0, 3)
    assert "not retired" in talking.err
    assert "retired chat dead" in done.out
    assert "left: retired" in shown.out
    assert [one["state"] for one in listed] == ["enforced"]
    assert [(one["instance"], one["state"], one["left_why"]) for one in gone if one["left_at"]] == [
        ("dead", "retired", "by bob: host is gone")
    ]


async def test_that_what_was_not_read_lately_is_said(world: World, env: Mapping[str, str]) -> None:
    await world.say()
    await world.prove()
    await execute(world.engine, "update receipts_read set until = until - interval '1 hour'")
    id_ = str(await world.announce())

    assert "are the receipts consumers running?" in (await run(env, "gateways")).err
    assert "receipts are read only until" in (await run(env, "revocations", id_)).out


async def test_that_the_doctor_says_who_keeps_revocations_from_being_proven(
    world: World, database_settings: Settings
) -> None:
    async def found(settings: Settings = database_settings) -> tuple[str, str]:
        [one] = [one async for one in doctor._postgres(settings) if one.about == "gateways"]
        return one.level.value, one.text.partition(":")[0]

    assert (await found())[0] == "ok"
    await _silent_and_serving(world)
    assert await found() == ("warn", "1 instance silent")
    await run(environment(database_settings), "gateways", "retire", "chat")
    assert await found() == ("ok", "1 instance, all heard of")
    needs = database_settings.model_copy(update={"gateways": GatewaySettings(required=("api",))})
    assert await found(needs) == ("fail", "required and not there")
    await execute(world.engine, "update receipts_read set until = until - interval '1 hour'")
    assert await found() == ("warn", "receipts are not read now, so nothing is proven")
