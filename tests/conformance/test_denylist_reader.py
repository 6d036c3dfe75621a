"""The reader of `docs/redis.md`, taken from there, agrees with the vectors and with the gateway's index."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from revoker.core.claims import SessionClaims
from revoker.core.copies import Templates
from revoker.core.index import Index
from revoker.core.verdicts import Hold
from revoker.core.wire import HoldPlacedNotice, SessionEndedNotice, decode_notice
from revoker.projection.entries import Chunk
from revoker.projection.store import Move, Projection, Server
from schemas.fields import wire_time
from tests import servers

ROOT: Final = Path(__file__).parents[2]
FAR: Final = "2199-01-01T00:00:00.000000Z"
NOW: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
START: Final = datetime(2026, 11, 21, 9, tzinfo=UTC)
VECTORS: Final = json.loads((ROOT / "docs/vectors/covering.json").read_text())["vectors"]

GATEWAY_VECTORS: Final = json.loads((ROOT / "docs/vectors/gateway.json").read_text())["vectors"]


def _documented() -> dict[str, Any]:
    [code] = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/redis.md").read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/redis.md", "exec"), names)  # noqa: S102 - our own document
    return names


READER: Final = _documented()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def _project(redis_url: str, values: list[bytes]) -> None:
    async with AsyncRedis.from_url(redis_url) as client:
        await client.flushall()
        projection = Projection(client, 86_400)
        build = await projection.begin("", "feed", 0)
        await projection.place(build, {0: 0})
        chunk = Chunk()
        for value in values:
            notice = decode_notice(value)
            if notice is not None:
                chunk.add(notice, Templates(()))
        await projection.apply(build, chunk, [Move(0, 0, len(values))])
        server = Server(policy="noeviction", evicted=0)
        assert await projection.vouch(build, None, server, wire_time(NOW), {0: len(values)}) == "complete"


def project(redis_url: str, *values: bytes) -> None:
    """Makes a Redis that holds what these records say."""
    servers.in_thread(_project(redis_url, list(values)))


def record(data: dict[str, Any], type_: str = "session-ended") -> bytes:
    selector = data.get("selector", {})
    head = {"specversion": "1.0", "type": type_, "id": "n-1", "source": "revoker", "tenant": selector.get("tenant", "")}
    head |= {"subject": selector["subject"]} if "subject" in selector else {}
    return json.dumps(head | {"time": wire_time(NOW), "data": data}).encode()


def known(credential: dict[str, Any]) -> dict[str, Any]:
    """`credential` as the document wants it, with the two times of its table."""
    at = credential.get("established_at")
    first, last = (at, at) if at else ("", "~")
    if credential.get("whole_second"):
        last = first[:19] + ".999999Z"
    if "session_id" not in credential:
        first, last = last, first
    return credential | {"not_before": first, "not_after": last}


def refusal(redis: Any, credential: dict[str, Any]) -> Any:
    return READER["refusal"](redis, known(credential), wire_time(NOW), wire_time(NOW))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_reader_answers_as_the_vector_says(vector: dict[str, Any], redis: Any, redis_url: str) -> None:
    project(redis_url, record(vector["revocation"] | {"covers_until": FAR}))

    found = refusal(redis, vector["credential"])

    # Whom a revocation only may cover is let in, since its id would be announced; unless this is what names it.
    by_name = "session_id" in vector["revocation"]["selector"] and "session_id" in vector["credential"]
    by_name &= "established_after" not in vector["revocation"]["selector"]
    over = vector["covers"] == "yes" or (vector["covers"] == "unknown" and by_name)
    assert (found is not None) is over


@pytest.mark.parametrize("vector", GATEWAY_VECTORS, ids=lambda vector: vector["name"])
def test_the_reader_answers_as_a_gateway_does(vector: dict[str, Any], redis: Any, redis_url: str) -> None:
    """Keys expire by the server's clock, so the vector happens today."""
    vector = today(vector)
    project(redis_url, *(json.dumps(each).encode() for each in vector["records"]))
    claimed = dict(vector["claims"])
    moment = claimed.pop("established_at", None)
    if isinstance(moment, int):
        claimed |= {"established_at": wire_time(datetime.fromtimestamp(moment, UTC)), "whole_second": True}
    elif moment is not None:
        claimed["established_at"] = moment

    entry = READER["refusal"](redis, known(claimed), vector["now"], "")

    answer = vector["answer"]
    assert verdict_of(entry) == {"live": "none"}.get(answer["verdict"], answer["verdict"])
    if entry is not None:
        assert entry["id"] in {answer.get("revocation_id"), answer.get("hold_id")}


def today(vector: dict[str, Any]) -> Any:
    """`vector` with every time moved by as much as its `now` is away from the present."""
    away = datetime.now(UTC).replace(microsecond=0) - datetime.fromisoformat(vector["now"]).replace(microsecond=0)
    text = re.sub(
        r"\d{4}-\d\d-\d\dT[\d:.]{15}Z",
        lambda match: wire_time(datetime.fromisoformat(match[0]) + away),
        json.dumps(vector),
    )
    moved = json.loads(text)
    if isinstance(moved["claims"].get("established_at"), int):
        moved["claims"]["established_at"] += int(away.total_seconds())
    return moved


@pytest.mark.parametrize("missing", ["epoch", "as-of"])
def test_without_an_epoch_or_a_time_the_reader_does_not_know(redis: Any, redis_url: str, missing: str) -> None:
    project(redis_url)
    assert refusal(redis, {"session_id": "s-1"}) is None

    redis.delete(f"revoker:revoked:{missing}")

    with pytest.raises(READER["Unknown"]):
        refusal(redis, {"session_id": "s-1"})


