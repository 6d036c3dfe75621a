"""The origins consumers on a real Kafka, told to web hooks that really listen, and misbehave."""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from revoker.service import reach, rejected, topics
from revoker.settings import OriginSettings, Settings
from revoker.telemetry import Metrics
from schemas.topics import Topic
from tests import servers
from tests.denylist import PARTITIONS, World, ended, hold, lift, revocation, session
from tests.origins import SECRET, Delivery, Realm, Reply, Server, hooked, is_signed, member, serving
from tests.processes import eventually

EPOCH = "feed-1"
NOWHERE = "redis://127.0.0.1:1/0"
Make = Callable[..., Awaitable[World]]


@pytest.fixture
def hook() -> Iterator[Server]:
    """A web hook that takes everything."""
    with serving() as server:
        yield server


@pytest.fixture
async def make(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Make]:
    """A topic, and origins."""
    worlds: list[World] = []

    async def found(*origins: OriginSettings) -> World:
        settings = servers.make_settings(
            kafka_bootstrap_servers=kafka_bootstrap, redis_url=NOWHERE, topic_prefix=topic_prefix, origins=origins
        )
        if not worlds:
            await topics.ensure(settings)
        world = await World(settings).__aenter__()
        worlds.append(world)
        await world.beat(EPOCH)
        return world

    yield found
    for world in worlds:
        await world.__aexit__()


async def offsets(settings: Settings, name: str = "login") -> dict[int, tuple[int, str]]:
    """What its group has committed, with what it says of the epoch."""
    async with reach.admin(settings) as admin:
        found = await admin.list_consumer_group_offsets(settings.topic(f"revoker-origins-{name}"))
    return {place.partition: (entry.offset, entry.metadata) for place, entry in found.items()}


async def committed(world: World, name: str = "login") -> None:
    """Returns once its group has committed all that was written."""

    async def all_of_it() -> bool:
        found = await offsets(world.settings, name)
        return all(found.get(n, (0, ""))[0] >= end for n, end in enumerate(world.written))

    await eventually(all_of_it, f"{name} to have taken {world.written}")


async def taken_at(world: World, name: str = "login") -> int:
    """How many records its group has committed."""
    return sum(at for at, _ in (await offsets(world.settings, name)).values())


async def came(server: Server, count: int) -> list[Delivery]:
    """So many requests that were answered well."""

    async def enough() -> bool:
        return len(server.taken) >= count

    await eventually(enough, lambda: f"{count} to be taken, {Counter(one.subject for one in server.came)}")
    return list(server.taken)


async def set_aside(world: World) -> list[rejected.RejectedRecord]:
    """What lies on rejected-events."""
    return await rejected.newest(world.settings, 100)


async def test_each_notification_is_signed_and_taken_once_and_offsets_follow(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url + "/ended", secret=f"{SECRET} whsec_{'A' * 32}"))
    metrics = Metrics()
    values = {f"u-{number}": ended(revocation(f"u-{number}"), session(f"s-{number}")) for number in range(30)}
    async with member(world.settings, metrics):
        for number, (subject, value) in enumerate(values.items()):
            await world.write(value, partition=number % PARTITIONS, key=subject)
        taken = await came(hook, 30)
        await committed(world)

    assert all(is_signed(one) for one in taken)
    assert {(one.method, one.path, one.headers["content-type"]) for one in taken} == {
        ("POST", "/ended", "application/cloudevents+json")
    }
    assert sorted(one.body for one in taken) == sorted(values.values())
    assert all(one.headers["webhook-id"] == one.event["id"] for one in taken)
    assert (
        metrics.registry.get_sample_value("revoker_origin_notifications_total", {"origin": "login", "outcome": "taken"})
        == 30
    )


async def test_those_of_one_subject_come_in_order_holds_and_lifts_among_them(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url, concurrency=8))
    hook.behave = lambda _: Reply(204, after=0.01)
    until = datetime.now(UTC) + timedelta(hours=1)
    for number in range(12):
        for who in ("alice", "bob", "carol"):
            if number == 5:
                await world.write(hold(f"h-{who}", {"tenant": "", "subject": who}, until), key=who)
            elif number == 6:
                await world.write(lift(f"h-{who}", until), key=who)
            else:
                await world.write(ended(revocation(who, cause=f"c-{number}")), key=who)
    async with member(world.settings):
        taken = await came(hook, 36)

    for who in ("alice", "bob", "carol"):
        mine = [one.event for one in taken if one.subject == who or one.event["data"].get("hold_id") == f"h-{who}"]
        told = [event["data"].get("cause", event["type"]) for event in mine]
        assert told == [*(f"c-{n}" for n in range(5)), "hold-placed", "hold-lifted", *(f"c-{n}" for n in range(7, 12))]


