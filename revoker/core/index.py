"""The gateway's index: who is over and who is on hold, as far as the notices say. Pure: no clock, no I/O.

Notices come in any order, twice, and in parts; what is answered depends on the set of them alone. Somebody is over

- whose session or token a notice has named (where it named one client's part, and the client is known, that part
  alone), whatever the predicate says; or
- whom a predicate surely covers; or, where no session id is known that a notice could name, whom one covers but for a
  time that is not known, or known only to a second.

A predicate on a subject is a chain (`index_parts.chains`), a named session or token a record on a shelf
(`index_parts.shelves`), all else, and every hold, a group (`index_parts.predicates`). A revocation is in force until
its `covers_until`; what is over by then is dropped in small steps by `forget`, and nothing else ever is: at its memory
bound the index raises.

One thread applies and forgets; any number may look.
"""

from collections.abc import Iterable
from math import isfinite

from revoker.core.claims import SECOND, SessionClaims, from_micros, micros
from revoker.core.index_parts.chains import Chain
from revoker.core.index_parts.hits import Hit
from revoker.core.index_parts.holdings import SUBJECT_MASK, Counts, Holdings
from revoker.core.index_parts.ledger import FOREVER
from revoker.core.index_parts.predicates import Held
from revoker.core.index_parts.shelves import MASK, SHIFT, Record
from revoker.core.index_parts.sweeping import Sweeper
from revoker.core.index_parts.writing import IndexFull, Writer
from revoker.core.verdicts import Hold, Revocation
from revoker.core.wire import Notice

__all__ = ["Counts", "Hit", "Index", "IndexFull"]


class Index:
    """Apply notices, ask about claims."""

    def __init__(self, *, max_bytes: int | None = None, iat_is_login: bool = False) -> None:
        self._max_bytes = FOREVER if max_bytes is None else max_bytes
        self._iat_is_login = iat_is_login
        self.clear()

    def clear(self) -> None:
        """Forgets everything, for a replay from nothing."""
        self._holdings = holdings = Holdings()
        self._writer = Writer(holdings, self._max_bytes)
        self._sweeper = Sweeper(holdings)
        # At hand, for `find`.
        self._ledger = holdings.ledger
        self._subjects = holdings.subjects
        self._sessions = holdings.sessions.lists
        self._tokens = holdings.tokens.lists
        self._groups = holdings.groups

    def __len__(self) -> int:
        counts = self.counts()
        return counts.subjects + counts.sessions + counts.tokens + counts.wide + counts.holds

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return self._holdings.size_bytes

    def counts(self) -> Counts:
        """How much it holds."""
        return self._holdings.counts()

    def apply(self, notice: Notice) -> Hit | None:
        """Takes `notice` in; None where it says nothing new, or lifts a hold: then nobody is to be cut.

        Raises IndexFull, and then has taken in nothing of it.
        """
        return self._writer.apply(notice)

    def forget(self, now: float, limit: int = 10_000) -> int:
        """Drops what has expired at `now` (Unix seconds), looking at about `limit` things. Returns how many it dropped.

        Cheap while nothing is due. What expired counts no more from now on, dropped or not.
        """
        self._holdings.now = max(self._holdings.now, int(now * SECOND))
        return self._sweeper.sweep(limit)

    def find(self, claims: SessionClaims, now: float | None = None) -> Revocation | Hold | None:
        """Why `claims` are to be refused, or None. A revocation comes before a hold.

        `now` (Unix seconds) says what has expired meanwhile. Without it all counts that `forget` has not heard to be
        expired, and a hold until it is lifted.
        """
        subject = claims.subject
        if subject is not None:
            tenant = claims.tenant
            key = f"{tenant}\x1f{subject}" if tenant else subject
            chain = self._subjects[hash(key) & SUBJECT_MASK].get(key)
            if chain is not None:
                number = self._first(chain, claims, self._bounds(claims)[0], now)
                if number is not None:
                    return self._ledger.verdict(number)
        # Calls that are spared those who are not over, which are most.
        id_ = claims.session_id
        if id_ is not None:
            hashed = hash(id_)
            strings = self._sessions[hashed & MASK]
            if f"\x1e{id_}\x1f" in strings[(hashed >> SHIFT) & (len(strings) - 1)]:
                number = self._named(self._holdings.sessions.records(id_), claims, claims.client_id, now)
                if number is not None:
                    return self._ledger.verdict(number)
        id_ = claims.token_id
        if id_ is not None:
            hashed = hash(id_)
            strings = self._tokens[hashed & MASK]
            if f"\x1e{id_}\x1f" in strings[(hashed >> SHIFT) & (len(strings) - 1)]:
                number = self._named(self._holdings.tokens.records(id_), claims, None, now)
                if number is not None:
                    return self._ledger.verdict(number)
        return None if self._groups.is_empty else self._by_predicate(claims, now)

    def _by_predicate(self, claims: SessionClaims, now: float | None) -> Revocation | Hold | None:
        groups = self._groups.near(claims)
        if not groups:
            return None
        held: Hold | None = None
        before, after = self._bounds(claims)
        for group in groups:
            if not group.matches(claims, after):
                continue
            number = self._first(group.chain, claims, before, now)
            if number is not None:
                return self._ledger.verdict(number)
            if held is None:
                held = self._in_force(group.holds, now)
        return held

    def _first(self, chain: int | Chain, claims: SessionClaims, before: int, now: float | None) -> int | None:
        """The first of `chain` that covers `claims`, whose attributes match and which began by `before`."""
        ledger = self._ledger
        for number in (chain,) if isinstance(chain, int) else chain:
            if before > ledger.not_before[number]:
                return None
            if not ledger.keeps(number, claims.session_id, claims.client_id) and self._lives(number, now):
                return number
        return None

    def _named(
        self, records: Iterable[Record], claims: SessionClaims, client_id: str | None, now: float | None
    ) -> int | None:
        """The first of `records` that means `claims`; a subject or client that is not known may be any."""
        subject = claims.subject
        for tenant, whose, its_client, number in records:
            if (
                tenant == claims.tenant
                and (not whose or subject is None or whose == subject)
                and (not its_client or client_id is None or its_client == client_id)
                and (its_client or client_id not in self._ledger.keep_clients(number))
                and self._lives(number, now)
            ):
                return number
        return None

    def _in_force(self, holds: Iterable[Held], now: float | None) -> Hold | None:
        for hold in holds:
            lifted_at = self._holdings.lifts.get(hold.hold_id)
            if now is None:
                in_force = lifted_at is None and self._holdings.now < hold.until
            else:
                in_force = now * SECOND < (hold.until if lifted_at is None else min(hold.until, lifted_at))
            if in_force:
                return Hold(id=hold.hold_id, reason_user=hold.reason_user, until=from_micros(hold.until))
        return None

    def _lives(self, number: int, now: float | None) -> bool:
        return self._ledger.covers_until[number] > (self._holdings.now if now is None else now * SECOND)

    def _bounds(self, claims: SessionClaims) -> tuple[int, int]:
        """What has to be at or before `not_before`, and what after `established_after`.

        A time that is not known, or known to a second, makes an answer UNKNOWN. With a session id that means alive,
        since the ids follow; without one it means over. So each is that end of the time which makes it so.
        """
        moment = claims.established_at
        if moment is None and self._iat_is_login:
            moment = claims.issued_at
        if moment is None or (isinstance(moment, float) and not isfinite(moment)):
            low, high = -FOREVER, FOREVER
        elif isinstance(moment, int):
            low = moment * SECOND
            high = low + SECOND - 1
        else:
            low = high = micros(moment)
        return (low, high) if claims.session_id is None else (high, low)
