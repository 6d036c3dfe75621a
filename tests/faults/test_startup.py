"""What it refuses to start on, and what it does beside its work: heartbeats, the sweeper, one lane alone."""

import json
import signal
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any, Final

from aiokafka.admin import NewTopic
from sqlalchemy import make_url

from revoker.core.ids import NotificationId
from revoker.core.policy import decide
from revoker.service import topics
from revoker.storage import database
from schemas import codec, inputs
from schemas.fields import wire_time
from schemas.inputs import Lane
from schemas.topics import Topic
from tests import stored
from tests.faults.conftest import Found
from tests.faults.history import Service
from tests.processes import Process, environment, eventually, spawn

MISUSED: Final = 2
UNREACHABLE: Final = 6
PARTITIONS: Final = 4
NOBODY: Final = "127.0.0.1:1"
BATCHES: Final = 30
NOW: Final = datetime.now(UTC)


async def test_what_is_unsafe_or_away_is_refused_in_one_clear_line(found: Found, empty_database_url: str) -> None:
    service, careless = await found(), await found()
    await with_the_publishers_times(careless, Topic.IDENTITY_EVENTS)
    name = service.settings.topic(Topic.IDENTITY_EVENTS)
    elsewhere = make_url(service.settings.database_url.get_secret_value()).set(host="127.0.0.1", port=1)
    cases: list[tuple[Process, int, tuple[str, ...]]] = [
        (careless.run(), MISUSED, ("unsafe", careless.settings.topic(Topic.IDENTITY_EVENTS), "CreateTime")),
        (service.run(env={"REVOKER_RETENTION__INPUTS": "P8D"}), MISUSED, ("unsafe", name, "retention.ms is 7 d")),
        (service.run(env={"REVOKER_DATABASE_URL": empty_database_url}), MISUSED, ("schema", "revoker migrate")),
        (
            service.run(env={"REVOKER_TOPIC_PREFIX": "absent-", "REVOKER_KAFKA__MANAGE_TOPICS": "false"}),
            MISUSED,
            ("absent-identity-events", "missing", "revoker topics --create"),
        ),
        (service.run(env={"REVOKER_KAFKA_BOOTSTRAP_SERVERS": NOBODY}), UNREACHABLE, ("Kafka", "reached")),
        (
            service.run(env={"REVOKER_DATABASE_URL": elsewhere.render_as_string(hide_password=False)}),
            UNREACHABLE,
            ("database", "reached"),
        ),
    ]

    for process, code, words in cases:
        assert await process.gone() == code, process.said
        [line] = [line for line in process.said.splitlines() if line.startswith("revoker: ")]
        assert all(word in line for word in words), line
        assert "Traceback" not in process.said
        assert not process.events("service-started")
        assert (elsewhere.password or "no password") not in process.said
    assert not await service.committed()


async def test_a_schema_of_a_later_release_is_worked_on(service: Service) -> None:
    await service.rows("update alembic_version set version_num = '9999_of_a_later_release'")
    await service.produce(service.load.take(60))

    service.start()
    await service.finish()


async def test_a_heartbeat_a_second_says_how_far_it_has_come(service: Service) -> None:
    await service.produce(service.load.take(60))
    process = service.start()
    await service.settled()
    beats = await eventually(lambda: beats_of(service, process, 4), lambda: process.said[-3000:])
    service.arm("hang")
    await service.produce([service.load.event("email-changed", f"waiting-{n}", time=wire_time(NOW)) for n in range(7)])

    async def behind() -> dict[str, Any] | None:
        return next((one for one in (await beats_of(service, process))[len(beats) :] if one["lag"] == 7), None)

    late = await eventually(behind, lambda: process.said[-3000:])
    service.disarm("hang")
    await service.settled()

    [epoch] = await service.rows("select epoch from feeds")
    ends = await service.ends(Topic.IDENTITY_EVENTS)
    [(topic, applied)] = late["applied"].items()
    assert topic == service.settings.topic(Topic.IDENTITY_EVENTS)
    assert applied.keys() == {str(partition) for partition in ends}
    assert sum(applied.values()) == sum(ends.values()) - 7
    assert {one["epoch"] for one in [*beats, late]} == {str(epoch["epoch"])}
    assert {one["partitions"] for one in [*beats, late]} == {PARTITIONS}
    times = [datetime.fromisoformat(one["at"]) for one in beats]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert min(gaps) >= 0.9
    assert median(gaps) < 3
    await service.finish()


