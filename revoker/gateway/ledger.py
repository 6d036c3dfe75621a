"""What an instance did since its last receipt: what it cut, and who still came with something dead.

Bounded, because the second is written by whoever knocks: one line a revocation, and no more lines than fit. Safe to use
from any thread, since refusals come from the application's.
"""

import asyncio
import ipaddress
import threading
from typing import Final, TypeVar

import msgspec

from revoker.core.claims import SessionClaims

_MOST_APPLIED: Final = 10_000
_MOST_REFUSED: Final = 1_000
_SEEN_AS: Final = {
    "subject": "subject",
    "session_id": "session_id",
    "client_id": "client_id",
    "token_id": "token_id",
    "key_id": "key_id",
    "established_at": "established_at",
    "device_id": "device_id",
    "ip": "ip_network",
    "labels": "labels",
}


class Applied(msgspec.Struct, kw_only=True):
    """What one revocation (or hold) cut here."""

    revocation_id: str
    applied_at: float
    connections_dropped: int = 0
    cached_sessions_dropped: int = 0


class Refused(msgspec.Struct, kw_only=True):
    """Tries with the dead."""

    revocation_id: str
    count: int = 0
    last_ip: str | None = None
    verified: bool = False


EntryT = TypeVar("EntryT", Applied, Refused)


class Ledger:
    """Between two receipts."""

    def __init__(self) -> None:
        self._applied: dict[str, Applied] = {}
        self._refused: dict[str, Refused] = {}
        self._attributes: set[str] = set()
        self._lock = threading.Lock()
        self.changed = asyncio.Event()
        self.last_claims: SessionClaims | None = None
        """Of the newest check: what it names, this gateway can see."""

    def touch(self) -> None:
        """There is something to tell. Only from the gateway's own loop."""
        self.changed.set()

    def applied(self, revocation_id: str, at: float, dropped: int, cached: int) -> None:
        with self._lock:
            entry = self._applied.get(revocation_id)
            if entry is None:
                if len(self._applied) >= _MOST_APPLIED:
                    return  # the position proves it; only the count is lost
                entry = self._applied[revocation_id] = Applied(revocation_id=revocation_id, applied_at=at)
            entry.connections_dropped += dropped
            entry.cached_sessions_dropped += cached

    def refused(self, revocation_id: str, ip: str | None, *, verified: bool) -> None:
        with self._lock:
            entry = self._refused.get(revocation_id)
            if entry is None:
                if len(self._refused) >= _MOST_REFUSED:
                    return
                entry = self._refused[revocation_id] = Refused(revocation_id=revocation_id)
            entry.count += 1
            entry.last_ip = _address(ip) or entry.last_ip
            entry.verified = entry.verified or verified

    def take(self, most: int) -> tuple[list[Applied], list[Refused]]:
        """At most so many of each; they are gone from here."""
        with self._lock:
            return _some(self._applied, most), _some(self._refused, most)

    def give_back(self, applied: list[Applied], refused: list[Refused]) -> None:
        """They did not fit."""
        with self._lock:
            self._applied = {entry.revocation_id: entry for entry in applied} | self._applied
            self._refused = {entry.revocation_id: entry for entry in refused} | self._refused

    def __bool__(self) -> bool:
        return bool(self._applied or self._refused)

    def attributes(self) -> list[str]:
        """The attributes of a selector that this gateway was seen to know."""
        claims = self.last_claims
        if claims is not None:
            self._attributes |= {name for field, name in _SEEN_AS.items() if getattr(claims, field)}
        return sorted(self._attributes)


def _address(ip: str | None) -> str | None:
    """`ip` where the service would take it: one strange address must not lose the receipt."""
    if ip is None or "%" in ip:
        return None
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _some(entries: dict[str, EntryT], most: int) -> list[EntryT]:
    return [entries.pop(key) for key in list(entries)[:most]]
