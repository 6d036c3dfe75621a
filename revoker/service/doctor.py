"""Is everything as it must be? Every dependency is looked at by itself, so that one that is down hides no other."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.enforcement import Condition
from revoker.errors import ConfigurationError, RevokerError
from revoker.projection import keys
from revoker.service import gateways, reach, records, rejected, topics
from revoker.service.topics import Level, duration
from revoker.settings import Settings
from revoker.storage import migrate, reading
from schemas.codec import Reason
from schemas.inputs import Lane

_LOCKS: Final = 256
_SERVER: Final = 17
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
_TAIL: Final = 500
_RECENT: Final = timedelta(days=1)
_STALE: Final = timedelta(seconds=60)
"""The sweeper announces what is older."""
_BROKEN: Final = timedelta(minutes=5)
_CLOCKS: Final = timedelta(seconds=1)
_REDIS_SECONDS: Final = 3.0
_PROJECTED: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `hint`: what to do about it."""

    about: str
    level: Level
    text: str
    hint: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """All findings. Never raises for what is down: that is a finding."""
    parts = await asyncio.gather(
        _collected("kafka", _kafka(settings)),
        _collected("postgresql", _postgres(settings)),
        _collected("redis", _redis(settings)),
    )
    findings = [finding for part in parts for finding in part]
    down = {finding.about for finding in findings if finding.level is Level.FAIL and finding.hint == _UNREACHABLE}
    if not down & {"kafka", "postgresql"}:
        findings += await _collected("inputs", _inputs(settings))
    if "kafka" not in down:
        findings += await _collected("rejected", _rejected(settings))
    return findings


_UNREACHABLE: Final = "start it, or correct the address; see `revoker config`"