async def test_a_committed_batch_that_nobody_announced_is_swept_once(service: Service) -> None:
    """Two processes look for it ten times a second; one of them announces it, under the id that it always had."""
    processes = [service.start(sweep_seconds=0.1) for _ in range(2)]
    for process in processes:
        await process.until("service-started")
    engine = database.writer(service.settings)
    wanted: dict[NotificationId, bytes] = {}
    try:
        for number in range(BATCHES):
            sign_in = activity(f"swept-{number}")
            await stored.register(engine, sign_in)
            outcome = await stored.apply(engine, decision(service, f"swept-{number}"))
            wanted |= stored.bodies(stored.announced(outcome))
    finally:
        await engine.dispose()
    await service.settled()

    records = await service.read(Topic.SESSION_ENDED)
    assert len(wanted) == BATCHES
    assert sorted(record.value for record in records) == sorted(wanted.values())
    assert all(json.loads(record.value)["data"]["sessions"] for record in records)
    swept = [await process.metric("revoker_swept_batches_total") for process in processes]
    assert sum(swept) == BATCHES
    [row] = await service.rows("select count(*) from batches where announced_at is null or positions is null")
    assert row["count"] == 0


async def test_one_lane_alone_leaves_the_other_input_alone(service: Service) -> None:
    await service.produce(service.load.take(100))
    log = service.folder / "only.log"
    process = spawn(log, environment(service.settings, REVOKER_ADMIN_PORT="0"), "consumers", "--only", "revocation")
    service.processes.append(process)
    events, activities = (service.settings.topic(topic) for topic in (Topic.IDENTITY_EVENTS, Topic.SESSION_ACTIVITY))
    ends = {(events, partition): end for partition, end in (await service.ends(Topic.IDENTITY_EVENTS)).items() if end}

    async def done() -> bool:
        return (await service.committed()).items() >= ends.items()

    await eventually(done, lambda: process.said[-3000:])
    assert (await process.until("service-started"))["lanes"] == ["revocation"]
    process.signal(signal.SIGTERM)
    assert await process.gone(25) == 0
    assert {topic for topic, _ in await service.committed()} == {events}
    assert not await service.rows("select from lane_positions where topic = $1", activities)
    async with service.admin() as admin:
        groups = {name for name, *_ in await admin.list_consumer_groups()}
    assert service.group(Lane.REVOCATION) in groups
    assert service.group(Lane.REGISTRATION) not in groups

    service.start()
    await service.finish()


def activity(subject: str) -> Any:
    """A sign-in, an hour ago."""
    data = {"session_id": f"{subject}-1", "established_at": wire_time(NOW - timedelta(hours=1))}
    return codec.decode(codec.ACTIVITY, inputs.SESSION_ACTIVITY, said("session-established", subject, data))


def decision(service: Service, subject: str) -> Any:
    """What the policy decides about a changed password."""
    event = codec.decode(codec.IDENTITY, inputs.IDENTITY_EVENTS, said("password-changed", subject, {}))
    assert not isinstance(event, codec.Ignored)
    return decide(event, service.settings.rules, datetime.now(UTC))


def said(type_: str, subject: str, data: dict[str, Any]) -> bytes:
    """An event as it comes."""
    event = {"specversion": "1.0", "type": type_, "source": "startup", "id": f"{type_}-{subject}", "subject": subject}
    return json.dumps(event | {"time": wire_time(NOW), "data": data}).encode()


async def beats_of(service: Service, process: Process, least: int = 1) -> list[dict[str, Any]]:
    """The heartbeats of `process` since it has partitions, once there are that many."""
    beats = [json.loads(record.value) for record in await service.read(Topic.HEARTBEATS)]
    mine = [one for one in beats if one["consumer"].endswith(f"-{process.pid}") and one["applied"]]
    return mine if len(mine) >= least else []


async def with_the_publishers_times(service: Service, topic: Topic) -> None:
    """Creates `topic` again, with what a hurried administrator left out."""
    name = service.settings.topic(topic)
    async with service.admin() as admin:
        await admin.delete_topics([name])

        async def created() -> bool:
            configs = {"message.timestamp.type": "CreateTime", "retention.ms": str(7 * 86_400_000)}
            await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=configs)])
            found = {
                finding.setting: finding for finding in await topics.check(service.settings) if finding.topic == name
            }
            times = found.get("message.timestamp.type")
            return "exists" not in found and times is not None and times.found == "CreateTime"

        await eventually(created, f"{name} to be another")