async def test_what_it_alone_refuses_is_set_aside_and_can_be_replayed(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url, give_up_after=1))
    metrics = Metrics()
    poison = ended(revocation("poison"))
    hook.behave = lambda one: Reply(500 if one.subject == "poison" else 204)
    await world.write(poison, key="poison")
    await world.write(ended(revocation("alice")), key="alice")
    async with member(world.settings, metrics):
        await came(hook, 1)

        async def others() -> bool:
            """Something else is taken again and again, so that it is not the origin that is away."""
            await world.write(ended(revocation("bob")), key="bob", partition=1)
            return bool(await set_aside(world))

        await eventually(others, "it to be set aside")
        await committed(world)
        (aside,) = await set_aside(world)
        assert (aside.reason, aside.detail) == ("origin-gave-up", "login: web hook: HTTP 500")
        assert (aside.topic, aside.topic_partition, aside.topic_offset) == (
            world.settings.topic(Topic.SESSION_ENDED),
            0,
            0,
        )
        assert (aside.key, aside.value) == (b"poison", poison)
        assert (
            metrics.registry.get_sample_value(
                "revoker_origin_notifications_total", {"origin": "login", "outcome": "gave_up"}
            )
            == 1
        )

        hook.behave = lambda _: Reply()
        done = await rejected.replay(world.settings, lambda _: True)

        assert (done.sent, done.unknown_origin) == (Counter({"origin-gave-up": 1}), 0)

        async def replayed() -> bool:
            return any(one.body == poison for one in hook.taken)

        await eventually(replayed, "the replayed one")


async def test_nobody_can_slip_a_notification_in_by_a_replay(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url))
    await world.write(ended(revocation("alice")), key="alice")
    feed, aside = (world.settings.topic(topic) for topic in (Topic.SESSION_ENDED, Topic.REJECTED_EVENTS))
    async with AIOKafkaProducer(bootstrap_servers=world.settings.kafka_bootstrap_servers) as producer:
        for partition, offset in ((b"0", b"0"), (b"0", b"9"), (b"99", b"0"), (b"0", b"x")):
            place = [("revoker-topic", feed.encode()), ("revoker-partition", partition), ("revoker-offset", offset)]
            await producer.send_and_wait(aside, ended(revocation("alice")), key=b"alice", headers=place)

    done = await rejected.replay(world.settings, lambda _: True)

    assert (done.sent.total(), done.unknown_origin) == (0, 4)


async def test_one_that_is_away_is_waited_for_and_then_hears_of_everything(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url, give_up_after=0.2))
    hook.behave = lambda _: Reply(503)
    for number in range(40):
        await world.write(ended(revocation(f"u-{number}")), key=f"u-{number}", partition=number % PARTITIONS)
    async with member(world.settings) as origins:

        async def away() -> str | None:
            return await origins.why_unready()

        why = await eventually(away, "it to be seen that it is away")
        assert why.startswith("login takes nothing for")
        assert why.endswith("web hook: HTTP 503")
        tried = len(hook.came)
        assert not await taken_at(world)

        async def tried_again() -> bool:
            return len(hook.came) >= tried + 3

        await eventually(tried_again, "more tries")
        assert not await set_aside(world)
        hook.behave = lambda _: Reply()
        taken = await came(hook, 40)
        await committed(world)
        assert await origins.why_unready() is None

    assert {one.subject for one in taken} == {f"u-{number}" for number in range(40)}
    assert not await set_aside(world)


async def test_one_that_hangs_is_let_go_of_and_its_neighbours_do_not_wait(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url, timeout=0.3))
    hangs = threading.Event()
    hook.behave = lambda one: Reply(204, after=0 if one.subject != "slow" or hangs.is_set() else 60)
    await world.write(ended(revocation("slow")), key="slow")
    await world.write(ended(revocation("alice")), ended(revocation("bob")), partition=1)
    async with member(world.settings):
        assert {one.subject for one in await came(hook, 2)} == {"alice", "bob"}
        hangs.set()
        await came(hook, 3)
        await committed(world)

    assert hook.taken[-1].subject == "slow"
    assert len({one.headers["webhook-id"] for one in hook.came if one.subject == "slow"}) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(make: Make, hook: Server, status: int) -> None:
    world = await make(hooked(hook.url + "/here"))
    hook.behave = lambda _: Reply(status, {"location": f"{hook.url}/there"})
    await world.write(ended(revocation("alice")))
    async with member(world.settings):

        async def tried() -> bool:
            return len(hook.came) >= 2

        await eventually(tried, "a second try")
        hook.behave = lambda _: Reply()
        await came(hook, 1)

    assert {one.path for one in hook.came} == {"/here"}


