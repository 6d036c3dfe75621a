"""The topics as they should be, as they are, and what is unsafe about the difference.

Missing topics are created when asked for; nothing that exists is ever altered: partitions move subjects, a shorter
retention deletes, and the broker's owner may have reasons. A topic of somebody else (named in `[[inputs]]` only) may
keep its publisher's times; ours may not, since every time inside a record is clamped to the append time.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import tenacity
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from revoker.errors import ConfigurationError
from revoker.logs import get_logger
from revoker.service import reach
from revoker.settings import Settings
from schemas.inputs import Format
from schemas.topics import MAX_REJECTED_BYTES, TOPICS, Topic

log = get_logger(__name__)

_CONFIGS: Final = (
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
)
_LARGEST_NOTICE: Final = 500_000
_DURABLE: Final = 3
"""From that many copies on, two of them must hold a record before it is acknowledged."""
_FOREVER: Final = -1
_EXISTS: Final = 36
_NO_SUCH_REPLICATION: Final = 38
_NOT_THERE: Final = (3, 5)
"""No such topic, or one so young that it has no leader yet."""
_APPEAR_SECONDS: Final = 10


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One setting of one topic. `setting` is `exists` for the topic itself."""

    topic: str
    setting: str
    found: str
    wanted: str
    level: Level
    why: str = ""

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}" + (
            f" ({self.why})" * bool(self.why)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a topic should be. `ours` is false for what only `[[inputs]]` names."""

    name: str
    partitions: int
    replication: int
    retention: timedelta
    ours: bool
    is_input: bool
    largest: int | None = None
    """The largest record in bytes, where the broker's own limit may be too small."""

    @property
    def configs(self) -> dict[str, str]:
        """What it is created with."""
        durable = {"min.insync.replicas": "2"} if self.replication >= _DURABLE else {}
        roomy = {"max.message.bytes": str(self.largest)} if self.largest else {}
        return (
            durable
            | roomy
            | {
                "cleanup.policy": "delete",
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": str(_milliseconds(self.retention)),
            }
        )


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as it is. `configs` is empty where we may not read them."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


def wanted(settings: Settings) -> list[Wanted]:
    """Every topic of ours, and every input. A default input that `[[inputs]]` does not name is not used: left out."""
    inputs = list(dict.fromkeys(source.topic for source in settings.inputs))
    unused = {Topic.IDENTITY_EVENTS.value, Topic.SESSION_ACTIVITY.value} - set(inputs)
    ours = [topic.value for topic in TOPICS if topic.value not in unused]
    return [_wanted(settings, name, inputs) for name in [*ours, *(name for name in inputs if name not in ours)]]


def _wanted(settings: Settings, name: str, inputs: Sequence[str]) -> Wanted:
    spec = TOPICS[Topic(name)] if name in set(Topic) else None
    promised = {
        Topic.SESSION_ENDED.value: settings.retention.session_ended,
        Topic.REJECTED_EVENTS.value: settings.retention.rejected,
    }
    own = timedelta(milliseconds=spec.retention_ms) if spec else settings.retention.inputs
    return Wanted(
        name=settings.topic(name),
        partitions=(spec and spec.partitions) or settings.kafka.partitions,
        replication=settings.kafka.replication,
        retention=settings.retention.inputs if name in inputs else promised.get(name, own),
        ours=spec is not None,
        is_input=name in inputs,
        largest=MAX_REJECTED_BYTES if name == Topic.REJECTED_EVENTS else None,
    )


async def check(settings: Settings) -> list[Finding]:
    """What the broker has, held against what is wanted; also what is as it should be. Changes nothing."""
    async with reach.admin(settings) as admin:
        return await _check(admin, settings)


async def ensure(settings: Settings) -> None:
    """Creates what is missing where `kafka.manage_topics` says so. Raises `ConfigurationError` for what is unsafe."""
    async with reach.admin(settings) as admin:
        findings = await _check(admin, settings)
        if settings.kafka.manage_topics and _missing(findings):
            await _create(admin, settings, _missing(findings))
            findings = await _appeared(admin, settings)
    unsafe = [str(finding) for finding in findings if finding.level is Level.FAIL]
    if unsafe:
        raise ConfigurationError(f"unsafe topics: {'; '.join(unsafe)}")


async def create_missing(settings: Settings) -> list[str]:
    """Creates what is missing, whatever `kafka.manage_topics` says, and nothing else. Returns the names."""
    async with reach.admin(settings) as admin:
        missing = _missing(await _check(admin, settings))
        if missing:
            await _create(admin, settings, missing)
            await _appeared(admin, settings)
        return missing


