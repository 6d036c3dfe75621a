"""The one rule: which credentials a revocation covers.

A revocation is a predicate, not a list. A session is ended if and only if some revocation covers it, and revocations
only grow. So the set of ended sessions depends on the set of revocations and the set of sessions alone: order,
duplication, lateness and splitting into batches change nothing. For sets of revocations P and Q and a credential c:

    ended(P | Q, c) == ended(P, c) or ended(Q, c)      and so      ended(P, c) implies ended(P | Q, c)

`Revocation.covers` has a twin in SQL (`revoker.storage.covering`); a property test holds them together. The answer is
three-valued because a gateway may not see every attribute; the database sees all, and there UNKNOWN means "not ended".
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from revoker.core.ids import RevocationId

_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)


class Cover(Enum):
    """Whether a revocation covers a credential, as far as its attributes tell."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is known of a session or token. None means not known; `""` for the client means: known to have none.

    `whole_second` says that `established_at` was truncated, as in a JWT: it means the second that begins there.
    """

    tenant: str
    subject: str | None = None
    session_id: str | None = None
    client_id: str | None = None
    token_id: str | None = None
    key_id: str | None = None
    device_id: str | None = None
    ip: str | None = None
    labels: Mapping[str, str] | None = None
    established_at: datetime | None = None
    whole_second: bool = False


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes that must match. None (or an empty tuple) names nothing."""

    tenant: str | None = None
    subject: str | None = None
    session_ids: tuple[str, ...] = ()
    token_id: str | None = None
    client_id: str | None = None
    key_id: str | None = None
    device_id: str | None = None
    ip_network: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    established_after: datetime | None = None

    @property
    def bounded(self) -> bool:
        """Whether `not_before` counts: what names a session, a token or a key covers it whenever it began."""
        return not (self.session_ids or self.token_id or self.key_id)

    def matches(self, credential: Credential) -> Cover:
        """Whether every named attribute is known and equal; time is not looked at, but for `established_after`."""
        return _all(self._compare(credential))

    def _compare(self, c: Credential) -> Iterable[Cover]:  # noqa: C901 - one line an attribute
        if self.tenant is not None:
            yield _equal(self.tenant, c.tenant)
        if self.subject is not None:
            yield _equal(self.subject, c.subject)
        if self.session_ids:
            yield _known(c.session_id is not None, c.session_id in self.session_ids)
        if self.token_id is not None:
            yield _equal(self.token_id, c.token_id)
        if self.client_id is not None:
            yield _equal(self.client_id, c.client_id)
        if self.key_id is not None:
            yield _equal(self.key_id, c.key_id)
        if self.device_id is not None:
            yield _equal(self.device_id, c.device_id)
        if self.ip_network is not None:
            yield _known(c.ip is not None, c.ip is not None and _inside(c.ip, self.ip_network))
        for name, value in self.labels:
            yield _known(c.labels is not None, c.labels is not None and c.labels.get(name) == value)
        if self.established_after is not None:
            yield _after(c, self.established_after)


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """A decided predicate. Stored once, never changed; a redelivery works from the stored one.

    `not_before` binds only where the selector is `bounded`. `covers_until` is when the last session that this could
    cover is over by itself: until then no index, cache or prune forgets it.
    """

    id: RevocationId
    selector: Selector
    not_before: datetime
    keep: tuple[str, ...] = ()
    keep_clients: tuple[str, ...] = ()
    covers_until: datetime
    cause: str
    initiator: str
    reason_user: Mapping[str, str] = msgspec.field(default_factory=dict)
    reason_admin: str | None = None
    source: str
    event_id: str
    requested_at: datetime
    enforced: bool = True
    """False for what is only recorded with what it would have ended (`mode = "report-only"`)."""

    def covers(self, credential: Credential) -> Cover:
        """Whether this ends `credential`."""
        if credential.session_id in self.keep or credential.client_id in self.keep_clients:
            return Cover.NO
        if not self.selector.bounded:
            return self.selector.matches(credential)
        return _all((self.selector.matches(credential), _at_or_before(credential, self.not_before)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reversible freeze: while in force it refuses everything that it matches, and ends nothing."""

    id: RevocationId
    selector: Selector
    until: datetime

    def in_force(self, now: datetime, lifted_at: datetime | None = None) -> bool:
        """Whether it refuses at `now`; `lifted_at` is the least lift heard, which may be older than the hold."""
        return now < (self.until if lifted_at is None else min(self.until, lifted_at))


def dominates(first: Revocation, second: Revocation) -> bool:
    """Whether `first` surely covers everything that `second` covers, now and later, so that `second` adds nothing.

    Conservative: False may also mean "not known". Has a twin in SQL, `covering.DOMINATES`.
    """
    a, b = first.selector, second.selector
    return (
        first.enforced
        and a.tenant in {None, b.tenant}
        and a.subject in {None, b.subject}
        and (not a.session_ids or (bool(b.session_ids) and set(b.session_ids) <= set(a.session_ids)))
        and a.token_id in {None, b.token_id}
        and a.client_id in {None, b.client_id}
        and a.key_id in {None, b.key_id}
        and a.device_id in {None, b.device_id}
        and a.ip_network in {None, b.ip_network}
        and set(a.labels) <= set(b.labels)
        and a.established_after in {None, b.established_after}
        and (not a.bounded or (b.bounded and second.not_before <= first.not_before))
        and set(first.keep) <= set(second.keep)
        and set(first.keep_clients) <= set(second.keep_clients)
        and first.covers_until >= second.covers_until
    )


def _all(covers: Iterable[Cover]) -> Cover:
    answer = Cover.YES
    for cover in covers:
        if cover is Cover.NO:
            return Cover.NO
        if cover is Cover.UNKNOWN:
            answer = Cover.UNKNOWN
    return answer


def _known(known: bool, holds: bool) -> Cover:  # noqa: FBT001 - two booleans are what it turns into one answer
    if not known:
        return Cover.UNKNOWN
    return Cover.YES if holds else Cover.NO


def _equal(wanted: str, has: str | None) -> Cover:
    return _known(has is not None, has == wanted)


def _inside(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _span(c: Credential) -> tuple[datetime, datetime] | None:
    """The earliest and the latest moment at which it may have been established."""
    if c.established_at is None:
        return None
    return c.established_at, c.established_at + (_SECOND - _MICROSECOND if c.whole_second else timedelta())


def _at_or_before(c: Credential, bound: datetime) -> Cover:
    span = _span(c)
    if span is None or span[0] <= bound < span[1]:
        return Cover.UNKNOWN
    return Cover.YES if span[1] <= bound else Cover.NO


def _after(c: Credential, bound: datetime) -> Cover:
    span = _span(c)
    if span is None or span[0] <= bound < span[1]:
        return Cover.UNKNOWN
    return Cover.YES if span[0] > bound else Cover.NO