async def _collected(about: str, looking: AsyncIterator[Finding]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async for finding in looking:
            findings.append(finding)  # noqa: PERF401 - what was found before a failure counts
    except ConfigurationError as error:
        findings.append(Finding(about=about, level=Level.FAIL, text=str(error)))
    except RevokerError as error:
        findings.append(Finding(about=about, level=Level.FAIL, text=str(error), hint=_UNREACHABLE))
    return findings


async def _kafka(settings: Settings) -> AsyncIterator[Finding]:
    async with reach.admin(settings) as admin:
        cluster = await admin.describe_cluster()
    brokers = len(cluster["brokers"])
    yield Finding(about="kafka", level=Level.OK, text=f"answers: {_count(brokers, 'broker')}")
    found = await topics.check(settings)
    wrong = [finding for finding in found if finding.level is not Level.OK]
    for finding in wrong:
        hint = "revoker topics --create" if finding.setting == "exists" else "see `revoker topics`"
        yield Finding(about="topics", level=finding.level, text=str(finding), hint=hint)
    if not wrong:
        yield Finding(
            about="topics", level=Level.OK, text=f"{len({f.topic for f in found})} topics are as they should be"
        )


async def _postgres(settings: Settings) -> AsyncIterator[Finding]:
    async with reach.postgres(settings) as engine:
        began, before = datetime.now(UTC), time.monotonic()
        at = await reading.now(engine)
        took = timedelta(seconds=time.monotonic() - before)
        yield Finding(about="postgresql", level=Level.OK, text="answers")
        yield _clock(at - (began + took / 2), took)
        async for finding in _server(engine):
            yield finding
        current, newest = await migrate.revisions(engine)
        if current != newest:
            text = f"the schema is at revision {current or 'none'}, this release needs {newest}"
            yield Finding(about="schema", level=Level.FAIL, text=text, hint="revoker migrate")
            return
        yield Finding(about="schema", level=Level.OK, text=f"migrated to {newest}")
        yield await _backlog(engine)
        yield await _subjects(engine)
        yield await _gateways(engine, settings)


def _clock(apart: timedelta, took: timedelta) -> Finding:
    """Of this machine and the database, as well as one round trip of `took` can tell."""
    text = f"this machine and the database are {abs(apart) / timedelta(milliseconds=1):.0f} ms apart"
    off = abs(apart) > _CLOCKS + took / 2
    return Finding(
        about="clock", level=Level.WARN if off else Level.OK, text=text, hint="synchronise both with NTP" * off
    )


async def _gateways(engine: AsyncEngine, settings: Settings) -> Finding:
    """Who keeps revocations from being proven."""
    fleet = await gateways.fleet(engine, settings, gone=False)
    unknown = sum(one.condition is Condition.UNKNOWN for one in fleet.gateways)
    level, hint = Level.WARN, "see `revoker gateways`; retire what is surely gone"
    if fleet.missing:
        level, text = Level.FAIL, f"required and not there: {', '.join(fleet.missing)}; nothing is enforced meanwhile"
    elif not fleet.gateways:
        level, text, hint = Level.OK, "nobody listens, so nothing can be proven to be enforced", ""
    elif fleet.is_stale:
        text, hint = "receipts are not read now, so nothing is proven", "start `revoker consumers --only receipts`"
    elif unknown:
        text = f"{_count(unknown, 'instance')} silent: may serve what is over, so nothing is enforced meanwhile"
    else:
        level, text, hint = Level.OK, f"{_count(len(fleet.gateways), 'instance')}, all heard of", ""
    return Finding(about="gateways", level=level, text=text, hint=hint)


async def _server(engine: AsyncEngine) -> AsyncIterator[Finding]:
    found = await reading.server_settings(engine, [*_DURABLE, "max_locks_per_transaction", "server_version"])
    version = found.get("server_version", "").split(" ")[0]
    old = int(version.partition(".")[0] or 0) < _SERVER
    yield Finding(
        about="server",
        level=Level.FAIL if old else Level.OK,
        text=f"PostgreSQL {version}, {_SERVER} or newer is needed",
        hint="older ones cannot bound a whole transaction: a consumer that freezes would keep its locks" * old,
    )
    locks = int(found.get("max_locks_per_transaction", 0))
    yield Finding(
        about="locks",
        level=Level.OK if locks >= _LOCKS else Level.FAIL,
        text=f"max_locks_per_transaction is {locks}, at least {_LOCKS} are needed",
        hint="a batch locks up to 500 subjects: set it in postgresql.conf and restart" * (locks < _LOCKS),
    )
    for name in _DURABLE:
        off = found.get(name) == "off"
        yield Finding(
            about="durability",
            level=Level.FAIL if off else Level.OK,
            text=f"{name} is {found.get(name, 'unknown')}",
            hint="a crash may bring ended sessions back: switch it on" * off,
        )


async def _backlog(engine: AsyncEngine) -> Finding:
    waiting = await reading.backlog(engine)
    age = waiting.now - waiting.oldest if waiting.oldest else timedelta()
    text = f"{_count(waiting.count, 'committed batch', 'committed batches')} not announced yet"
    if waiting.count:
        text += f", the oldest for {age.total_seconds():.0f} s"
    late = age > _STALE
    level = Level.FAIL if age > _BROKEN else Level.WARN if late else Level.OK
    return Finding(about="announcements", level=level, text=text, hint="are the consumers running?" * late)


async def _subjects(engine: AsyncEngine) -> Finding:
    count = await reading.subjects_like_addresses(engine)
    if not count:
        return Finding(about="subjects", level=Level.OK, text="none of a sample looks like an e-mail address")
    text = f"{count} of a sample look like e-mail addresses"
    hint = "publish opaque ids: addresses change, are reused, and must not be in topics and tables"
    return Finding(about="subjects", level=Level.WARN, text=text, hint=hint)


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    """A projection: whatever is wrong with it ends no session and keeps none alive."""
    try:
        client = Redis.from_url(
            settings.redis_url.get_secret_value(),
            decode_responses=True,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
        )
    except ValueError:
        yield Finding(about="redis", level=Level.WARN, text="redis_url is no URL of a Redis")
        return
    try:
        await client.ping()
        yield Finding(about="redis", level=Level.OK, text="answers")
        yield await _eviction(client)
        yield await _projection(client)
    except (RedisError, OSError) as error:
        text = f"cannot be reached ({type(error).__name__})"
        yield Finding(about="redis", level=Level.WARN, text=text, hint="readers of the denylist see nothing new")
    finally:
        with suppress(RedisError, OSError):
            await client.aclose()


async def _eviction(client: Redis) -> Finding:
    try:
        policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy", "unknown")
    except ResponseError:
        policy = "unknown: it may not be asked"
    good = policy == "noeviction"
    hint = "an evicted entry lets a dead session through: set maxmemory-policy noeviction"
    return Finding(
        about="redis",
        level=Level.OK if good else Level.WARN,
        text=f"maxmemory-policy is {policy}",
        hint="" if good else hint,
    )


async def _projection(client: Redis) -> Finding:
    """Whether readers of Redis are told to believe it."""
    async with client.pipeline(transaction=True) as pipe:
        pipe.exists(keys.STATE)
        pipe.get(keys.EPOCH)
        pipe.get(keys.AS_OF)
        known, epoch, as_of = await pipe.execute()
    if not known:
        return Finding(about="denylist", level=Level.OK, text="nothing is projected to Redis: nobody has begun to")
    if epoch is None or as_of is None:
        text = "readers of Redis are told not to trust it: not all of session-ended is there, or it may evict keys"
        hint = "it is built by itself while `revoker consumers` runs; see its log for projection-untrusted"
        return Finding(about="denylist", level=Level.WARN, text=text, hint=hint)
    age = datetime.now(UTC) - datetime.fromisoformat(as_of)
    late = age > _PROJECTED
    return Finding(
        about="denylist",
        level=Level.WARN if late else Level.OK,
        text=f"Redis holds all that session-ended held {max(0.0, age.total_seconds()):.0f} s ago",
        hint="are the consumers running? see revoker_denylist_failures_total" * late,
    )


async def _inputs(settings: Settings) -> AsyncIterator[Finding]:
    lanes: dict[str, list[Lane]] = {}
    for source in settings.inputs:
        lanes.setdefault(settings.topic(source.topic), []).append(source.lane)
    async with reach.postgres(settings) as engine:
        positions = await reading.positions_of(engine, list(lanes))
        for topic, readers in lanes.items():
            with suppress(ConfigurationError):  # A missing topic is a finding of its own already.
                async with records.opened(settings, topic) as log:
                    first, end = log.first, log.end
                for lane in readers:
                    applied = {number: positions.get((lane.value, topic, number)) for number in end}
                    name = topic if len(readers) == 1 else f"{topic} ({lane.value})"
                    for finding in judge_input(name, applied, first=first, end=end):
                        yield finding


def judge_input(
    name: str,
    applied: Mapping[int, tuple[int, timedelta] | None],
    *,
    first: Mapping[int, int],
    end: Mapping[int, int],
) -> Sequence[Finding]:
    """What the stored positions (with how long ago they moved) say, held against what the log has."""
    findings: list[Finding] = []
    lag, idle = 0, timedelta()
    for number, last in end.items():
        position, still = applied[number] or (first[number], timedelta.max if last else timedelta())
        place = f"{name}, partition {number}"
        if position < first[number]:
            text = f"{place}: {first[number] - position} records were deleted before they were applied"
            hint = "lost by retention: have their publisher send them again"
            findings.append(Finding(about="inputs", level=Level.FAIL, text=text, hint=hint))
        elif position > last:
            text = f"{place}: applied up to {position}, but the log ends at {last}"
            hint = "the topic was created anew: the consumers start over when they notice"
            findings.append(Finding(about="inputs", level=Level.FAIL, text=text, hint=hint))
        elif position < last:
            lag += last - position
            idle = max(idle, still)
    findings.append(_lag(name, lag, idle))
    return findings


def _lag(name: str, lag: int, idle: timedelta) -> Finding:
    if not lag:
        return Finding(about="inputs", level=Level.OK, text=f"{name}: all applied")
    never = idle == timedelta.max
    stuck = idle > _STALE
    text = f"{name}: {_count(lag, 'record')} not applied yet"
    if stuck:
        text += ", and none was ever applied" if never else f", nothing moved for {duration(_whole(idle))}"
    return Finding(
        about="inputs",
        level=Level.WARN if stuck else Level.OK,
        text=text,
        hint="are the consumers running? see their log and /readyz" * stuck,
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _whole(length: timedelta) -> timedelta:
    return timedelta(seconds=int(length.total_seconds()))


async def _rejected(settings: Settings) -> AsyncIterator[Finding]:
    since = datetime.now(UTC) - _RECENT
    recent = [record for record in await rejected.newest(settings, _TAIL) if record.at >= since]
    if not recent:
        yield Finding(about="rejected", level=Level.OK, text="nothing was set aside within a day")
        return
    counts = Counter(record.reason or "without a reason" for record in recent)
    said = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    many = "at least " if len(recent) == _TAIL else ""
    yield Finding(
        about="rejected",
        level=Level.WARN,
        text=f"{many}{_count(len(recent), 'record')} set aside within a day: {said}",
        hint="revoker rejected list",
    )
    unknown = Counter(record.type or "none" for record in recent if record.reason == Reason.UNKNOWN_TYPE)
    if unknown:
        named = ", ".join(f"{name} ({count})" for name, count in unknown.most_common(5))
        yield Finding(
            about="rejected",
            level=Level.WARN,
            text=f"event types that nobody knows: {named}",
            hint="if they are none of our business, name them in [[inputs]] ignore",
        )
