"""The projection in Redis: what is atomic there, and what it is worth.

A position stands in Redis beside the data that it speaks of and moves in the same script. So whatever Redis loses, it
loses both: a server that comes back with older data tells us where to go on, and one that lost everything has no
*build*, the mark under which all writers work. A write under another build than the present one changes nothing. A
build is void when the data could have holes: Redis was emptied, keys were evicted, the topic was created anew. Then
another begins, at the start of the topic, and until all of it has been read again there is no epoch for readers to see.

Every script runs on one server: Redis Cluster would spread the keys of one write.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import ResponseError

from revoker.projection import keys
from revoker.projection.entries import Chunk

UNKNOWN_FEED: Final = "unknown"
"""The feed's epoch before the first heartbeat."""
NEEDED_POLICY: Final = "noeviction"
AGAIN_SECONDS: Final = (2, 10, 60)
"""How long after a session ended its copies are deleted again: a request in flight saves its copy last."""

TOLD_AT_ONCE: Final = 300
"""Revocations in one receipt, which may have 64 kB."""

_LEASE_MS: Final = 30_000
_LEAD_MS: Final = 6_000
_DUE_AT_ONCE: Final = 20
_pack: Final = msgspec.msgpack.Encoder().encode


class OutOfStepError(Exception):
    """Redis is not where the writer thought: it must ask for its positions again."""


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That a partition goes from one next offset to another."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What Redis says of itself. `build` is empty where there is nothing."""

    build: str
    feed: str
    past: frozenset[str]
    suspect: bool
    evicted: int
    epoch: str | None
    as_of: str | None
    positions: Mapping[int, int]
    at: datetime
    """By the server's own clock, which all members share."""

    @property
    def position(self) -> str:
        """As a receipt says it."""
        last = max(self.positions, default=-1)
        return ".".join((self.feed, *(str(self.positions.get(number, 0)) for number in range(last + 1))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the server would do when its memory is full. None: it does not say."""

    policy: str | None
    evicted: int

    @property
    def why_unsafe(self) -> str | None:
        """Why what is in it cannot be trusted; None: it can."""
        if self.policy == NEEDED_POLICY:
            return None
        return f"maxmemory-policy is {self.policy or 'unknown, INFO may not be asked'}, not {NEEDED_POLICY}"


class Projection:
    """The keys of the projection through `client`, which must not decode answers."""

    def __init__(self, client: Redis, stream_seconds: float) -> None:
        self._client = client
        self._stream_seconds = stream_seconds
        self._apply = _script(client, "copies", "apply")
        self._again = _script(client, "copies", "again")
        self._due = _script(client, "due")
        self._lead = _script(client, "lead")
        self._told = _script(client, "told")
        self._begin = _script(client, "begin")
        self._place = _script(client, "place")
        self._vouch = _script(client, "vouch")

    async def apply(self, build: str, chunk: Chunk, moves: Sequence[Move]) -> int:
        """Writes `chunk` and moves the positions, or neither. How many cached copies were cut by that.

        Raises `OutOfStepError`.
        """
        now = int(time.time() * 1000)
        body = {
            "moves": moves,
            "entries": chunk.entries,
            "stream": chunk.stream,
            "stream_from": f"{now - int(self._stream_seconds * 1000)}-0",
            "copies": chunk.copies,
            "again_at": now + AGAIN_SECONDS[0] * 1000,
        }
        said, *dropped = await _run(self._apply, build, _pack(body))
        if said != b"done":
            raise OutOfStepError(said.decode())
        return int(dropped[0])

    async def state(self) -> State:
        """Where it stands now."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.STATE)
            pipe.hgetall(keys.POSITIONS)
            pipe.get(keys.EPOCH)
            pipe.get(keys.AS_OF)
            pipe.time()
            state, positions, epoch, as_of, (seconds, micros) = await pipe.execute()
        return State(
            build=state.get(b"build", b"").decode(),
            feed=state.get(b"feed", UNKNOWN_FEED.encode()).decode(),
            past=frozenset(state.get(b"past", b"").decode().split()),
            suspect=state.get(b"suspect") == b"1",
            evicted=int(state.get(b"evicted", 0)),
            epoch=epoch.decode() if epoch is not None else None,
            as_of=as_of.decode() if as_of is not None else None,
            positions={int(partition): int(offset) for partition, offset in positions.items()},
            at=datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros),
        )

    async def server(self) -> Server:
        """What the server says of its memory."""
        try:
            info = await self._client.info("memory", "stats")
        except ResponseError:
            return Server(policy=None, evicted=0)
        policy = info.get("maxmemory_policy")
        return Server(policy=str(policy) if policy else None, evicted=int(info.get("evicted_keys", 0)))

    async def begin(self, left: str, feed: str, evicted: int) -> str:
        """The build that there is, once that of `left` (empty: none) is not it any more."""
        answer = await _run(self._begin, left, str(uuid.uuid4()), feed, evicted)
        return cast("bytes", answer).decode()

    async def place(self, build: str, firsts: Mapping[int, int]) -> dict[int, int]:
        """Where each partition starts; `firsts`: where its log begins. Raises `OutOfStepError`."""
        pairs = [number for pair in firsts.items() for number in pair]
        starts = await _run(self._place, build, *pairs)
        if len(starts) != len(firsts):
            raise OutOfStepError("build")
        return dict(zip(firsts, starts, strict=True))

    async def vouch(self, build: str, feed: str | None, server: Server, at: str, ends: Mapping[int, int]) -> str:
        """Lets readers trust what is there, if all of the topic up to `ends`, where it ended at `at`, is there.

        Answers `complete`, or why not: `behind`, `unsafe`, `build`.
        """
        safe = "unsafe" if server.why_unsafe else "safe"
        pairs = [number for pair in ends.items() for number in pair]
        answer = await _run(self._vouch, build, feed or "", safe, server.evicted, at, *pairs)
        return cast("bytes", answer).decode()

    async def due_again(self) -> Sequence[str]:
        """What copies are to be deleted again now; taken for half a minute."""
        now = int(time.time() * 1000)
        return [entry.decode() for entry in await _run(self._due, now, now + _LEASE_MS, _DUE_AT_ONCE)]

    async def notifications(self, due: str) -> Sequence[bytes]:
        """The records that one of `due_again` is about, as far as the stream still has them."""
        _, first, last = due.split("|")
        entries: Any = await self._client.xrange(keys.STREAM, first, last)
        return [fields[b"value"] for _, fields in entries]

    async def drop_again(self, due: str, chunk: Chunk) -> int:
        """Deletes the copies of `chunk` and plans the next time, if there is one. How many there were."""
        number, place = due.split("|", 1)
        done = int(number) + 1
        following, at = "", 0
        if done < len(AGAIN_SECONDS):
            following = f"{done}|{place}"
            at = int(place.partition("-")[0]) + AGAIN_SECONDS[done] * 1000
        return int(await _run(self._again, due, following, at, _pack(chunk.copies)))

    async def may_speak(self, member: str) -> bool:
        """Whether `member` speaks for all members now."""
        return bool(await _run(self._lead, member, _LEAD_MS))

    async def untold(self) -> Sequence[tuple[str, int]]:
        """Which revocations cut how many cached copies that no receipt has told of; some of them, if there are many."""
        found: Any
        _, found = await self._client.hscan(keys.DROPPED, count=TOLD_AT_ONCE)
        return [(id_.decode(), int(count)) for id_, count in found.items()][:TOLD_AT_ONCE]

    async def told(self, counts: Sequence[tuple[str, int]]) -> None:
        """A receipt has said so."""
        if counts:
            await _run(self._told, *(word for pair in counts for word in pair))

    async def tidy(self, now: str, lift_horizon: str) -> int:
        """Removes from what everybody reads what counts no more. Answers how much that was.

        A lift must outlive its hold, and one whose hold was never seen all holds that can still be on the topic.
        """
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.WIDE)
            pipe.hgetall(keys.HOLDS)
            wide, holds = await pipe.execute()
        over = [name for name, value in wide.items() if _is_over(msgspec.json.decode(value), holds, now, lift_horizon)]
        # What a lift is compared with goes last, the next time.
        ended = [name for name, until in holds.items() if until.decode() <= now and b"lift:" + name not in wide]
        if over:
            await self._client.hdel(keys.WIDE, *over)
        if ended:
            await self._client.hdel(keys.HOLDS, *ended)
        return len(over)


def _is_over(entry: Mapping[str, Any], holds: Mapping[bytes, bytes], now: str, lift_horizon: str) -> bool:
    if "lift" in entry:
        until = holds.get(entry["lift"].encode())
        return bool(entry["at"] < lift_horizon) if until is None else until.decode() <= now
    return bool(entry.get("until", entry.get("covers_until", now)) < now)


@cache
def _source(name: str) -> str:
    return resources.files("revoker.projection").joinpath("scripts", f"{name}.lua").read_text()


def _script(client: Redis, *names: str) -> AsyncScript:
    return client.register_script("\n".join(map(_source, names)))


async def _run(script: AsyncScript, *args: Any) -> Any:  # noqa: ANN401 - as the script answers
    return await script(args=args)
