"""Where the log and the database disagree about how far we are: restored, emptied, recreated, deleted, taken over."""

import json
import signal
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from sqlalchemy import make_url

from revoker.service import topics
from schemas.fields import wire_time
from schemas.inputs import Lane
from schemas.topics import Topic
from tests import servers
from tests.faults.history import INPUTS, Service
from tests.faults.load import Sent
from tests.processes import Process, eventually

PARTITIONS: Final = 4
MINUTE_AGO: Final = datetime.now(UTC) - timedelta(minutes=1)


@pytest.mark.parametrize("earlier", ["half of it", "nothing"])
async def test_a_database_of_an_earlier_time_catches_up_by_itself(
    service: Service, session_postgres: str, template_database: str, earlier: str
) -> None:
    """Kafka's committed offsets are beyond all that this database knows: its own positions count."""
    known, new = people("known"), people("new")
    await service.produce([*service.load.take(120), *sign_ins(service, [*known, *new])])
    process = service.start()
    await service.settled()
    await service.produce(changes(service, known))
    await service.settled()
    await stopped(process)
    backup = servers.new_database(session_postgres, template_database if earlier == "nothing" else name_of(service))
    await service.produce([*service.load.take(120), *changes(service, new)])
    service.start()
    await service.finish()
    before = await told(service, [*known, *new])
    committed = await service.committed()

    restore(service, backup)
    process = service.start()
    await service.settled()

    assert await process.metric("revoker_position_alarms_total") == 0
    await stopped(process)
    await service.prove(restored=True)
    assert await service.committed() == committed
    after = await told(service, [*known, *new])
    assert after.keys() == before.keys(), service.about(after.keys() ^ before.keys())
    assert len(after) == len(known) + len(new)
    for id_, bodies in after.items():
        subject = json.loads(bodies[0])["subject"]
        again = earlier == "nothing" or subject in new
        assert len(bodies) == len(before[id_]) + again, service.about(bodies)
        # In an empty database a sign-in may come later than what ends it: then it is told as `late`.
        told_of = [essence(body, but_for={"sessions"} if earlier == "nothing" else set()) for body in bodies]
        assert all(one == told_of[0] for one in told_of), service.about(bodies)


async def test_what_a_backup_holds_unannounced_is_told_again_byte_for_byte(
    service: Service, session_postgres: str
) -> None:
    """The backup was made between a commit and its announcement, which went out all the same."""
    alice = people("alice")
    await service.produce(sign_ins(service, alice))
    process = service.start()
    await service.settled()
    await stopped(process)
    service.arm("revocation.after-commit")
    await service.produce(changes(service, alice))
    process = service.start()
    assert await process.gone() == -signal.SIGKILL
    backup = servers.new_database(session_postgres, name_of(service))
    service.start()
    await service.finish()
    before = await told(service, alice)

    restore(service, backup)
    held = {str(row["id"]) for row in await service.rows("select id from revocations")}
    assert await service.rows("select id from batches where announced_at is null")
    service.start()
    await service.settled()

    await stopped(service.processes[-1])
    await service.prove(restored=True)
    after = await told(service, alice)
    assert after.keys() == before.keys()
    mine = [id_ for id_, bodies in after.items() if json.loads(bodies[0])["data"]["revocation_id"] in held]
    assert mine
    for id_ in mine:
        assert len(after[id_]) > len(before[id_]), service.about("it was not told again")
        assert len(set(after[id_])) == 1, service.about(after[id_])


async def test_without_group_offsets_it_goes_on_from_the_database(service: Service) -> None:
    first, second = service.load.take(150), service.load.take(60)
    await service.produce(first)
    process = service.start()
    await service.settled()
    await stopped(process)

    await forget_groups(service)
    assert await service.committed() == {}
    await service.produce(second)
    process = service.start()
    await service.settled()

    assert await process.metric("revoker_events_total") == len(second), "something was applied twice"
    assert await process.metric("revoker_position_alarms_total") == 0
    await service.finish()


