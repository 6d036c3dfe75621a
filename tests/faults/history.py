"""A world of one test: its topics, its database, its consumers, all that was produced, and what became of it.

`prove` reads everything back (tables, topics, offsets) and holds it against `tests.model`, which knows the rule and
nothing of crashes. Every failure names the seed.
"""

import asyncio
import json
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from sqlalchemy import make_url

from revoker.core.policy import Policy
from revoker.kafka import client_options, producer_options
from revoker.settings import Settings
from schemas import codec
from schemas.inputs import IDENTITY_EVENTS, SESSION_ACTIVITY, Lane
from schemas.session_activity import SessionEstablished
from schemas.topics import REJECTED_HEADERS, Topic
from tests.faults.load import CANARIES, Load, Sent
from tests.model import Act, Fact, Session, Token, Told, world
from tests.processes import PATIENCE, Nursery, Process, environment, eventually, spawn

Place = tuple[str, int, int]
"""Topic, partition, offset."""
INPUTS: Final = (Topic.IDENTITY_EVENTS, Topic.SESSION_ACTIVITY)
_UNHEARD: Final = ("never retrieved", "never awaited", "Unclosed ")
_AWAY: Final = (KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What the harness itself meets while a server is down."""
_POSITIONS: Final = "select topic, partition, next_offset from lane_positions"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class History:
    """What was said and acknowledged."""

    acknowledged: dict[Place, Sent] = field(default_factory=dict)
    appended: dict[Place, datetime] = field(default_factory=dict)
    unknown: list[Sent] = field(default_factory=list)
    """Sent, and not answered: it may be in the log."""
    gone: list[tuple[Sent, datetime]] = field(default_factory=list)
    """What was said in a log that is no more."""

    def facts(self) -> Iterator[Fact]:
        """What was said, each time at most that of Kafka."""
        for sent, at in [*self.gone, *((sent, self.appended[place]) for place, sent in self.acknowledged.items())]:
            if not sent.rejected:
                yield _fact(sent, at)

    def bury(self) -> None:
        """The logs are gone; what they said stays said."""
        self.gone += [(sent, self.appended[place]) for place, sent in self.acknowledged.items()]
        self.acknowledged.clear()
        self.appended.clear()

    @property
    def rejected(self) -> dict[Place, Sent]:
        """What must have been set aside."""
        return {place: sent for place, sent in self.acknowledged.items() if sent.rejected}


def _fact(sent: Sent, appended: datetime) -> Fact:
    if sent.topic is Topic.IDENTITY_EVENTS:
        event = codec.decode(codec.IDENTITY, IDENTITY_EVENTS, sent.value, sent.headers)
        assert not isinstance(event, codec.Ignored)
        return Told(event.model_copy(update={"time": min(event.time or appended, appended)}))
    activity = codec.decode(codec.ACTIVITY, SESSION_ACTIVITY, sent.value, sent.headers)
    assert not isinstance(activity, codec.Ignored)
    at = min(activity.time or appended, appended)
    changes: dict[str, Any] = {"time": at}
    if isinstance(activity, SessionEstablished):
        established = min(activity.data.established_at or at, appended)
        changes["data"] = activity.data.model_copy(update={"established_at": established})
    return activity.model_copy(update=changes)


def _appended(timestamp: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp, microseconds=999)


def _identity(sent: Sent) -> str:
    """What makes two events one: all of it, in any spelling."""
    event = codec.decode(codec.IDENTITY, IDENTITY_EVENTS, sent.value, sent.headers)
    assert not isinstance(event, codec.Ignored)
    return event.model_dump_json(exclude_defaults=True)


@dataclass(slots=True)
class Expected:
    """The model's answer. It is asked person by person, since it compares everything with everything."""

    established: dict[Session, datetime] = field(default_factory=dict)
    tokens: set[Token] = field(default_factory=set)
    ended_sessions: set[Session] = field(default_factory=set)
    ended_tokens: set[Token] = field(default_factory=set)
    unsettled_tokens: set[Token] = field(default_factory=set)
    acts: list[Act] = field(default_factory=list)

    @classmethod
    def of(cls, facts: Iterable[Fact], policy: Policy) -> "Expected":
        by_subject: dict[tuple[str, str | None], list[Fact]] = defaultdict(list)
        for fact in facts:
            said = fact.event if isinstance(fact, Told) else fact
            by_subject[said.tenant, said.subject].append(fact)
        expected = cls()
        for (tenant, subject), mine in by_subject.items():
            if subject is not None:
                one = world([*mine, *by_subject.get((tenant, None), ())], policy, datetime.now(UTC))
                expected.established |= one.established
                expected.tokens |= one.tokens.keys()
                expected.ended_sessions |= one.ended_sessions
                expected.ended_tokens |= one.ended_tokens
                expected.unsettled_tokens |= one.unsettled_tokens
                expected.acts += one.acts
        return expected


@dataclass(slots=True)
class Announced:
    """What `session-ended` says, by notification id."""

    bodies: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    notices: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[tuple[str, Session], set[str]] = field(default_factory=lambda: defaultdict(set))
    tokens: dict[tuple[str, tuple[str, str, str]], set[str]] = field(default_factory=lambda: defaultdict(set))
    by_revocation: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def of(cls, records: Iterable[ConsumerRecord]) -> "Announced":
        told = cls()
        for record in records:
            notice = json.loads(record.value)
            data, kind, id_ = notice["data"], notice["data"]["kind"], notice["id"]
            told.bodies[id_].add(b"%b\0%b" % (record.key, record.value))
            told.notices[id_] = notice
            if kind == "ended":
                told.by_revocation[data["revocation_id"]].add(id_)
            for entry in data["sessions"]:
                subject = entry.get("subject") or notice["subject"]
                told.sessions[kind, (notice["tenant"], subject, entry["session_id"], entry["client_id"])].add(id_)
            for entry in data.get("tokens", ()):
                told.tokens[kind, (notice["tenant"], notice["subject"], entry["token_id"])].add(id_)
        return told


class Service:
    """The world. `start` and `produce`, `settled` waits, `prove` proves."""

    def __init__(self, settings: Settings, seed: int, folder: Path, nursery: Nursery | None = None) -> None:
        self.settings = settings
        self.seed = seed
        self.load = Load(seed)
        self.history = History()
        self.folder = folder
        self.trips = folder / "trips"
        self.trips.mkdir()
        self.processes: list[Process] = []
        self.options: dict[str, Any] = {"session_timeout_ms": 1_000, "sweep_seconds": 2.0}
        self._nursery = nursery
        self._producers: dict[str | None, AIOKafkaProducer] = {}

    # -- doing --

    def start(self, *, env: Mapping[str, str] | None = None, **faults: Any) -> Process:
        """Another consumers process, from the nursery."""
        assert self._nursery is not None
        variables = environment(self.settings, REVOKER_ADMIN_PORT="0", **(env or {}))
        return self._born(self._nursery.start(self._log(), variables, trips=str(self.trips), **self.options | faults))

    def run(self, *, env: Mapping[str, str] | None = None) -> Process:
        """`revoker consumers`, as everybody runs it."""
        variables = environment(self.settings, REVOKER_ADMIN_PORT="0", **(env or {}))
        return self._born(spawn(self._log(), variables, "consumers"))

    def _log(self) -> Path:
        return self.folder / f"consumers-{len(self.processes)}.log"

    def _born(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def arm(self, bullet: str) -> None:
        """The next process that reaches that step dies there."""
        (self.trips / bullet).touch()

    def disarm(self, bullet: str) -> None:
        """Takes it away, if it is still there."""
        (self.trips / bullet).unlink(missing_ok=True)

    async def busy(self, process: Process, within: float = PATIENCE) -> None:
        """Returns once `process` has taken its first batch, or is gone."""
        mark = self.trips / f"busy.{process.pid}"

        async def seen() -> bool:
            return mark.exists() or process.code is not None

        await eventually(seen, lambda: f"{process.pid} to be busy\n{process.said[-3000:]}", within)

    async def produce(self, records: Sequence[Sent], compression: str | None = None) -> None:
        """All of it; what Kafka acknowledges is history, what it does not may be."""
        sends = []
        for sent in records:
            try:
                sends.append((sent, await self._send(sent, compression)))
            except (KafkaError, OSError):
                self.history.unknown.append(sent)
                await self._forget_producers()
        for sent, future in sends:
            try:
                written = await asyncio.wait_for(future, PATIENCE)
            except (KafkaError, OSError, TimeoutError):
                self.history.unknown.append(sent)
                await self._forget_producers()
            else:
                self.note(sent, (written.topic, written.partition, written.offset), written.timestamp)

    async def _send(self, sent: Sent, compression: str | None) -> Any:
        if compression not in self._producers:
            options = {"max_request_size": 2_000_000, "linger_ms": 1, "compression_type": compression}
            producer = AIOKafkaProducer(**producer_options(self.settings) | options)
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producers[compression] = producer
        return await self._producers[compression].send(
            self.settings.topic(sent.topic),
            sent.value,
            key=sent.key,
            partition=sent.partition,
            headers=list(sent.headers),
        )

    async def _forget_producers(self) -> None:
        """One that failed may be broken for good."""
        producers, self._producers = list(self._producers.values()), {}
        for producer in producers:
            with suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), 5)

    def note(self, sent: Sent, place: Place, timestamp: int) -> None:
        """`sent` is in the log."""
        assert place not in self.history.acknowledged, f"Kafka acknowledged {place} twice"
        self.history.acknowledged[place] = sent
        self.history.appended[place] = _appended(timestamp)

    async def close(self) -> None:
        """Leaves nothing behind."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            await process.gone()
        await self._forget_producers()

    # -- looking --

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """One without a group."""
        consumer = AIOKafkaConsumer(**client_options(self.settings), max_partition_fetch_bytes=2_000_000)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def read(self, topic: Topic) -> list[ConsumerRecord]:
        """All that is in `topic`."""
        name = self.settings.topic(topic)
        async with self.consumer() as consumer:
            ends = await self._ends(consumer, topic)
            places = [place for place, end in ends.items() if end]
            consumer.assign(places)
            if places:
                await consumer.seek_to_beginning(*places)
            records: list[ConsumerRecord] = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                fetched = await consumer.getmany(timeout_ms=200)
                records += [record for several in fetched.values() for record in several]
            assert all(record.topic == name for record in records)
            return records

    async def ends(self, topic: Topic) -> dict[int, int]:
        """Where the partitions of `topic` end."""
        async with self.consumer() as consumer:
            return {place.partition: end for place, end in (await self._ends(consumer, topic)).items()}

    async def _ends(self, consumer: AIOKafkaConsumer, topic: Topic) -> dict[TopicPartition, int]:
        name = self.settings.topic(topic)
        await consumer._client.set_topics([name])
        partitions = consumer.partitions_for_topic(name) or set()
        ends: dict[TopicPartition, int] = await consumer.end_offsets([TopicPartition(name, n) for n in partitions])
        return ends

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """For what only an administrator does."""
        admin = AIOKafkaAdminClient(**client_options(self.settings))
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def group(self, lane: Lane) -> str:
        """The consumer group of `lane`."""
        return f"{self.settings.topic_prefix}revoker-{lane.value}"

    async def committed(self) -> dict[tuple[str, int], int]:
        """What the groups have committed."""
        async with self.admin() as admin:
            try:
                told = [await admin.list_consumer_group_offsets(self.group(lane)) for lane in Lane]
            except GroupCoordinatorNotAvailableError:
                # The first group of a new Kafka makes the topic where offsets are kept.
                return {}
        return {(place.topic, place.partition): meta.offset for group in told for place, meta in group.items()}

    async def rows(self, statement: str, *parameters: Any) -> list[asyncpg.Record]:
        """What the database answers."""
        url = make_url(self.settings.database_url.get_secret_value()).set(drivername="postgresql")
        connection = await asyncpg.connect(url.render_as_string(hide_password=False))
        try:
            found: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
        finally:
            await connection.close()
        return found

    async def settled(self, within: float = PATIENCE) -> None:
        """Returns once every record is committed by its group and nothing is left to announce."""
        left: list[object] = ["nothing seen yet"]

        async def done() -> bool:
            try:
                left[:] = await self._left()
            except _AWAY as error:
                left[:] = [error]
            return not left

        def told() -> str:
            logs = "\n".join(f"--- {p.pid} ({p.code})\n{p.said[-1500:]}" for p in self.processes[-4:])
            return f"all to be done; seed {self.seed}; left: {left[:6]}\n{logs}"

        await eventually(done, told, within)

    async def _left(self) -> list[object]:
        committed = await self.committed()
        stored = {(r["topic"], r["partition"]): r["next_offset"] for r in await self.rows(_POSITIONS)}
        left: list[object] = []
        for topic in INPUTS:
            name = self.settings.topic(topic)
            for partition, end in (await self.ends(topic)).items():
                place = name, partition
                if not end == committed.get(place, 0) == stored.get(place, 0):
                    left.append((place, "committed", committed.get(place), "stored", stored.get(place), "end", end))
        return left or [*await self.rows("select id, lane, committed_at from batches where announced_at is null")]

    # -- proving --

    async def finish(self, within: float = PATIENCE) -> None:
        """Waits for the end of the work, ends the processes in good order, and proves it all."""
        await self.settled(within)
        alive = [process for process in self.processes if process.code is None]
        for process in alive:
            await self._has_no_secrets_in_metrics(process)
            process.signal(signal.SIGTERM)
        for process in alive:
            assert await process.gone(25) == 0, self.about(process.said[-3000:])
        await self.prove()

    def about(self, text: object) -> str:
        """For a failure's message."""
        return f"seed {self.seed}: {text}"

    async def prove(self, *, restored: bool = False) -> "Expected":
        """Raises where anything is not as it must be. After a restore ids are repeated, not bytes."""
        await self._complete_history()
        self._is_quiet()
        expected = Expected.of(self.history.facts(), self.settings.rules)
        sessions = await self._ended_as_expected(expected)
        tokens = await self._tokens_ended_as_expected(expected)
        told = Announced.of(await self.read(Topic.SESSION_ENDED))
        await self._counted(told, restored=restored)
        self._announced(told, sessions, tokens, restored=restored)
        await self._set_aside()
        await self._at_the_end()
        return expected

    async def _complete_history(self) -> None:
        """What was not acknowledged and is there all the same counts; what was acknowledged must be there."""
        for topic in INPUTS:
            for record in await self.read(topic):
                place = record.topic, record.partition, record.offset
                if place not in self.history.acknowledged:
                    twin = next(
                        (s for s in self.history.unknown if (s.key, s.value) == (record.key, record.value)), None
                    )
                    assert twin is not None, self.about(f"who wrote {record}?")
                    self.note(twin, place, record.timestamp)
                assert self.history.acknowledged[place].value == record.value, self.about(place)
                self.history.appended[place] = _appended(record.timestamp)

    async def _ended_as_expected(self, expected: Expected) -> list[asyncpg.Record]:
        rows = await self.rows("select * from sessions")
        keys = {(r["tenant"], r["subject"], r["session_id"], r["client_id"]): r for r in rows}
        assert keys.keys() == expected.established.keys(), self.about(keys.keys() ^ expected.established.keys())
        ended = {key for key, row in keys.items() if row["ended_at"] is not None}
        missed = sorted(expected.ended_sessions - ended)
        assert not missed, self.about(("covered and live", [await self._case(key, expected) for key in missed[:3]]))
        assert not ended - expected.ended_sessions, self.about(("ended for nothing", ended - expected.ended_sessions))
        wrong = {
            key: (row["established_at"], expected.established[key])
            for key, row in keys.items()
            if key not in ended and row["established_at"] != expected.established[key]
        }
        assert not wrong, self.about(wrong)
        return rows

    async def _case(self, key: Session, expected: Expected) -> object:
        """All that is known of a session, for whoever has to find out."""
        at = expected.established[key]
        return (
            [act for act in expected.acts if act.ends_session(key, at)],
            await self.rows("select * from sessions where (tenant, subject) = ($1, $2)", *key[:2]),
            await self.rows("select * from revocations where tenant = $1 and subject in ($2, '')", *key[:2]),
            [
                (place, self.history.appended[place], s.value)
                for place, s in self.history.acknowledged.items()
                if s.value and key[2].encode() in s.value
            ],
        )

    async def _tokens_ended_as_expected(self, expected: Expected) -> list[asyncpg.Record]:
        rows = await self.rows(
            """select t.*, coalesce(r.subject, '') <> '' as by_subject
               from tokens t left join revocations r on r.id = t.ended_by"""
        )
        heard = {(r["tenant"], r["subject"], r["token_id"]) for r in rows}
        ended = {(r["tenant"], r["subject"], r["token_id"]) for r in rows if r["ended_at"] is not None}
        assert heard == expected.tokens, self.about(heard ^ expected.tokens)
        wrong = (ended ^ expected.ended_tokens) - expected.unsettled_tokens
        assert not wrong, self.about(("tokens", wrong))
        return rows

    async def _counted(self, told: Announced, *, restored: bool) -> None:
        """Applied, duplicate, redundant and rejected make up what was produced; each is told as it must be."""
        said = [*self.history.acknowledged.values(), *(sent for sent, _ in self.history.gone)]
        produced = [sent for sent in said if sent.topic is Topic.IDENTITY_EVENTS]
        good = [sent for sent in produced if not sent.rejected]
        distinct = {_identity(sent) for sent in good}
        rows = await self.rows("select id, redundant, enforced from revocations")
        assert len(rows) == len(distinct), self.about((len(rows), len(distinct)))
        loud = {str(row["id"]) for row in rows if row["enforced"] and not row["redundant"]}
        assert told.by_revocation.keys() >= loud, self.about(loud - told.by_revocation.keys())
        if not restored:
            assert told.by_revocation.keys() == loud, self.about(told.by_revocation.keys() - loud)
        strange = {notice["data"]["revocation_id"] for notice in told.notices.values()} - {str(r["id"]) for r in rows}
        assert not strange, self.about(("announced, never stored", strange))
        counts = Counter(row["redundant"] for row in rows)
        duplicates, bad = len(good) - len(distinct), len(produced) - len(good)
        assert counts[False] + counts[True] + duplicates + bad == len(produced), self.about(counts)

    def _announced(
        self,
        told: Announced,
        sessions: Iterable[Mapping[str, Any]],
        tokens: Iterable[Mapping[str, Any]],
        *,
        restored: bool,
    ) -> None:
        if not restored:
            changed = {id_: bodies for id_, bodies in told.bodies.items() if len(bodies) > 1}
            assert not changed, self.about(("one id, several contents", changed))
            several = {by: ids for by, ids in told.by_revocation.items() if len(ids) > 1}
            assert not several, self.about(("one revocation, several ids", several))
        for row in sessions:
            key: Session = row["tenant"], row["subject"], row["session_id"], row["client_id"]
            ended, late = told.sessions["ended", key], told.sessions["late", key]
            self._told_once(row, key, ended, late, told, restored=restored)
        for row in tokens:
            if row["session_id"] is None and row["by_subject"] in {True, None}:
                name = row["tenant"], row["subject"], row["token_id"]
                ended, late = told.tokens["ended", name], told.tokens["late", name]
                self._told_once(row, name, ended, late, told, restored=restored)

    def _told_once(
        self,
        row: Mapping[str, Any],
        key: tuple[str, ...],
        ended: set[str],
        late: set[str],
        told: Announced,
        *,
        restored: bool,
    ) -> None:
        if row["ended_at"] is None:
            if not restored or "token_id" not in row:
                assert not ended | late, self.about(("announced and alive", key))
            return
        wanted = late if row["born_ended"] else ended
        assert wanted, self.about(("never announced", key, dict(row)))
        if restored:
            return
        assert len(wanted) == 1, self.about(("announced under several ids", key, wanted))
        if row["born_ended"]:
            assert not ended, self.about(("born ended, and announced as ended", key))
        (id_,) = wanted
        assert told.notices[id_]["data"]["revocation_id"] == str(row["ended_by"]), self.about(("another's", key))

    async def _set_aside(self) -> None:
        """Every rejected record, once or more, byte for byte; and no other."""
        found: dict[Place, ConsumerRecord] = {}
        for record in await self.read(Topic.REJECTED_EVENTS):
            said = {name: value for name, value in record.headers if name in REJECTED_HEADERS}
            assert said.keys() == set(REJECTED_HEADERS), self.about(record)
            place = (
                said["revoker-topic"].decode(),
                int(said["revoker-partition"]),
                int(said["revoker-offset"]),
            )
            found[place] = record
            sent = self.history.acknowledged.get(place)
            assert sent is not None, self.about(("set aside, never produced", place))
            original = tuple((name, value) for name, value in record.headers if name not in REJECTED_HEADERS)
            assert (record.key, record.value, original) == (sent.key, sent.value, tuple(sent.headers)), self.about(
                place
            )
        assert found.keys() == self.history.rejected.keys(), self.about(found.keys() ^ self.history.rejected.keys())

    async def _at_the_end(self) -> None:
        left = await self._left()
        assert not left, self.about(left)
        written = await self.ends(Topic.SESSION_ENDED)
        for row in await self.rows("select id, positions from batches"):
            beyond = {p: at for p, at in json.loads(row["positions"]).items() if at >= written[int(p)]}
            assert not beyond, self.about((row, written))

    def _is_quiet(self) -> None:
        """No secret and no lost exception in any log."""
        for process in self.processes:
            said = process.said
            for secret in CANARIES:
                assert secret not in said, self.about(f"{secret} is in {process.log}")
            for complaint in _UNHEARD:
                assert complaint not in said, self.about(f"{complaint}: {process.log}\n{said[-3000:]}")

    async def _has_no_secrets_in_metrics(self, process: Process) -> None:
        _, body = await process.ask("/metrics")
        for secret in CANARIES:
            assert secret not in body, self.about(f"{secret} is in the metrics")