def test_what_is_too_old_is_not_known(redis: Any, redis_url: str) -> None:
    project(redis_url)
    later = wire_time(NOW + timedelta(microseconds=1))

    with pytest.raises(READER["Unknown"]):
        READER["refusal"](redis, known({"session_id": "s-1"}), later, later)


def at(step: int) -> str:
    return wire_time(START + timedelta(seconds=step))


IDS: Final = st.sampled_from(["s-1", "s-2", "s-3"])
CLIENTS: Final = st.sampled_from(["web", "app"])
SELECTORS: Final = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.sampled_from(["", "acme"]),
        "subject": st.sampled_from(["alice", "bob"]),
        "session_id": IDS | st.lists(IDS, min_size=1, max_size=2, unique=True),
        "token_id": st.sampled_from(["t-1", "t-2"]),
        "client_id": CLIENTS,
        "key_id": st.just("k-1"),
        "device_id": st.just("d-1"),
        "ip_network": st.sampled_from(["10.0.0.0/24", "2001:db8::/32"]),
        "labels": st.sampled_from([{"plan": "free"}, {"plan": "free", "region": "eu"}]),
        "established_after": st.integers(0, 4).map(at),
    },
).map(lambda named: named if named.keys() - {"tenant"} else named | {"everyone": True})
LISTED: Final = st.fixed_dictionaries(
    {"session_id": IDS, "client_id": st.just("") | CLIENTS}, optional={"subject": st.sampled_from(["alice", "bob"])}
)
ENDED: Final = st.builds(
    lambda number, selector, bound, keep, clients, sessions, tokens: record(
        {
            "revocation_id": f"r-{number}",
            "cause": "revocation-ordered",
            "initiator": "admin",
            "reason_user": {"en": "It was ended"},
            "kind": "ended",
            "selector": selector,
            "not_before": at(bound),
            "keep": keep,
            "keep_clients": clients,
            "requested_at": at(bound),
            "committed_at": at(bound),
            # Of which tenant they are is not said where the selector does not.
            "sessions": sessions if "tenant" in selector else [],
            "tokens": tokens if "tenant" in selector else [],
            "covers_until": FAR,
        }
    ),
    st.integers(0, 10**9),
    SELECTORS,
    st.integers(0, 4),
    st.lists(IDS, max_size=1),
    st.lists(CLIENTS, max_size=1),
    st.lists(LISTED, max_size=2),
    st.lists(st.fixed_dictionaries({"token_id": st.sampled_from(["t-1", "t-2"])}), max_size=1),
)
HOLDS: Final = st.builds(
    lambda number, selector, hours: record(
        {
            "hold_id": f"h-{number}",
            "selector": selector,
            "until": wire_time(NOW + timedelta(hours=hours)) if hours < 2 else FAR,
            "reason_user": {"en": "It is held"},
        },
        "hold-placed",
    ),
    st.integers(0, 3),
    SELECTORS,
    st.sampled_from([-1, 2]),
)
LIFTS: Final = st.builds(
    lambda number, hours: record(
        {"hold_id": f"h-{number}", "at": wire_time(NOW + timedelta(hours=hours))}, "hold-lifted"
    ),
    st.integers(0, 3),
    st.sampled_from([-1, 1]),
)
CREDENTIALS: Final = st.fixed_dictionaries(
    {"tenant": st.sampled_from(["", "acme"]), "subject": st.sampled_from(["alice", "bob"])},
    optional={
        "session_id": IDS,
        "client_id": CLIENTS,
        "token_id": st.sampled_from(["t-1", "t-2"]),
        "key_id": st.sampled_from(["k-1", "k-2"]),
        "device_id": st.sampled_from(["d-1", "d-2"]),
        "ip": st.sampled_from(["10.0.0.1", "10.0.1.1", "2001:db8::1"]),
        "labels": st.sampled_from([{}, {"plan": "free"}, {"plan": "free", "region": "eu"}]),
        "established_at": st.integers(0, 5).map(at),
        "whole_second": st.booleans(),
    },
)


def claims(credential: dict[str, Any]) -> SessionClaims:
    moment: Any = credential.get("established_at")
    if moment is not None:
        moment = datetime.fromisoformat(moment)
        moment = int(moment.timestamp()) if credential.get("whole_second") else moment
    return SessionClaims(
        established_at=moment,
        **{name: v for name, v in credential.items() if name not in {"established_at", "whole_second"}},
    )


def verdict_of(entry: Any) -> str:
    return "none" if entry is None else "held" if "until" in entry else "ended"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(ENDED | HOLDS | LIFTS, min_size=1, max_size=6, unique=True),
    st.lists(CREDENTIALS, min_size=10, max_size=20),
)
def test_the_reader_agrees_with_the_index(
    redis: Any, redis_url: str, records: list[bytes], credentials: list[dict[str, Any]]
) -> None:
    index = Index()
    told: dict[str, bytes] = {}
    for value in records:
        notice = decode_notice(value)
        assert notice is not None
        # An id stands for one content.
        match notice:
            case HoldPlacedNotice(hold_id=id_):
                name = f"hold {id_}"
            case SessionEndedNotice(revocation_id=id_):
                name = id_
            case _:
                name = str(value)
        if told.setdefault(name, value) is value:
            index.apply(notice)
    project(redis_url, *told.values())

    for drawn in credentials:
        # Without a time it is no whole second either.
        credential = drawn if "established_at" in drawn else drawn | {"whole_second": False}
        verdict = index.find(claims(credential), NOW.timestamp())
        expected = "none" if verdict is None else "held" if isinstance(verdict, Hold) else "ended"
        assert verdict_of(refusal(redis, credential)) == expected, credential
