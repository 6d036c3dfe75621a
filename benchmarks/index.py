"""The gateway's index: how long a look takes, beside asking Redis, and what a session that is over costs in memory.

The index holds what a month of password changes and logouts leaves behind. Asked about are people who are signed in, as
a gateway sees them all day: most of them of no subject that anything is known of, some who changed their password and
signed in again. Other kinds have their line below the table.
"""

import gc
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from redis.asyncio import Redis

from benchmarks.errors import BenchmarkError
from benchmarks.figures import Goal, Note, Row, shown
from benchmarks.ground import Ground
from benchmarks.patience import Patience
from benchmarks.plan import Plan
from revoker.core import notices
from revoker.core.claims import SessionClaims
from revoker.core.ids import RevocationId
from revoker.core.index import Index
from revoker.core.notices import EndedSession
from revoker.core.revocation import Revocation, Selector
from revoker.core.wire import decode_notice

_NAME: Final = "gateway check"
_SESSIONS_EACH: Final = 4
_SIGNED_IN_AGAIN: Final = 10
"""One of so many that are asked about."""
_ASKED: Final = 2_000
_GETS: Final = 2_000
_WIDE: Final = 1_000
_MOST_SECONDS: Final = 1.5e-6
_MOST_BYTES: Final = 200
_MEGABYTE: Final = 1_000_000
_BEGAN: Final = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
_NOW: Final = (_BEGAN + timedelta(hours=12)).timestamp()


async def measure(ground: Ground, plan: Plan, say: Callable[[str], None]) -> tuple[list[Row], list[Note], str]:
    """The rows."""
    chance = Random(plan.events)
    patience = Patience(plan.patience)
    per_session = {
        "password changes": _bytes_a_session(lambda: _changes(plan.revoked, chance)),
        "logouts": _bytes_a_session(lambda: _logouts(plan.revoked, chance)),
    }
    index = Index()
    began = time.perf_counter()
    count = _read(index, [*_changes(plan.revoked, chance), *_logouts(plan.revoked, chance)])
    replayed = count / (time.perf_counter() - began)
    kinds = _kinds(chance)

    checks: list[float] = []
    gets: list[float] = []
    async with Redis.from_url(ground.settings.redis_url.get_secret_value()) as redis:
        for number in range(plan.rounds):
            await patience.quiet()
            checks.append(_rate(index, kinds["as a gateway sees them"]))
            gets.append(await _gets(redis))
            say(f"{_NAME}, round {number + 1}: {shown(checks[-1])}/s, Redis {shown(gets[-1])}/s")
    each = {name: 1e6 / _rate(index, claims) for name, claims in kinds.items()}
    _read(index, _wide())
    each |= {f"{name}, beside {_WIDE:,} wide predicates": 1e6 / _rate(index, claims) for name, claims in kinds.items()}

    dense = [_MEGABYTE / size for size in per_session.values()]
    rows = [
        Row(_NAME, "one Redis GET at a time", "/s", checks, gets, Goal(50)),
        Row("the same", "1.5 microseconds each", "/s", checks, [1 / _MOST_SECONDS] * len(checks), Goal(1)),
        Row(
            "gateway index",
            f"{_MOST_BYTES} bytes a covered session",
            "sessions/MB",
            [min(dense)],
            [_MEGABYTE / _MOST_BYTES],
            Goal(1),
        ),
    ]
    sizes = ", ".join(f"{name} {shown(size)}" for name, size in per_session.items())
    told = [
        Note(f"{_NAME}: microseconds", ", ".join(f"{name} {shown(took)}" for name, took in each.items()), each),
        Note("gateway index: bytes a session", sizes, per_session),
        Note("gateway index: replay", f"{shown(replayed)} records/s, from bytes to index", {"rate": replayed}),
    ]
    return rows, told, ""


def _bytes_a_session(make: Callable[[], Iterator[bytes]]) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        index = Index()
        _read(index, make())
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / index.counts().sessions
    finally:
        tracemalloc.stop()