async def test_one_that_is_gone_says_so_at_once(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url))
    hook.behave = lambda one: Reply(410 if one.subject == "alice" else 204)
    await world.write(ended(revocation("alice")), ended(revocation("bob")))
    async with member(world.settings):
        await came(hook, 1)
        await committed(world)

    assert [one.detail for one in await set_aside(world)] == ["login: web hook: HTTP 410"]
    assert len(hook.came) == 2


async def test_it_is_waited_as_long_as_it_asks(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url))
    answers = iter([Reply(429, {"retry-after": "3"})])
    hook.behave = lambda _: next(answers, Reply())
    await world.write(ended(revocation("alice")))
    async with member(world.settings):
        await came(hook, 1)

    first, second = hook.came
    assert second.at - first.at >= 3


async def test_one_that_is_away_holds_up_no_other(make: Make, hook: Server) -> None:
    with serving(lambda _: Reply(500)) as broken:
        world = await make(
            hooked(broken.url, name="broken"), hooked(hook.url), hooked(hook.url, name="acme", tenant="acme")
        )
        for number in range(20):
            await world.write(ended(revocation(f"u-{number}")), key=f"u-{number}")
        async with member(world.settings):
            await came(hook, 20)
            await committed(world)
            await committed(world, "acme")

    assert len(hook.came) == 20
    assert not await taken_at(world, "broken")


async def test_members_share_the_work_and_the_next_one_goes_on(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url))
    async with member(world.settings), member(world.settings):
        for number in range(60):
            await world.write(ended(revocation(f"u-{number}")), key=f"u-{number}", partition=number % PARTITIONS)
        await came(hook, 60)
        await committed(world)
    before = len(hook.came)
    await world.write(ended(revocation("later")))
    async with member(world.settings):
        await committed(world)

    assert [one.subject for one in hook.came[before:]] == ["later"]


async def test_a_topic_that_was_created_anew_is_told_from_its_beginning(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url))
    await world.write(ended(revocation("alice")), ended(revocation("bob")))
    async with member(world.settings):
        await came(hook, 2)

        async def known() -> bool:
            return (await offsets(world.settings)).get(0) == (2, EPOCH)

        await eventually(known, "the epoch to be committed with the offset")
        await world.beat("feed-2")
        taken = await came(hook, 4)

        async def moved() -> bool:
            return (await offsets(world.settings)).get(0) == (2, "feed-2")

        await eventually(moved, "the new epoch to be committed")

    assert [one.subject for one in taken] == ["alice", "bob"] * 2


async def test_what_cannot_be_read_and_what_is_over_is_passed_over(make: Make, hook: Server) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    world = await make(hooked(hook.url))
    await world.write(b"{", None, b'{"type":"something-new"}', b"\xff", ended(revocation("old", covers_until=past)))
    await world.write(ended(revocation("alice")))
    async with member(world.settings):
        taken = await came(hook, 1)
        await committed(world)

    assert [one.subject for one in taken] == ["alice"]
    assert len(hook.came) == 1


async def test_receipts_say_how_far_a_keycloak_is_and_what_ended_there(make: Make) -> None:
    realm = Realm()
    realm.sign_in("s-1", "alice", 1_700_000_000, "web")
    realm.sign_in("s-2", "alice", 1_700_000_000, "web")
    with serving(realm) as server:
        world = await make(
            hooked(server.url, name="kc", kind="keycloak", realm="people", client_id="revoker", secret="s3cret")
        )
        of = revocation("alice")
        await world.write(ended(of, session("s-1")), partition=1)
        async with member(world.settings):
            await committed(world, "kc")

            async def told() -> dict[str, Any] | None:
                receipts = await world.receipts()
                done = [one for one in receipts if one.get("applied")]
                # What ended may be told before the offset is.
                past = any(one["position"] in {f"{EPOCH}.0.1", f"{EPOCH}.0.1.0"} for one in receipts)
                return next(iter(done), None) if past else None

            receipt = await eventually(told, "a receipt that says what ended")

    assert (receipt["gateway"], receipt["kind"], receipt["state"]) == ("kc", "origin", "serving")
    (applied,) = receipt["applied"]
    assert (applied["revocation_id"], applied["cached_sessions_dropped"]) == (str(of.id), 2)
    assert receipt["instance"] == world.settings.topic("revoker-origins-kc")


async def test_no_receipt_claims_what_was_not_taken(make: Make, hook: Server) -> None:
    world = await make(hooked(hook.url))
    hook.behave = lambda _: Reply(503)
    await world.write(ended(revocation("alice")))
    async with member(world.settings) as origins:

        async def spoke() -> bool:
            return bool(await origins.why_unready()) and len(await world.receipts()) >= 1

        await eventually(spoke, "a receipt, and the trouble to be seen")
        claimed = {part for one in await world.receipts() for part in one["position"].split(".")[1:]}
        assert claimed <= {"0"}
