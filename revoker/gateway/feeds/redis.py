"""The feed as the Redis projection keeps it: the stream of the denylist, for gateways that do not reach Kafka.

The projection says of itself how far it is, in the same place where the data stands: `positions` (of Kafka), `epoch`
and `as-of` (all that the topic held then is here), and the *build*, which is another one once Redis lost something. One
look takes all of them and the end of the stream at once; when we have read up to that end, we are where they say.

- No build, or no epoch: Redis is empty or is being filled. What we know stays, and grows old.
- Another build: the stream is read from its beginning, whatever its ids are now.
- A stream that ends before our place (a replica took over that had not heard of it): likewise.
- What was trimmed meanwhile nobody misses: `[denylist] stream` is longer than any credential lives.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from revoker.gateway.errors import FeedError
from revoker.gateway.feeds import Sink
from revoker.gateway.feeds.told import Told, unix
from revoker.tasks import was_cancelled

_log: Final = logging.getLogger("revoker.gateway")

_STATE: Final = "revoker:revoked:state"
_POSITIONS: Final = "revoker:revoked:positions"
_EPOCH: Final = "revoker:revoked:epoch"
_AS_OF: Final = "revoker:revoked:as-of"
_STREAM: Final = "revoker:session-ended"
_BEGINNING: Final = "0-0"
_AT_ONCE: Final = 1_000
_BLOCK_MS: Final = 200
_SOCKET_SECONDS: Final = 5.0


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """How the projection described itself, and where its stream ended at that moment."""

    build: str
    feed: str
    epoch: str | None
    as_of: str | None
    positions: Mapping[int, int]
    end: str


class RedisFeed:
    """Reads on where it was, whenever it is run again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._build: str | None = None
        self._epoch: str | None = None
        self._cursor = _BEGINNING
        self._following: dict[int, int] = {}

    async def run(self, sink: Sink) -> None:
        client = Redis.from_url(
            self._url, socket_timeout=_SOCKET_SECONDS, socket_connect_timeout=_SOCKET_SECONDS, protocol=2
        )
        told = Told()
        try:
            while not was_cancelled():
                await self._catch_up(client, sink, told)
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            raise FeedError(f"Redis cannot be read: {type(error).__name__}") from error
        finally:
            with suppress(RedisError, OSError, TimeoutError):
                await client.aclose()

    async def _catch_up(self, client: Redis, sink: Sink, told: Told) -> None:
        look = await _look(client)
        if not look.build:
            sink.trouble("Redis holds no projection: it is empty, or not filled yet")
            await asyncio.sleep(_BLOCK_MS / 1000)
            return
        self._enter(look, sink)
        while _id(self._cursor) < _id(look.end):
            # Without decode_responses all of it is bytes, which its types do not know.
            entries: Any = await client.xrange(_STREAM, f"({self._cursor}", "+", count=_AT_ONCE)
            if not entries:
                break
            await self._hand_over(entries, sink)
        for place, offset in look.positions.items():
            self._following[place] = max(offset, self._following.get(place, 0))
            await sink.records(place, (), self._following[place])
        self._judge(look, sink, told)
        await client.xread({_STREAM: self._cursor}, count=1, block=_BLOCK_MS)

    def _enter(self, look: _Look, sink: Sink) -> None:
        """Whether what we have read before is still worth something here."""
        if look.feed != self._epoch:
            self._epoch = look.feed
            self._following.clear()
            sink.epoch(look.feed)
        if look.build != self._build:
            if self._build is not None:
                _log.warning("feed-rebuilt: Redis lost something; reading its stream from the beginning")
            self._build, self._cursor = look.build, _BEGINNING
        elif _id(self._cursor) > _id(look.end):
            _log.error("feed-truncated: the stream ends before %s; reading from its beginning", self._cursor)
            sink.lost("the stream was cut; it is read from its beginning")
            self._cursor = _BEGINNING
        if self._cursor == _BEGINNING:
            for place in look.positions.keys() - self._following.keys():
                self._following[place] = 0
                sink.begin(place, 0)

    async def _hand_over(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]], sink: Sink) -> None:
        batches: dict[int, list[tuple[int, bytes | None]]] = {}
        for _, fields in entries:
            batches.setdefault(int(fields[b"place"]), []).append((int(fields[b"offset"]), fields[b"value"]))
        for place, records in batches.items():
            # A build that was begun anew repeats what was there: our place does not go back.
            following = max(records[-1][0] + 1, self._following.get(place, 0))
            await sink.records(place, records, following)
            self._following[place] = following
        self._cursor = entries[-1][0].decode()

    def _judge(self, look: _Look, sink: Sink, told: Told) -> None:
        if look.epoch is None or look.as_of is None:
            sink.trouble("the projection in Redis is not complete")
            return
        at = unix(look.as_of)
        sink.heard(at)
        as_of = told.moment(at)
        if as_of is not None:
            sink.current(as_of)


async def _look(client: Redis) -> _Look:
    async with client.pipeline(transaction=True) as pipe:
        pipe.hmget(_STATE, "build", "feed")
        pipe.hgetall(_POSITIONS)
        pipe.mget(_EPOCH, _AS_OF)
        pipe.xrevrange(_STREAM, count=1)
        (build, feed), positions, (epoch, as_of), newest = await pipe.execute()
    return _Look(
        build=_text(build),
        feed=_text(feed),
        epoch=_text(epoch) or None,
        as_of=_text(as_of) or None,
        positions={int(place): int(offset) for place, offset in positions.items()},
        end=_text(newest[0][0]) if newest else _BEGINNING,
    )


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _id(text: str) -> tuple[int, int]:
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number or 0)
