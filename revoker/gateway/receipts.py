"""Receipts: what an instance tells the service of itself, so that "enforced" can be proven.

One goes out as soon as something changed, at most four a second, and at least one every five seconds: silence means
that we are gone. What was cut, and who came with something dead, goes along until it is acknowledged; the position
proves the rest. A receipt is built when it is sent and never claims more than is proven at that moment; one that was
not acknowledged is sent again as it was, so that nothing counts twice. The last one says goodbye, and only when no
socket is open any more.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from revoker.gateway.clock import ServiceClock, elapsed
from revoker.gateway.errors import ReceiptError
from revoker.gateway.health import Mode, State
from revoker.gateway.ledger import Applied, Ledger, Refused
from schemas.cloudevent import SPECVERSION
from schemas.fields import MAX_IDS, wire_time

_log: Final = logging.getLogger("revoker.gateway")

MAX_BYTES: Final = 60_000
"""The service reads 64,000."""
_PAUSE_SECONDS: Final = 0.26
_EVERY_SECONDS: Final = 4.0
_UNKNOWN_SECONDS: Final = 1.0
_BACK_OFF_SECONDS: Final = (0.5, 1.0, 2.0, 4.0)

_encode = msgspec.json.Encoder().encode


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks."""

    gateway: str
    instance: str
    incarnation: str
    mode: Mode
    max_staleness: float


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the instance stands at this moment."""

    state: State
    epoch: str
    position: str


class Sender(Protocol):
    """A way to the service."""

    async def send(self, key: bytes, body: bytes) -> None:
        """Returns when the receipt is where the service finds it. Raises `ReceiptError`."""
        ...

    async def close(self) -> None: ...


class Reporter:
    """Sends the receipts of one instance."""

    def __init__(
        self,
        identity: Identity,
        ledger: Ledger,
        sender: Sender,
        clock: ServiceClock,
        *,
        standing: Callable[[], Standing],
        acknowledged: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._ledger = ledger
        self._sender = sender
        self._clock = clock
        self._standing = standing
        self._acknowledged = acknowledged
        self._unsent: bytes | None = None
        self._is_known = False
        self._last_at = 0.0
        self._sent_at = -_EVERY_SECONDS
        self.error: str | None = "no receipt was acknowledged yet"

    async def run(self) -> None:
        """Reports until cancelled."""
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(_BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS)) - 1])
            else:
                await self._due()
            failures = 0 if await self._report() else failures + 1

    async def farewell(self, seconds: float) -> bool:
        """Sends what is left, and the last word. The standing has to say that we have stopped. Whether it was heard."""
        # Where nobody has heard of us, hardly anybody waits for us to leave.
        until = elapsed() + (seconds if self._is_known else min(seconds, _UNKNOWN_SECONDS))
        heard = False
        while elapsed() < until and (not heard or self._unsent or self._ledger):
            # What was built before the end is not the last word.
            last = self._unsent is None
            try:
                async with asyncio.timeout(max(0.0, until - elapsed())):
                    acknowledged = await self._report()
                    heard = acknowledged and last
                    if not heard or self._ledger:
                        await asyncio.sleep(_PAUSE_SECONDS if acknowledged else _BACK_OFF_SECONDS[0])
            except TimeoutError:
                break
        return heard

    async def _due(self) -> None:
        pause = self._sent_at + _PAUSE_SECONDS - elapsed()
        if pause > 0:
            await asyncio.sleep(pause)
        if self._ledger:
            return
        rest = self._sent_at + _EVERY_SECONDS - elapsed()
        if rest > 0:
            try:
                async with asyncio.timeout(rest):
                    await self._ledger.changed.wait()
            except TimeoutError:
                return

    async def _report(self) -> bool:
        self._ledger.changed.clear()
        if self._unsent is None:
            self._unsent = self._build()
        self._sent_at = elapsed()
        try:
            await self._sender.send(self._identity.instance.encode(), self._unsent)
        except ReceiptError as error:
            if self.error != str(error):
                _log.warning("receipt-unsent: %s", error)
            self.error = str(error)
            return False
        self._unsent = None
        self._is_known = True
        self.error = None
        self._acknowledged()
        return True

    def _build(self) -> bytes:
        standing = self._standing()
        most = MAX_IDS
        while True:
            applied, refused = self._ledger.take(most)
            body = self._body(standing, applied, refused)
            if len(body) <= MAX_BYTES or most <= 1:
                return body
            self._ledger.give_back(applied, refused)
            most //= 2

    def _body(self, standing: Standing, applied: list[Applied], refused: list[Refused]) -> bytes:
        # The service goes by the newest; a clock that was set back must not make us look older than we were.
        now = self._last_at = max(self._clock.now(), self._last_at + 0.001)
        at = _wire(now)
        identity = self._identity
        return _encode(
            {
                "specversion": SPECVERSION,
                "type": "gateway-receipt",
                "id": str(uuid.uuid4()),
                "source": "revoker-gateway",
                "time": at,
                "data": {
                    "gateway": identity.gateway,
                    "kind": "gateway",
                    "instance": identity.instance,
                    "incarnation": identity.incarnation,
                    "epoch": standing.epoch,
                    "state": standing.state,
                    "mode": identity.mode,
                    "max_staleness": identity.max_staleness,
                    "attributes": self._ledger.attributes(),
                    "at": at,
                    "position": standing.position,
                    "applied": [_applied(entry) for entry in applied],
                    "refused": [_refused(entry) for entry in refused],
                },
            }
        )


def _applied(entry: Applied) -> dict[str, object]:
    return msgspec.structs.asdict(entry) | {"applied_at": _wire(entry.applied_at)}


def _refused(entry: Refused) -> dict[str, object]:
    told = msgspec.structs.asdict(entry)
    return told if entry.last_ip is not None else {name: told[name] for name in told if name != "last_ip"}


def _wire(moment: float) -> str:
    """`moment` (Unix seconds) as the wire says it. A clock that means no year that there is says now."""
    try:
        return wire_time(datetime.fromtimestamp(moment, UTC))
    except (ValueError, OverflowError, OSError):
        return wire_time(datetime.fromtimestamp(time.time(), UTC))