def _read(index: Index, bodies: Sequence[bytes] | Iterator[bytes]) -> int:
    count = 0
    for body in bodies:
        notice = decode_notice(body)
        if notice is None or index.apply(notice) is None:
            raise BenchmarkError("a notice was no news")
        count += 1
    return count


def _rate(index: Index, claims: Sequence[SessionClaims]) -> float:
    """Looks a second, the loop around them included. Of a few turns the best: what is slower was disturbed."""
    find = index.find
    took = []
    for _ in range(20):
        began = time.perf_counter()
        for each in claims:
            find(each, _NOW)
        took.append(time.perf_counter() - began)
    return len(claims) / min(took)


async def _gets(redis: Redis) -> float:
    keys = [f"revoked:session:{number:032x}" for number in range(_GETS)]
    began = time.perf_counter()
    for key in keys:
        await redis.get(key)
    return _GETS / (time.perf_counter() - began)


def _kinds(chance: Random) -> dict[str, list[SessionClaims]]:
    nobody = [_claims(_subject(-number - 1), _hex(chance)) for number in range(_ASKED)]
    again = [_claims(_subject(number), _hex(chance), late=True) for number in range(_ASKED)]
    over = [_claims(_subject(number), _hex(chance)) for number in range(_ASKED)]
    mixed = [again[number] if number % _SIGNED_IN_AGAIN == 0 else nobody[number] for number in range(_ASKED)]
    return {
        "as a gateway sees them": mixed,
        "nothing known of the subject": nobody,
        "signed in again": again,
        "over": over,
    }


def _claims(subject: str, session_id: str, *, late: bool = False) -> SessionClaims:
    at = _BEGAN + timedelta(days=2 if late else -1)
    return SessionClaims(
        subject=subject, session_id=session_id, client_id="web", ip="203.0.113.9", established_at=int(at.timestamp())
    )


def _changes(count: int, chance: Random) -> Iterator[bytes]:
    for number in range(count // _SESSIONS_EACH):
        ended = [EndedSession(_hex(chance), "web", _BEGAN) for _ in range(_SESSIONS_EACH)]
        yield _told(Selector(tenant="", subject=_subject(number)), ended, number, chance, keep=(_hex(chance),))


def _logouts(count: int, chance: Random) -> Iterator[bytes]:
    for number in range(count):
        id_ = _hex(chance)
        selector = Selector(tenant="", subject=_subject(number), session_ids=(id_,))
        yield _told(selector, [EndedSession(id_, "web", _BEGAN)], number, chance)


def _wide() -> Iterator[bytes]:
    chance = Random(1)
    for number in range(_WIDE):
        named = (
            Selector(tenant="", client_id=f"client-{number}"),
            Selector(tenant="", device_id=f"device-{number}"),
            Selector(tenant="", key_id=f"key-{number}"),
            Selector(tenant="", ip_network=f"10.{number // 250}.{number % 250}.0/24"),
            Selector(tenant="", labels=(("build", str(number)),)),
        )
        yield _told(named[number % 5], [], number, chance)


def _told(
    selector: Selector, ended: list[EndedSession], number: int, chance: Random, keep: tuple[str, ...] = ()
) -> bytes:
    at = _BEGAN + timedelta(milliseconds=number)
    revocation = Revocation(
        id=RevocationId(uuid.UUID(int=chance.getrandbits(128))),
        selector=selector,
        not_before=at,
        keep=keep,
        covers_until=at + timedelta(days=30),
        cause="password-changed",
        initiator="user",
        reason_user={"en": "Your password was changed"},
        source="bench",
        event_id="e",
        requested_at=at,
    )
    return notices.ended(revocation, at + timedelta(milliseconds=3), ended)[0].body


def _subject(number: int) -> str:
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))


def _hex(chance: Random) -> str:
    return f"{chance.getrandbits(128):032x}"