async def test_an_input_that_was_created_anew_is_read_from_its_start(service: Service) -> None:
    await service.produce([*both(service, "old"), *both(service, "older")])
    process = service.start()
    await service.settled()
    await stopped(process)

    await created_anew(service, *INPUTS)
    service.history.bury()
    await service.produce(both(service, "new"))
    process = service.start()
    await service.settled()

    alarms = process.events("position-beyond-end")
    assert {(line["topic"], line["partition"]) for line in alarms} == {
        (service.settings.topic(topic), number) for topic in INPUTS for number in range(PARTITIONS)
    }
    assert await process.metric('revoker_position_alarms_total{kind="beyond_end"}') == len(alarms)
    assert await process.metric("revoker_position_alarms_total") == len(alarms)
    await service.finish()


async def test_an_input_that_is_created_anew_while_it_is_read_is_read_from_its_start(service: Service) -> None:
    await service.produce([*both(service, "old"), *both(service, "older")])
    process = service.start()
    await service.settled()

    await created_anew(service, *INPUTS)
    service.history.bury()
    await service.produce(both(service, "new"))

    await service.settled()
    assert process.code is None
    await service.finish()


async def test_records_that_were_deleted_unread_are_missed_loudly(service: Service) -> None:
    await service.produce(service.load.take(60))
    process = service.start()
    await service.settled()
    await stopped(process)

    ends = {topic: await service.ends(topic) for topic in INPUTS}
    await service.produce(dealt([sent for sent in service.load.take(80) if not sent.rejected]))
    lost = {
        TopicPartition(service.settings.topic(topic), number): end + 2
        for topic in INPUTS
        for number, end in ends[topic].items()
    }
    async with service.admin() as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=end) for place, end in lost.items()})
    for place, end in lost.items():
        for offset in (end - 2, end - 1):
            del service.history.acknowledged[place.topic, place.partition, offset]
    process = service.start()
    await service.settled()

    alarms = process.events("position-gap")
    assert {(line["topic"], line["partition"]): (line["position"], line["log_start"]) for line in alarms} == {
        (place.topic, place.partition): (end - 2, end) for place, end in lost.items()
    }
    assert await process.metric('revoker_position_alarms_total{kind="gap"}') == len(lost)
    await stopped(process)
    await service.prove(restored=True)


async def test_a_feed_that_is_created_anew_gets_another_epoch(service: Service) -> None:
    await service.produce(both(service, "old"))
    process = service.start()
    await service.settled()
    await stopped(process)
    # This one has seen from its start how far the feed had come.
    process = service.start()
    before = await beat(service, process)

    await created_anew(service, Topic.SESSION_ENDED)
    alarm = await process.until("feed-recreated")
    after = await beat(service, process, but=before["epoch"])

    assert before["epoch"] != after["epoch"] == alarm["epoch"]
    assert await process.metric('revoker_position_alarms_total{kind="feed_recreated"}') == 1
    await service.produce(both(service, "new"))
    await service.settled()
    assert len(await told(service, people("new"))) == len(people("new"))
    assert not await told(service, people("old"))
    [row] = await service.rows("select epoch from batches order by committed_at desc limit 1")
    assert str(row["epoch"]) == after["epoch"]
    await stopped(process)


async def test_whoever_takes_over_does_nothing_twice_and_leaves_nothing_out(service: Service) -> None:
    sent = [service.load.take(count) for count in (120, 80, 80)]
    await service.produce(sent[0])
    # A busy machine must not count as dead here: what is in its hands would be done twice.
    one = service.start(session_timeout_ms=6_000)
    await service.settled()
    other = service.start(session_timeout_ms=6_000)
    await shared_between(one, other)

    await service.produce(sent[1])
    await service.settled()
    by_one = await one.metric("revoker_events_total")
    await stopped(one)
    await service.produce(sent[2])
    await service.settled()

    by_other = await other.metric("revoker_events_total")
    assert by_one + by_other == sum(map(len, sent)), service.about(
        (by_one, by_other, [line for process in (one, other) for line in process.events() if "assigned" in str(line)])
    )
    assert by_other > len(sent[2]), "it had nothing to do while there were two"
    assert await other.metric("revoker_position_alarms_total") == 0
    await service.finish()


async def stopped(process: Process) -> None:
    """In good order."""
    process.signal(signal.SIGTERM)
    assert await process.gone(25) == 0, process.said[-3000:]


def people(name: str) -> list[str]:
    """Eight of that name."""
    return [f"{name}.{number}" for number in range(2 * PARTITIONS)]