async def _appeared(admin: AIOKafkaAdminClient, settings: Settings) -> list[Finding]:
    """The findings, once every broker that is asked knows what was just created, or `_APPEAR_SECONDS` later."""
    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_delay(_APPEAR_SECONDS),
        wait=tenacity.wait_fixed(0.05),
        retry=tenacity.retry_if_result(lambda found: bool(_missing(found))),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
    )
    findings: list[Finding] = await retrying(_check, admin, settings)
    return findings


async def _create(admin: AIOKafkaAdminClient, settings: Settings, names: Sequence[str]) -> None:
    new = [topic for topic in wanted(settings) if topic.name in names]
    answer = await admin.create_topics(
        [NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=topic.configs) for topic in new]
    )
    for name, code, _ in answer.topic_errors:
        if code == _NO_SUCH_REPLICATION:
            raise ConfigurationError(
                f"topic {name} cannot have {settings.kafka.replication} copies, there are too few brokers:"
                " set kafka.replication to what there is"
            )
        if code not in {0, _EXISTS}:
            raise for_code(code)(f"{name} was not created")
    for topic in new:
        log.info("topic-created", topic=topic.name, partitions=topic.partitions, replication=topic.replication)


async def _check(admin: AIOKafkaAdminClient, settings: Settings) -> list[Finding]:
    topics = wanted(settings)
    described = await describe(admin, [topic.name for topic in topics])
    return [finding for topic in topics for finding in judge(topic, described.get(topic.name), settings)]


async def describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Described]:
    """Those of the topics that exist."""
    found = {}
    for topic in await admin.describe_topics(list(names)):
        if topic["error_code"] in _NOT_THERE and not topic["partitions"]:
            continue
        if topic["error_code"] and not topic["partitions"]:
            raise for_code(topic["error_code"])(topic["topic"])
        found[topic["topic"]] = topic["partitions"]
    configs = await _configs(admin, list(found))
    return {
        name: Described(
            partitions=len(partitions),
            replication=min((len(partition["replicas"]) for partition in partitions), default=0),
            configs=configs.get(name, {}),
        )
        for name, partitions in found.items()
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_CONFIGS)) for name in names]
    answers = [answer.to_object() for answer in await admin.describe_configs(asked)]
    resources: list[dict[str, Any]] = [resource for answer in answers for resource in answer["resources"]]
    return {
        resource["resource_name"]: {
            entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
        }
        for resource in resources
        if not resource["error_code"]
    }


def judge(topic: Wanted, is_: Described | None, settings: Settings) -> Iterator[Finding]:
    """Every setting of `topic` with its level; a missing topic is one finding."""
    if is_ is None:
        yield Finding(
            topic=topic.name,
            setting="exists",
            found="missing",
            wanted=f"{topic.partitions} partitions",
            level=Level.FAIL,
            why="revoker topics --create",
        )
        return
    yield _count(topic, "partitions", is_.partitions, topic.partitions)
    yield _count(topic, "replication", is_.replication, topic.replication)
    if not is_.configs:
        yield Finding(
            topic=topic.name,
            setting="configs",
            found="unreadable",
            wanted="DescribeConfigs",
            level=Level.WARN,
            why="not allowed to look",
        )
        return
    yield from _judge_configs(topic, is_, settings)


def _count(topic: Wanted, setting: str, found: int, want: int) -> Finding:
    heartbeats = setting == "partitions" and want == 1
    good = found == want if heartbeats else found >= want
    return Finding(
        topic=topic.name,
        setting=setting,
        found=str(found),
        wanted=str(want),
        level=Level.OK if good else Level.WARN,
    )


def _judge_configs(topic: Wanted, is_: Described, settings: Settings) -> Iterator[Finding]:
    def said(setting: str, want: str, level: Level, why: str = "", *, found: str | None = None) -> Finding:
        value = is_.configs.get(setting, "unknown") if found is None else found
        return Finding(topic=topic.name, setting=setting, found=value, wanted=want, level=level, why=why)

    compacted = "compact" in is_.configs.get("cleanup.policy", "")
    yield said("cleanup.policy", "delete", Level.FAIL if compacted else Level.OK, "events would vanish" * compacted)
    yield said("message.timestamp.type", "LogAppendTime", _clock(topic, is_))
    yield _retention(topic, is_, settings)
    size = int(is_.configs.get("retention.bytes", _FOREVER))
    sized = size != _FOREVER
    yield said("retention.bytes", "-1", Level.WARN if sized else Level.OK, "may delete before its time" * sized)
    if is_.replication >= _DURABLE:
        few = int(is_.configs.get("min.insync.replicas", 1)) < 2
        yield said("min.insync.replicas", "2", Level.WARN if few else Level.OK, "one disk may lose it" * few)
    largest = _LARGEST_NOTICE if topic.name == settings.topic(Topic.SESSION_ENDED) else topic.largest
    if largest:
        small = int(is_.configs.get("max.message.bytes", largest)) < largest
        why = "large records would be refused" * small
        yield said("max.message.bytes", str(largest), Level.WARN if small else Level.OK, why)


