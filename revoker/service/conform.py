"""The test vectors against a live check endpoint: ours, or one that another team wrote in another language.

The records of the vectors are announced on `session-ended` like any other, in tenants of this run's own, so that they
concern nobody else, and moved to the present. When the endpoint has read them (it refuses what was announced last on
each partition), it is asked about the claims of each vector, in the headers of a proxy that is trusted (`[check]
identify = "headers"`). What it should answer is what our index answers to just what was sent. Meant for a test
installation: it writes to the topic that only the service should be able to write.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from revoker.core.claims import SessionClaims
from revoker.core.index import Index
from revoker.core.vectors_gateway import gateway
from revoker.core.verdicts import answer
from revoker.core.wire import NoticeError, decode_notice
from revoker.errors import UnavailableError
from revoker.service import reach
from revoker.settings import Settings
from schemas.fields import wire_time
from schemas.topics import Topic

READS: Final = "what is announced is read"
"""The first line: whether the endpoint follows the feed at all."""

_LIVE: Final = 200
_REFUSED: Final = 401
_POLL_SECONDS: Final = 0.1
_EDGE_SECONDS: Final = 2.0
"""Where a time runs out, a clock may be so far from ours: what was wrong is asked once more."""
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_IDS: Final = frozenset({"id", "revocation_id", "hold_id"})
_HEADERS: Final[Mapping[str, str]] = {
    "tenant": "tenant",
    "subject": "subject",
    "session_id": "session",
    "client_id": "client",
    "token_id": "token",
    "key_id": "key",
    "device_id": "device",
    "ip": "ip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One vector, ready to be tried."""

    name: str
    records: Sequence[Mapping[str, Any]]
    headers: Mapping[str, str]
    """Their endings, and their values."""
    claims: SessionClaims
    """What they say."""

    def expected(self) -> int:
        """The answer at this moment."""
        index = Index()
        for record in self.records:
            notice = _read(record)
            if notice is not None:
                index.apply(notice)
        verdict = index.find(self.claims, time.time())
        return _LIVE if verdict is None else answer(verdict).status


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What the endpoint answered."""

    name: str
    expected: int
    found: int

    @property
    def is_right(self) -> bool:
        """Whether that is what it should."""
        return self.found == self.expected


async def conform(settings: Settings, url: str, *, prefix: str, seconds: float) -> list[Tried]:
    """Tries all vectors, giving the endpoint so many seconds to read them. Raises `UnavailableError`."""
    run = f"conform-{uuid.uuid4().hex[:12]}"
    made = cases(run, datetime.now(UTC))
    async with httpx.AsyncClient(timeout=10) as client:
        endpoint = _Endpoint(client, url, prefix)
        # Before anything is written: whether there is anybody to be asked.
        await endpoint.status({"tenant": run, "subject": "nobody"})
        last = await _announce(settings, made, run)
        read = await endpoint.refuses(last, seconds)
        tried = [await endpoint.tried(case) for case in made]
        if not all(one.is_right for one in tried):
            await asyncio.sleep(_EDGE_SECONDS)
            tried = [one if one.is_right else await endpoint.tried(case) for case, one in zip(made, tried, strict=True)]
        return [read, *tried]


def cases(run: str, now: datetime) -> list[Case]:
    """All of them, moved to the present and into tenants of this run."""
    return list(_cases(run, now))


def _cases(run: str, now: datetime) -> Iterator[Case]:
    for number, vector in enumerate(gateway()["vectors"]):
        tree = msgspec.json.decode(msgspec.json.encode(vector))
        # Whole seconds, so that what was cut to one stays cut to one.
        by = timedelta(seconds=(now - datetime.fromisoformat(tree["now"])) // timedelta(seconds=1))
        own = f"{run}-{number}-"
        headers, claims = _shown(_moved(tree["claims"], by, own))
        records = [_confined(_moved(record, by, own), own) for record in tree["records"]]
        yield Case(name=tree["name"], records=records, headers=headers, claims=claims)


def _moved(tree: Any, by: timedelta, own: str) -> Any:  # noqa: ANN401 - JSON
    """Every time in it so much later, every tenant and every id of a revocation this run's own."""
    if isinstance(tree, list):
        return [_moved(item, by, own) for item in tree]
    if isinstance(tree, str):
        return wire_time(datetime.fromisoformat(tree) + by) if _INSTANT.fullmatch(tree) else tree
    if not isinstance(tree, dict):
        return tree
    made = {name: _moved(value, by, own) for name, value in tree.items()}
    made |= {name: f"{own}{tree[name]}" for name in (_IDS | {"tenant"}) & tree.keys()}
    if isinstance(tree.get("established_at"), int):
        made["established_at"] = tree["established_at"] + int(by.total_seconds())
    return made


