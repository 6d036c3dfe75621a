"""Predicates that are no plain list of ids and no plain cut of a subject: by client, device, key, network, label,
tenant, everyone, in any combination; and all holds.

Those with one selector are one group. A group is filed under one of the values that it names, that under which the
fewest others are; so whoever is asked about meets those groups alone that have something in common with them, and a
thousand predicates on a thousand clients cost no more than one.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple

from revoker.core.claims import SessionClaims, micros
from revoker.core.index_parts.chains import Chain
from revoker.core.wire import WireSelector

_BY_VALUE: Final = ("subject", "token_id", "device_id", "key_id", "client_id", "tenant")
_ALONE: Final = (*_BY_VALUE, "ip_network", "established_after")
_DIRECT: Final = (*_BY_VALUE, "session_id")
_LABELS: Final = "labels"
_ALL: Final = "everyone"
_BROAD: Final[Mapping[object, int]] = {"tenant": 1, _ALL: 2}
_V4: Final = 32
_V6: Final = 128
_MAPPED: Final = bytes(10) + b"\xff\xff"


class Held(NamedTuple):
    """A hold."""

    hold_id: str
    until: int
    reason_user: Mapping[str, str]


class Network(NamedTuple):
    """As numbers: an address is inside when the bits that count are equal."""

    width: int
    shift: int
    bits: int


Attribute = str | tuple[int, int]
"""Of networks each size is one: width and shift."""
Place = tuple[Attribute, object]
"""An attribute, and a value of it."""
Key = tuple[object, ...]
"""What is equal for equal selectors."""


class Group:
    """All that has one selector."""

    __slots__ = ("after", "chain", "exact", "holds", "labels", "network", "selector", "sessions")

    def __init__(self, selector: WireSelector) -> None:
        self.selector = selector
        self.chain: Chain = ()
        self.holds: tuple[Held, ...] = ()
        self.exact = tuple((name, getattr(selector, name)) for name in _BY_VALUE if getattr(selector, name) is not None)
        self.sessions = frozenset(selector.session_ids)
        self.labels = tuple((selector.labels or {}).items())
        self.network = _network(selector.ip_network) if selector.ip_network is not None else None
        self.after = micros(selector.established_after) if selector.established_after is not None else None

    def matches(self, claims: SessionClaims, after: int) -> bool:
        """Whether every attribute named is known and equal. It began after `after`, as far as that counts."""
        for name, value in self.exact:
            if getattr(claims, name) != value:
                return False
        if self.sessions and claims.session_id not in self.sessions:
            return False
        if self.after is not None and after <= self.after:
            return False
        if self.labels and (
            claims.labels is None or any(claims.labels.get(name) != value for name, value in self.labels)
        ):
            return False
        return self.network is None or (claims.ip is not None and _inside(claims.ip, self.network))

    def places(self) -> Iterator[tuple[Place, ...]]:
        """Where it may be filed: several values of one attribute are several places at once."""
        if self.sessions:
            yield tuple(("session_id", each) for each in self.sessions)
        if self.network is not None:
            width, shift, bits = self.network
            yield (((width, shift), bits),)
        for pair in self.labels:
            yield ((_LABELS, pair),)
        for name, value in self.exact:
            yield ((name, value),)
        yield ((_ALL, None),)


Table = dict[object, tuple[Group, ...]]
"""Values of one attribute, and what is filed there."""


class _View(NamedTuple):
    """What `near` looks at: replaced in one step, since other threads look meanwhile."""

    everyone: tuple[Group, ...]
    tables: tuple[Table, ...]
    values: Callable[[SessionClaims], tuple[object, ...]]
    labels: Table | None
    networks: tuple[tuple[int, int, Table], ...]
    """Width and shift of those in the table, so that an address is looked up once for each size."""


class Predicates:
    """Groups, and where to find them."""

    def __init__(self) -> None:
        self.is_empty = True
        self._groups: dict[Key, Group] = {}
        self._homes: dict[Key, tuple[Place, ...]] = {}
        self._filed: dict[Attribute, Table] = {}
        self._survey()

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def group(self, selector: WireSelector) -> Group | None:
        """That of `selector`, if there is one."""
        return self._groups.get(_key(selector))

    def add(self, selector: WireSelector) -> Group:
        """A new group."""
        group = Group(selector)
        places = min(group.places(), key=self._crowd)
        key = _key(selector)
        self._groups[key] = group
        self._homes[key] = places
        for name, value in places:
            table = self._filed.setdefault(name, {})
            table[value] = (*table.get(value, ()), group)
        self._survey()
        return group

    def remove(self, group: Group) -> None:
        """Forgets it."""
        key = _key(group.selector)
        del self._groups[key]
        for name, value in self._homes.pop(key):
            table = self._filed[name]
            left = tuple(each for each in table[value] if each is not group)
            if left:
                table[value] = left
            else:
                del table[value]
        self._survey()

    def near(self, claims: SessionClaims) -> tuple[Group, ...]:
        """All that may match `claims`, and few others."""
        view = self._view
        found = view.everyone
        for table, value in zip(view.tables, view.values(claims), strict=False):
            groups = table.get(value)
            if groups is not None:
                found += groups
        if view.labels is not None and claims.labels is not None:
            for pair in claims.labels.items():
                found += view.labels.get(pair, ())
        if view.networks and claims.ip is not None:
            its_width, bits = parsed(claims.ip)
            for width, shift, table in view.networks:
                if width == its_width:
                    found += table.get(bits >> shift, ())
        return found

    def _crowd(self, places: tuple[Place, ...]) -> tuple[int, int]:
        """How many it would have to be told from there; where a whole tenant passes, or everybody, comes last."""
        tables = [(self._filed.get(name, {}), value) for name, value in places]
        return _BROAD.get(places[0][0], 0), max(len(table.get(value, ())) for table, value in tables)

    def _survey(self) -> None:
        """A getter of less than two names would give no tuple."""
        self._filed = {name: table for name, table in self._filed.items() if table}
        names = tuple(name for name in _DIRECT if name in self._filed)
        self._view = _View(
            everyone=self._filed.get(_ALL, {}).get(None, ()),
            tables=tuple(self._filed[name] for name in names),
            values=attrgetter(*names, "tenant", "subject"),
            labels=self._filed.get(_LABELS),
            networks=tuple((*name, table) for name, table in self._filed.items() if isinstance(name, tuple)),
        )
        self.is_empty = not self._groups


@lru_cache(maxsize=4_096)
def parsed(ip: str) -> tuple[int, int]:
    """Width and number of an address; zeros for what is none. IPv4 in IPv6 is IPv4."""
    for family, width in ((socket.AF_INET, _V4), (socket.AF_INET6, _V6)):
        try:
            raw = socket.inet_pton(family, ip)
        except (OSError, ValueError):
            continue
        if raw.startswith(_MAPPED):
            return _V4, int.from_bytes(raw[len(_MAPPED) :])
        return width, int.from_bytes(raw)
    return 0, 0


def _inside(ip: str, network: Network) -> bool:
    width, bits = parsed(ip)
    return width == network.width and bits >> network.shift == network.bits


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text, strict=False)
    shift = network.max_prefixlen - network.prefixlen
    return Network(network.max_prefixlen, shift, int(network.network_address) >> shift)


def _key(selector: WireSelector) -> Key:
    return (
        *(getattr(selector, name) for name in _ALONE),
        frozenset(selector.session_ids),
        frozenset((selector.labels or {}).items()),
    )