def _clock(topic: Wanted, is_: Described) -> Level:
    if is_.configs.get("message.timestamp.type") == "LogAppendTime":
        return Level.OK
    return Level.FAIL if topic.ours else Level.WARN


def _retention(topic: Wanted, is_: Described, settings: Settings) -> Finding:
    """Too short breaks a promise; an input that keeps longer than its ended rows are kept would announce anew."""
    kept = int(is_.configs.get("retention.ms", _FOREVER))
    longest = settings.retention.ended - timedelta(days=1)
    level, want, why = Level.OK, f"{duration(topic.retention)} or more", ""
    if kept != _FOREVER and kept < _milliseconds(topic.retention):
        level = Level.FAIL
    elif topic.is_input and (kept == _FOREVER or kept > _milliseconds(longest)):
        level, want, why = Level.WARN, f"at most {duration(longest)}", "outlives retention.ended"
    found = "for ever" if kept == _FOREVER else duration(timedelta(milliseconds=kept))
    return Finding(topic=topic.name, setting="retention.ms", found=found, wanted=want, level=level, why=why)


def _missing(findings: Iterable[Finding]) -> list[str]:
    return [finding.topic for finding in findings if finding.setting == "exists"]


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)


def duration(length: timedelta) -> str:
    """In the largest unit that leaves no remainder."""
    milliseconds = _milliseconds(length)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"


def acls(settings: Settings) -> dict[str, list[str]]:
    """By role, the commands of Kafka's own tool that allow what the role needs and nothing else."""
    inputs = list(dict.fromkeys(settings.topic(source.topic) for source in settings.inputs))
    reads = [*inputs, settings.topic(Topic.REVOCATION_ORDERS)]
    ended, beats = settings.topic(Topic.SESSION_ENDED), settings.topic(Topic.HEARTBEATS)
    rejected, receipts = settings.topic(Topic.REJECTED_EVENTS), settings.topic(Topic.GATEWAY_RECEIPTS)
    manages = ("Create",) if settings.kafka.manage_topics else ()
    ours = [source.topic for source in settings.inputs if source.format is Format.CLOUDEVENTS]
    writes = [*dict.fromkeys(settings.topic(name) for name in ours), *([rejected] if settings.hooks else [])]

    def allow(principal: str, operations: Iterable[str], kind: str, name: str, *more: str) -> str:
        words = ["kafka-acls", "--bootstrap-server", settings.kafka_bootstrap_servers, "--add"]
        words += ["--allow-principal", f"User:{principal}"]
        words += [word for operation in operations for word in ("--operation", operation)]
        return shlex.join([*words, kind, name, *more])

    group = ("--group", settings.topic("revoker"), "--resource-pattern-type", "prefixed")
    look = ("Describe", "DescribeConfigs", *manages)
    return {
        "publisher": [allow("publisher", ("Write", "Describe"), "--topic", name) for name in inputs],
        "revoker": [
            *(allow("revoker", ("Read", *look), "--topic", name) for name in reads),
            *(
                allow("revoker", ("Read", "Write", *look), "--topic", name)
                for name in (ended, beats, rejected, receipts)
            ),
            allow("revoker", ("Read", "Describe"), *group),
        ],
        "gateway": [
            *(allow("gateway", ("Read", "Describe"), "--topic", name) for name in (ended, beats)),
            allow("gateway", ("Write", "Describe"), "--topic", receipts),
        ],
        "serve": [
            *(allow("serve", ("Read", "Describe"), "--topic", name) for name in (ended, beats)),
            *(allow("serve", ("Write", "Describe"), "--topic", name) for name in (receipts, *writes)),
        ],
        "operator": [
            *(allow("operator", ("Read", "Write", "Describe", "DescribeConfigs"), "--topic", name) for name in inputs),
            *(
                allow("operator", ("Read", "Describe", "DescribeConfigs"), "--topic", name)
                for name in (ended, rejected)
            ),
        ],
    }
