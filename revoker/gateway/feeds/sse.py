"""The feed over HTTP: `GET /v1/notifications`, for gateways that reach neither Kafka nor Redis.

Each event's id is the reader's position once it has read that event, all partitions and the epoch in one; it is what
`Last-Event-ID` takes back. Which partition a record came from is not said; so a record whose drop still runs holds back
every partition that moved with it. The server begins with `started` (a snapshot, or where we were), ends the replay
with `snapshot-complete`, and beats once a second as long as it knows that it is complete itself.
"""

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from revoker.gateway.clock import elapsed
from revoker.gateway.errors import FeedError
from revoker.gateway.feeds import Sink
from revoker.gateway.feeds.told import Told, unix
from revoker.gateway.senders import Token, headers

if TYPE_CHECKING:
    import httpx_sse
    from httpx_sse import ServerSentEvent

_log: Final = logging.getLogger("revoker.gateway")

_SILENT_SECONDS: Final = 10.0
_BUFFERED_SECONDS: Final = 5.0


class _Started(msgspec.Struct):
    epoch: str
    snapshot: bool


class _Beat(msgspec.Struct):
    at: str


_started = msgspec.json.Decoder(_Started).decode
_beat = msgspec.json.Decoder(_Beat).decode


class SSEFeed:
    """Reads on where it was, whenever it is run again."""

    def __init__(self, feed_url: str, token: Token | None, *, credential_lifetime: float) -> None:
        self._url = feed_url.rstrip("/") + "/v1/notifications"
        self._token = token
        self._lifetime = credential_lifetime
        self._cursor = ""
        self._epoch: str | None = None
        self._following: dict[int, int] = {}

    async def run(self, sink: Sink) -> None:
        import httpx  # noqa: PLC0415 - an extra: gateways on Kafka or Redis do not have it
        import httpx_sse  # noqa: PLC0415 - as above

        asked = headers(self._token)
        if self._cursor:
            asked["last-event-id"] = self._cursor
        asked_at = elapsed()
        try:
            async with (
                httpx.AsyncClient(timeout=_SILENT_SECONDS) as client,
                httpx_sse.aconnect_sse(
                    client, "GET", self._url, headers=asked, params={"lifetime": self._lifetime}
                ) as source,
            ):
                if not source.response.is_success:
                    raise FeedError(f"{self._url} answered {source.response.status_code}")
                await self._follow(source, sink, asked_at)
        except (httpx.HTTPError, httpx.InvalidURL, httpx_sse.SSEError, OSError) as error:
            raise FeedError(f"{self._url} cannot be read: {type(error).__name__}") from error
        raise FeedError(f"{self._url} ended the stream")

    async def _follow(self, source: "httpx_sse.EventSource", sink: Sink, asked_at: float) -> None:
        told = Told()
        try:
            async with aclosing(source.aiter_sse()) as events:
                async for event in events:
                    match event.event:
                        case "notification":
                            await self._hand_over(event, sink)
                        case "started":
                            self._begin(event, sink)
                        case "snapshot-complete":
                            await self._move(event.id, sink)
                            sink.current(asked_at)
                        case "beat":
                            await self._move(event.id, sink)
                            _hear(_beat(event.data).at, told, sink)
                        case _:
                            pass
        except (msgspec.MsgspecError, ValueError) as error:
            raise FeedError(f"{self._url} sent what cannot be read: {type(error).__name__}") from error

    def _begin(self, event: "ServerSentEvent", sink: Sink) -> None:
        started = _started(event.data)
        epoch, places = _vector(event.id)
        if epoch != self._epoch:
            if self._epoch is not None:
                _log.error("feed-recreated: epoch %s; reading everything again", epoch)
            self._epoch = epoch
            sink.epoch(epoch)
        elif not started.snapshot:
            return
        elif self._cursor:
            _log.error("feed-truncated: the stream does not reach our place any more; reading a snapshot")
            sink.lost("the stream was cut; a snapshot is read")
        self._following = places
        for place, offset in places.items():
            sink.begin(place, offset)

    async def _hand_over(self, event: "ServerSentEvent", sink: Sink) -> None:
        _, places = _vector(event.id)
        moved = {place: offset for place, offset in places.items() if offset != self._following.get(place)}
        # One that moves nothing is a repetition of we do not know what.
        floors = {place: self._following.get(place, 0) for place in moved or places}
        await sink.record(event.data.encode(), floors, moved)
        self._following |= moved
        self._cursor = event.id

    async def _move(self, id_: str, sink: Sink) -> None:
        if not id_:
            return
        _, places = _vector(id_)
        for place, offset in places.items():
            if offset != self._following.get(place):
                self._following[place] = offset
                await sink.records(place, (), offset)
        self._cursor = id_


def _hear(text: str, told: Told, sink: Sink) -> None:
    at = unix(text)
    sink.heard(at)
    as_of = told.moment(at)
    if as_of is None:
        return
    if elapsed() - as_of > _BUFFERED_SECONDS:
        # We were stopped, or the server's clock was set back. A new stream has nothing old in it.
        raise FeedError("what comes is old")
    sink.current(as_of)


def _vector(id_: str) -> tuple[str, dict[int, int]]:
    """The epoch, and the next offset of each partition. Raises ValueError."""
    epoch, *offsets = id_.split(".")
    if not epoch:
        raise ValueError("an event has no id")
    return epoch, dict(enumerate(map(int, offsets)))