def _confined(record: dict[str, Any], own: str) -> Mapping[str, Any]:
    """Nothing may be about everybody's sessions: who names no tenant names this run's."""
    selector = record.get("data", {}).get("selector")
    if isinstance(selector, dict):
        selector.setdefault("tenant", own)
    return record


def _shown(known: Mapping[str, Any]) -> tuple[dict[str, str], SessionClaims]:
    """What is sent of claims, and what it says. Labels, and that there is no client, cannot be sent."""
    told = {name: known[name] for name in _HEADERS if known.get(name)}
    headers = {_HEADERS[name]: value for name, value in told.items()}
    moment = known.get("established_at")
    if moment is not None:
        headers["established-at"] = str(moment)
    established = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return headers, SessionClaims(established_at=established, **told)


def _read(record: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a notice, or none
    try:
        return decode_notice(msgspec.json.encode(record))
    except NoticeError:
        return None


async def _announce(settings: Settings, made: Sequence[Case], run: str) -> list[dict[str, str]]:
    """Writes all records, and then on each partition one more, about whom the answer names."""
    topic = settings.topic(Topic.SESSION_ENDED)
    async with reach.producer(settings) as producer:
        try:
            await _sent(producer, topic, [(record, None) for case in made for record in case.records])
            numbers = sorted(await producer.partitions_for(topic))
            subjects = {number: f"last-on-{number}" for number in numbers}
            await _sent(producer, topic, [(_last(run, subject), number) for number, subject in subjects.items()])
        except (KafkaError, TimeoutError) as error:
            raise UnavailableError(f"Kafka did not take the vectors ({type(error).__name__})") from error
    return [{"tenant": run, "subject": subject, "session": "s"} for subject in subjects.values()]


async def _sent(
    producer: AIOKafkaProducer, topic: str, records: Sequence[tuple[Mapping[str, Any], int | None]]
) -> None:
    sent = [
        await producer.send(
            topic,
            msgspec.json.encode(record),
            key=str(record.get("subject") or record["id"]).encode(),
            partition=partition,
        )
        for record, partition in records
    ]
    await asyncio.gather(*sent)


def _last(run: str, subject: str) -> Mapping[str, Any]:
    now = datetime.now(UTC)
    data = {
        "revocation_id": str(uuid.uuid4()),
        "cause": "session-revoked",
        "initiator": "system",
        "reason_user": {"en": "This session was ended"},
        "kind": "ended",
        "selector": {"tenant": run, "subject": subject, "session_id": "s"},
        "not_before": wire_time(now),
        "keep": [],
        "requested_at": wire_time(now),
        "committed_at": wire_time(now),
        "sessions": [{"session_id": "s", "client_id": ""}],
        "covers_until": wire_time(now + timedelta(hours=1)),
    }
    event = {"specversion": "1.0", "type": "session-ended", "id": str(uuid.uuid4()), "source": "revoker-conform"}
    return event | {"subject": subject, "tenant": run, "time": wire_time(now), "data": data}


class _Endpoint:
    def __init__(self, client: httpx.AsyncClient, url: str, prefix: str) -> None:
        self._client = client
        self._url = url
        self._prefix = prefix

    async def refuses(self, last: Sequence[Mapping[str, str]], seconds: float) -> Tried:
        """Whether it has come to the end of every partition."""
        deadline = time.monotonic() + seconds
        found = _LIVE
        for headers in last:
            found = await self.status(headers)
            while found != _REFUSED and time.monotonic() < deadline:
                await asyncio.sleep(_POLL_SECONDS)
                found = await self.status(headers)
            if found != _REFUSED:
                break
        return Tried(name=READS, expected=_REFUSED, found=found)

    async def tried(self, case: Case) -> Tried:
        """What it answers now."""
        return Tried(name=case.name, expected=case.expected(), found=await self.status(case.headers))

    async def status(self, headers: Mapping[str, str]) -> int:
        """Of one answer."""
        given = {f"{self._prefix}{name}": value for name, value in headers.items()}
        try:
            return (await self._client.get(self._url, headers=given)).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(f"{self._url} cannot be asked ({type(error).__name__})") from error
