"""Receipts in, proofs out: on a real PostgreSQL, with a stand-in for what Kafka says of its topics."""

import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.receipts import Left, Oddity, Receipt
from revoker.service import gateways, prune
from revoker.service.gateways import Stage
from revoker.service.receipts import Prover, Turn
from revoker.settings import GatewaySettings, Settings
from revoker.storage import batches, enforcing, erasing, feeds, reading
from revoker.storage.positions import Positions
from revoker.storage.pruning import Table
from revoker.storage.receipts import Stored, store
from schemas.fields import wire_time
from schemas.topics import Topic
from tests import factories
from tests.factories import decision, established
from tests.stored import apply, execute, register, rows

PAST = "5.5.5"


class Kafka:
    """`revoker.service.receipts.Ends`: three partitions each, and all receipts in the first."""

    def __init__(self) -> None:
        self.written = 0
        self.end = 10

    async def receipts(self) -> Mapping[int, tuple[int, int]]:
        return {0: (0, self.written), 1: (0, 0), 2: (7, 7)}

    async def feed(self) -> Mapping[int, int]:
        return dict.fromkeys(range(3), self.end)


class World:
    """Gateways that talk, batches that are announced, and whoever proves."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.kafka = Kafka()
        self.epoch = ""

    async def begin(self) -> None:
        epoch, _ = await feeds.observe(self.engine, self.settings.topic(Topic.SESSION_ENDED), self.kafka.feed)
        self.epoch = str(epoch)

    def receipt(self, position: str | None = None, **data: Any) -> Receipt:
        at, self.kafka.written = datetime.now(UTC), self.kafka.written + 1
        vector = {} if position is None else {"position": f"{self.epoch}.{position}"}
        given: dict[str, Any] = (
            {"epoch": self.epoch, "at": at, "appended_at": at, "offset": self.kafka.written - 1} | vector | data
        )
        return factories.receipt(**given)

    async def hear(self, *receipts: Receipt, read: bool = True) -> Stored:
        next_ = {(self.settings.topic(Topic.GATEWAY_RECEIPTS), 0): self.kafka.written} if read else {}
        return await store(self.engine, receipts, lambda: next_)

    async def say(self, position: str = PAST, **data: Any) -> Stored:
        """One receipt, sent and read."""
        return await self.hear(self.receipt(position, **data))

    async def announce(self, subject: str = "alice", at: Mapping[int, int] | None = None) -> uuid.UUID:
        """A revocation that was announced just now. Returns its id."""
        outcome = await apply(self.engine, decision("password-changed", subject))
        assert outcome.batch_id is not None
        await batches.mark_announced(self.engine, [(outcome.batch_id, at or {0: 3, 1: 4})])
        return outcome.applied[0].revocation.id

    async def prove(self) -> Turn:
        turn = await Prover(self.engine, self.kafka, self.settings).turn()
        assert turn is not None
        return turn

    async def stage(self, id_: uuid.UUID) -> gateways.Enforcement:
        found = await reading.revocation(self.engine, id_)
        assert found is not None
        return await gateways.enforcement_of(self.engine, self.settings, found)

    async def silence(self, seconds: float) -> None:
        """As if nobody had said anything since then."""
        await execute(
            self.engine,
            "update gateways set heard_at = heard_at - make_interval(secs => :s),"
            " first_heard_at = first_heard_at - make_interval(secs => :s)",
            s=seconds,
        )
        await execute(
            self.engine,
            "update receipts_read set until = until - interval '1 second',"
            " steady_since = steady_since - make_interval(secs => :s)",
            s=seconds,
        )
        await execute(
            self.engine,
            "update batches set announced_at = announced_at - make_interval(secs => :s)",
            s=seconds,
        )


@pytest.fixture
async def world(engine: AsyncEngine, database_settings: Settings) -> World:
    made = World(engine, database_settings)
    await made.begin()
    return made


# Taking receipts in


async def test_what_is_cut_and_refused_adds_up_once_however_often_it_is_delivered(world: World) -> None:
    id_ = str(await world.announce())
    applied = {"revocation_id": id_, "applied_at": "2026-11-21T09:00:00Z", "connections_dropped": 2}
    said = [
        world.receipt(PAST, applied=[applied, applied | {"cached_sessions_dropped": 5}]),
        world.receipt(PAST, refused=[{"revocation_id": id_, "count": 3, "last_ip": "203.0.113.9", "verified": True}]),
        world.receipt(PAST, instance="host-2", refused=[{"revocation_id": id_, "count": 1}]),
    ]

    first = await world.hear(*said)
    again = await world.hear(*said)
    backwards = await world.hear(*reversed(said))

    assert (first.applied, again.applied, backwards.applied) == (3, 0, 0)
    assert (first.connections, first.cached, first.refused) == (4, 5, 4)
    found = await rows(
        world.engine,
        "select g.instance, e.connections, e.cached, e.refused, e.refused_verified, host(e.last_ip)"
        " from gateway_effects e join gateways g on g.id = e.gateway_id order by 1",
    )
    assert [tuple(row) for row in found] == [("host-1", 4, 5, 3, 3, "203.0.113.9"), ("host-2", 0, 0, 1, 0, None)]


async def test_what_nobody_decided_is_not_kept(world: World) -> None:
    id_ = str(await world.announce())
    refused = [{"revocation_id": name, "count": 1} for name in ("junk", str(uuid.uuid4()), id_)]

    stored = await world.say(refused=refused)

    assert stored.oddities[Oddity.UNKNOWN_REVOCATION] == 2
    assert [str(row[0]) for row in await rows(world.engine, "select revocation_id from gateway_effects")] == [id_]


async def test_a_receipt_and_its_position_in_the_log_are_stored_together(world: World) -> None:
    said = world.receipt(PAST)

    def away() -> Positions:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store(world.engine, [said], away)

    assert await rows(world.engine, "select 1 from gateways") == []
    await world.hear(said)
    [row] = await rows(world.engine, "select partition, next_offset from lane_positions")
    assert tuple(row) == (0, 1)


@pytest.mark.parametrize(
    "data",
    [
        {"position": "junk"},
        {"epoch": "e-9", "position": "e-9." + ".".join(["9" * 18] * 400)},
        {"max_staleness": 1e308},
        {"attributes": ["x" * 500] * 60},
        {"gateway": "x" * 512, "instance": "y" * 512, "incarnation": "z" * 512},
    ],
)
async def test_what_is_odd_is_stored_and_proves_nothing(world: World, data: dict[str, Any]) -> None:
    await world.announce()
    await world.say("0.0.0")
    await world.hear(world.receipt(incarnation="odd", **data) if "incarnation" not in data else world.receipt(**data))

    assert not (await world.prove()).seconds
    assert len(await rows(world.engine, "select 1 from gateways")) == 2


# Proving


async def test_a_batch_is_enforced_once_all_are_past(world: World) -> None:
    await world.say("0.0.0")
    await world.say("0.0.0", instance="host-2")
    id_ = await world.announce()
    waiting = await world.prove(), await world.stage(id_)
    await world.say()
    half = await world.prove(), await world.stage(id_)
    await world.say(instance="host-2")
    done = await world.prove(), await world.stage(id_)

    assert [len(turn.seconds) for turn, _ in (waiting, half, done)] == [0, 0, 1]
    assert [found.stage for _, found in (waiting, half, done)] == [Stage.WAITING, Stage.WAITING, Stage.ENFORCED]
    assert [one.instance for one in half[1].waiting_for] == ["host-2"]
    assert {one.how for one in done[1].instances} == {"past"}


async def test_what_is_proven_stays_proven_and_the_database_refuses_to_forget_it(world: World) -> None:
    await world.say()
    id_ = await world.announce()
    await world.prove()
    await world.say("0.0.0")
    await world.say("0.0.0", instance="host-3")
    await world.prove()

    assert (await world.stage(id_)).stage is Stage.ENFORCED
    for change in ("enforced_at = null, proof_id = null", "enforced_at = now()", "proof_id = gen_random_uuid()"):
        with pytest.raises(DBAPIError, match="stays"):
            await execute(world.engine, f"update batches set {change}")


async def test_a_receipt_that_nobody_has_read_yet_is_waited_for(world: World) -> None:
    await world.say()
    await world.prove()
    unread = world.receipt("0.0.0", instance="new")
    id_ = await world.announce()

    before = await world.prove(), await world.stage(id_)
    await world.hear(unread)
    after = await world.prove(), await world.stage(id_)

    assert (before[0].seconds, before[1].stage) == ((), Stage.UNREAD)
    assert (after[0].seconds, after[1].stage) == ((), Stage.WAITING)
    assert [one.instance for one in after[1].waiting_for] == ["new"]


async def test_a_topic_that_was_created_anew_does_not_count_as_read(world: World) -> None:
    for _ in range(3):
        await world.say()
    world.kafka.written = 1
    id_ = await world.announce()
    await world.prove()

    assert (await world.stage(id_)).stage is Stage.UNREAD


async def test_nobody_listening_is_not_enforced_until_somebody_has_replayed_it(world: World) -> None:
    id_ = await world.announce()
    await world.prove()
    alone = await world.stage(id_)
    await world.say()
    await world.prove()

    assert alone.stage is Stage.NO_GATEWAYS
    assert (await world.stage(id_)).stage is Stage.ENFORCED


async def test_a_position_beyond_the_end_proves_nothing_and_is_told(world: World) -> None:
    await world.say("11.11.11")
    id_ = await world.announce()
    turn = await world.prove()
    await world.silence(14)
    await world.prove()

    assert not turn.seconds
    assert [one.how for one in (await world.stage(id_)).waiting_for] == ["impossible-position"]


async def test_the_silent_one_is_named_and_blocks_until_a_person_retires_it(world: World) -> None:
    await world.say("0.0.0", instance="dead")
    await world.say()
    id_ = await world.announce()
    await world.silence(20)
    await world.say()
    await world.prove()
    before = await world.stage(id_)
    retired, talking = await gateways.retire(world.engine, world.settings, "chat", None, why="by bob: host is gone")
    await world.prove()
    after = await world.stage(id_)

    assert [(one.instance, one.how) for one in before.waiting_for] == [("dead", "unknown")]
    assert ([one.instance for one in retired], [one.instance for one in talking]) == (["dead"], ["host-1"])
    assert after.stage is Stage.ENFORCED
    assert {one.instance: one.how for one in after.instances} == {"dead": "retired", "host-1": "past"}
    [why] = await rows(world.engine, "select left_why from gateways where left_by = 'retired'")
    assert why[0] == "by bob: host is gone"


async def test_it_is_waited_for_no_more_when_it_is_back_under_its_name(world: World) -> None:
    await world.say("0.0.0")
    id_ = await world.announce()
    await world.prove()
    await world.silence(20)
    await world.prove()
    blocked = await world.stage(id_)
    await world.say(incarnation="i-2")
    left = (await world.prove()).left

    assert blocked.stage is Stage.WAITING
    assert [(who.incarnation, by.value) for who, by, _ in left] == [("i-1", "replaced")]
    assert (await world.stage(id_)).stage is Stage.ENFORCED


async def test_a_strict_one_is_fenced_by_time(world: World) -> None:
    await world.say("0.0.0", mode="strict")
    id_ = await world.announce()
    await world.prove()
    early = await world.stage(id_)
    await world.silence(14)
    await world.prove()

    assert early.stage is Stage.WAITING
    assert {one.how for one in (await world.stage(id_)).instances} == {"fenced"}


async def test_a_pause_of_ours_makes_nobody_silent(world: World) -> None:
    world.settings = world.settings.model_copy(update={"gateways": GatewaySettings(retire_after=timedelta(seconds=30))})
    await world.say("0.0.0")
    await world.prove()
    await execute(world.engine, "update gateways set heard_at = heard_at - interval '1 hour'")
    await execute(
        world.engine,
        "update receipts_read set until = until - interval '1 hour', steady_since = until - interval '9 h'",
    )

    assert (await world.prove()).left == []


async def test_another_epoch_is_not_past(world: World) -> None:
    await world.say()
    world.kafka.end = 1
    await world.begin()
    id_ = await world.announce(at={0: 0})
    await world.prove()

    assert [one.how for one in (await world.stage(id_)).waiting_for] == ["another-epoch"]
    await world.say("1.1.1")
    await world.prove()
    assert (await world.stage(id_)).stage is Stage.ENFORCED


async def test_who_is_missing_is_named(world: World) -> None:
    world.settings = world.settings.model_copy(update={"gateways": GatewaySettings(required=("chat", "api"))})
    await world.say()
    id_ = await world.announce()
    await world.prove()

    assert ((await world.stage(id_)).missing, (await world.stage(id_)).stage) == (["api"], Stage.WAITING)
    await world.say(gateway="api")
    await world.prove()
    assert (await world.stage(id_)).stage is Stage.ENFORCED


async def test_who_can_see_neither_the_attribute_nor_ids_blocks_until_it_leaves(world: World) -> None:
    await world.say(attributes=["device_id"])
    id_ = await world.announce()
    await world.prove()
    blind = await world.stage(id_)
    found = await reading.revocation(world.engine, id_)
    assert found is not None
    listed = await gateways.enforced_among(world.engine, [found])
    await world.say(state="stopped", attributes=["device_id"])

    assert [(one.how, one.unseen) for one in blind.waiting_for] == [("blind", ["subject"])]
    assert listed == set()
    assert (await world.stage(id_)).stage is Stage.ENFORCED
    assert await gateways.enforced_among(world.engine, [found]) == {id_}


async def test_who_cuts_connections_after_it_said_that_all_were_contradicts_itself(world: World) -> None:
    sees: dict[str, Any] = {"attributes": ["subject", "session_id", "established_at"]}
    await world.say(**sees)
    id_ = await world.announce()
    await world.prove()
    cut = {"revocation_id": str(id_), "connections_dropped": 1}
    await world.say(**sees, applied=[cut | {"applied_at": wire_time(datetime.now(UTC))}])
    soon = await world.stage(id_)
    later = datetime.now(UTC) + timedelta(seconds=5)
    await world.hear(
        world.receipt(PAST, **sees, at=later, appended_at=later, applied=[cut | {"applied_at": wire_time(later)}])
    )

    assert [one.contradicts for one in soon.instances] == [False]
    assert [one.contradicts for one in (await world.stage(id_)).instances] == [True]


async def test_a_late_batch_that_nobody_announced_keeps_no_revocation_waiting(world: World) -> None:
    """A redelivery of a born-ended session makes a second row; each is proven by itself."""
    await world.say()
    id_ = await world.announce()
    for _ in range(2):
        assert (await register(world.engine, established("s-9"))).batch_id is not None
    await world.prove()

    assert (await world.stage(id_)).stage is Stage.ENFORCED
    [late] = await rows(world.engine, "select count(*) from batches where announced_at is null and enforced_at is null")
    assert late[0] == 2


async def test_what_can_never_be_proven_hides_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revoker.service.receipts.PAGE", 3)
    stuck = [await world.announce(f"stuck-{number}", at={0: 9}) for number in range(7)]
    mine = await world.announce("mine")
    more = [await world.announce(f"later-{number}", at={0: 9}) for number in range(7)]
    await world.say()
    prover = Prover(world.engine, world.kafka, world.settings)
    for _ in range(6):
        await prover.turn()

    assert (await world.stage(mine)).stage is Stage.ENFORCED
    assert {(await world.stage(id_)).stage for id_ in stuck + more} == {Stage.WAITING}


async def test_only_one_process_proves_at_a_time(world: World) -> None:
    async with world.engine.begin() as connection:
        assert await enforcing.is_mine(connection)
        assert await Prover(world.engine, world.kafka, world.settings).turn() is None


async def test_whoever_is_heard_while_somebody_decides_that_it_is_gone_is_not_gone(world: World) -> None:
    await world.say()
    [seen] = await enforcing.everybody(world.engine)
    await world.say()

    async with world.engine.begin() as connection:
        assert await enforcing.leave(connection, [(seen, Left.RETIRED, "by bob")]) == set()
    assert await rows(world.engine, "select 1 from gateways where left_at is not null") == []


# Forgetting


async def _all(engine: AsyncEngine) -> list[int]:
    tables = "gateways", "gateway_effects", "proofs"
    return [(await rows(engine, f"select count(*) from {table}"))[0][0] for table in tables]


async def test_what_is_silent_for_long_is_forgotten_and_a_proof_outlives_its_batches(world: World) -> None:
    refused = [{"revocation_id": str(await world.announce()), "count": 1}]
    await world.say(refused=refused)
    await world.prove()
    ended = world.settings.retention.ended.days
    for table, column in (("gateways", "heard_at"), ("gateway_effects", "heard_at"), ("proofs", "used_at")):
        await execute(world.engine, f"update {table} set {column} = {column} - interval '{ended + 2} days'")
    await world.say(instance="host-2")

    bounds = await prune.bounds(world.engine, world.settings)
    tried = [totals async for totals in prune.prune(world.engine, bounds, dry_run=True)][-1]
    done = [totals async for totals in prune.prune(world.engine, bounds)][-1]

    assert tried == done == Counter({Table.GATEWAYS: 1, Table.EFFECTS: 1})
    assert await _all(world.engine) == [1, 0, 1]


async def test_erasing_a_subject_forgets_what_gateways_told_of_it(world: World) -> None:
    told = [{"revocation_id": str(await world.announce(name)), "count": 1} for name in ("alice", "bob")]
    await world.say(refused=told)

    erased = [one async for one in erasing.erase(world.engine, tenant="", subject="alice", force=True)]

    assert ("gateway_effects", 1) in erased
    assert (await _all(world.engine))[1] == 1