def sign_ins(service: Service, subjects: Sequence[str]) -> list[Sent]:
    """One for each, something for every partition."""
    return dealt([service.load.established(subject, session_id=f"{subject}-1") for subject in subjects])


def changes(service: Service, subjects: Sequence[str]) -> list[Sent]:
    """What ends those."""
    return dealt([service.load.event("email-changed", subject, time=wire_time(MINUTE_AGO)) for subject in subjects])


def both(service: Service, name: str) -> list[Sent]:
    """Eight people who sign in and change their addresses, something for every partition of both inputs."""
    return [*sign_ins(service, people(name)), *changes(service, people(name))]


def dealt(records: Iterable[Sent]) -> list[Sent]:
    """The same, to the partitions of each topic in turn."""
    turns: dict[Topic, int] = defaultdict(int)
    placed = []
    for sent in records:
        placed.append(replace(sent, partition=turns[sent.topic] % PARTITIONS))
        turns[sent.topic] += 1
    return placed


async def told(service: Service, subjects: Sequence[str]) -> Mapping[str, list[bytes]]:
    """What `session-ended` says that events about these people ended, by notification id."""
    bodies = defaultdict(list)
    for record in await service.read(Topic.SESSION_ENDED):
        notice = json.loads(record.value)
        if notice.get("subject") in subjects and notice["data"]["kind"] == "ended":
            bodies[notice["id"]].append(record.value)
    return bodies


def essence(body: bytes, but_for: set[str]) -> object:
    """A notice without the moment of its commit, which a second commit cannot repeat."""
    notice = json.loads(body)
    data = {name: value for name, value in notice["data"].items() if name not in {"committed_at", *but_for}}
    return {name: value for name, value in notice.items() if name != "time"} | {"data": data}


def name_of(service: Service) -> str:
    """Its database's."""
    return make_url(service.settings.database_url.get_secret_value()).database or ""


def restore(service: Service, backup: str) -> None:
    """Puts the database at the URL `backup` where that of `service` is."""
    url = service.settings.database_url.get_secret_value()
    server = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    servers.drop_database(server, url)
    rename = f'alter database "{make_url(backup).database}" rename to "{name_of(service)}"'
    servers.in_thread(servers._execute(server, rename))


async def forget_groups(service: Service) -> None:
    """Deletes all that the groups have committed."""
    async with service.admin() as admin:
        for lane in Lane:
            group = service.group(lane)
            answer = await admin._send_request(DeleteGroupsRequest([group]), await admin.find_coordinator(group))
            assert [code for _, code in answer.results] == [0], answer


async def created_anew(service: Service, *names: Topic) -> None:
    """Deletes topics, and creates them as they were."""
    async with service.admin() as admin:
        deleted = await admin.delete_topics([service.settings.topic(name) for name in names])
        assert not any(code for _, code in deleted.topic_error_codes), deleted

    async def anew() -> bool:
        await topics.create_missing(service.settings)
        ends = [await service.ends(name) for name in names]
        return all(len(of_one) == PARTITIONS and not any(of_one.values()) for of_one in ends)

    await eventually(anew, "the topics to be gone, and created anew")


async def beat(service: Service, process: Process, but: str | None = None) -> dict[str, Any]:
    """A heartbeat of `process`, the newest, of another epoch than `but`."""

    async def heard() -> dict[str, Any] | None:
        beats = [json.loads(record.value) for record in await service.read(Topic.HEARTBEATS)]
        mine = [one for one in beats if one["consumer"].endswith(f"-{process.pid}") and one["epoch"] != but]
        return mine[-1] if mine else None

    return await eventually(heard, lambda: f"a heartbeat\n{process.said[-3000:]}")


async def shared_between(*processes: Process) -> None:
    """Returns once each of them has some partitions of each input, and no partition has two owners."""

    async def shared() -> bool:
        for topic in INPUTS:
            counts = [await partitions_of(process, topic) for process in processes]
            if not all(counts) or sum(counts) != PARTITIONS:
                return False
        return True

    await eventually(shared, lambda: "\n".join(process.said[-2000:] for process in processes))


async def partitions_of(process: Process, topic: Topic) -> int:
    """How many its metrics show a lag of."""
    _, body = await process.ask("/metrics")
    return sum(line.startswith("revoker_lag_records{") and topic in line for line in body.splitlines())
