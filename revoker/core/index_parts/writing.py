"""How a notice comes into the index: applied twice it changes nothing, and the order of notices does not matter.

What is there is left alone only where it lasts at least as long as what is new; otherwise the answer would depend on
which came first, once the shorter one is forgotten.
"""

import sys
from collections.abc import Iterator
from typing import Final, assert_never

from revoker.core.index_parts.chains import Chain, joined, says
from revoker.core.index_parts.hits import Hit, hit_of
from revoker.core.index_parts.holdings import SUBJECT_MASK, Holdings
from revoker.core.index_parts.ledger import FOREVER
from revoker.core.index_parts.predicates import Group, Held
from revoker.core.index_parts.shelves import Record, Shelves
from revoker.core.wire import HoldLiftedNotice, HoldPlacedNotice, Notice, SessionEndedNotice, WireSelector

SUBJECT_BYTES: Final = 80
"""Beside its name: its place in a dict, and a number."""
GROUP_BYTES: Final = 2_500
HOLD_BYTES: Final = 500
LIFT_BYTES: Final = 250

Named = tuple[Shelves, str, str, str]
"""Where to note it, its id, subject and client."""


class IndexFull(Exception):  # noqa: N818 - its name in the contract
    """The index is at its memory bound. It forgets nobody to make room, so whoever reads must not go on."""


class Writer:
    """Writes into `holdings`."""

    def __init__(self, holdings: Holdings, max_bytes: int) -> None:
        self._holdings = holdings
        self._max_bytes = max_bytes

    def apply(self, notice: Notice) -> Hit | None:
        """Takes `notice` in; None where it says nothing new."""
        match notice:
            case SessionEndedNotice():
                return self._end(notice) if notice.covers_until > self._holdings.now else None
            case HoldPlacedNotice():
                return self._place(notice) if notice.until > self._holdings.now else None
            case HoldLiftedNotice():
                self._lift(notice)
                return None
            case _:
                assert_never(notice)

    def _end(self, notice: SessionEndedNotice) -> Hit | None:
        selector = notice.selector
        number: int | None = None
        named: tuple[Named, ...] = ()
        if selector is not None:
            if not _is_plain(notice, selector):
                number = self._cover(notice, selector)
            elif selector.session_id is None and selector.token_id is None:
                number = self._cut(notice, selector)
            else:
                named = tuple(self._by_selector(notice, selector))
        is_predicate_new = is_new = number is not None
        for each in (*named, *self._by_id(notice)):
            told = self._tell(each, notice, number)
            if told is not None:
                number, is_new = told, True
        return hit_of(notice, with_predicate=is_predicate_new or bool(named)) if is_new else None

    def _tell(self, named: Named, notice: SessionEndedNotice, number: int | None) -> int | None:
        """Notes that `named` is over, by revocation `number` if there is one already. None where that is known."""
        shelves, id_, subject, client_id = named
        if number is None and id_ not in shelves:
            number = self._number(notice)
        if number is not None and shelves.add_first(id_, notice.tenant, subject, client_id, number):
            return number
        is_known, weaker = self._compare(named, notice)
        if is_known:
            return None
        number = self._number(notice) if number is None else number
        record = (notice.tenant, subject, client_id, number)
        if weaker is None:
            shelves.add(id_, record)
        else:
            shelves.replace(id_, weaker, record)
        return number

    def _compare(self, named: Named, notice: SessionEndedNotice) -> tuple[bool, Record | None]:
        """Whether a record says as much, for as long; and one of just the same that says less, for less long."""
        shelves, id_, subject, client_id = named
        ledger, until, keep_clients = self._holdings.ledger, notice.covers_until, set(notice.keep_clients)
        weaker = None
        for record in shelves.records(id_):
            tenant, whose, its_client, number = record
            if tenant != notice.tenant or whose not in {"", subject}:
                continue
            its_until, its_keep = ledger.covers_until[number], ledger.keep_clients(number)
            # What clients are kept matters only where no client is named.
            says_more = its_until >= until and bool(its_client or its_keep <= keep_clients)
            if says_more and its_client in {"", client_id}:
                return True, None
            says_less = its_until <= until and bool(client_id or keep_clients <= its_keep)
            if says_less and whose == subject and its_client == client_id:
                weaker = record
        return False, weaker

    def _by_selector(self, notice: SessionEndedNotice, selector: WireSelector) -> Iterator[Named]:
        subject = selector.subject or ""
        if selector.token_id is not None:
            yield self._holdings.tokens, selector.token_id, subject, ""
        for id_ in selector.session_ids:
            if id_ not in notice.keep:
                yield self._holdings.sessions, id_, subject, selector.client_id or ""

    def _by_id(self, notice: SessionEndedNotice) -> Iterator[Named]:
        whose = notice.subject or ""
        for session in notice.sessions:
            yield self._holdings.sessions, session.session_id, session.subject or whose, session.client_id
        for token in notice.tokens:
            yield self._holdings.tokens, token.token_id, whose, ""

    def _cut(self, notice: SessionEndedNotice, selector: WireSelector) -> int | None:
        """All of a subject that began by then. The number of what is new."""
        holdings = self._holdings
        key = subject_key(notice.tenant, selector.subject or "")
        subjects = holdings.subjects[hash(key) & SUBJECT_MASK]
        there = subjects.get(key)
        chain = () if there is None else (there,) if isinstance(there, int) else there
        extended, number = self._extended(chain, notice, notice.not_before)
        if number is None:
            return None
        subjects[key] = extended[0] if len(extended) == 1 else extended
        if there is None:
            holdings.other_bytes += sys.getsizeof(key) + SUBJECT_BYTES
        holdings.other_bytes += chain_bytes(extended) - chain_bytes(chain)
        return number

    def _cover(self, notice: SessionEndedNotice, selector: WireSelector) -> int | None:
        """The same of any other selector."""
        is_bounded = selector.session_id is None and selector.token_id is None and selector.key_id is None
        group = self._holdings.groups.group(selector)
        extended, number = self._extended(
            group.chain if group else (), notice, notice.not_before if is_bounded else FOREVER
        )
        if number is not None:
            group = group or self._add_group(selector)
            self._holdings.other_bytes += chain_bytes(extended) - chain_bytes(group.chain)
            group.chain = extended
        return number

    def _extended(self, chain: Chain, notice: SessionEndedNotice, not_before: int) -> tuple[Chain, int | None]:
        """`chain` with `notice`, and its number in it, if that says more than `chain` alone."""
        ledger = self._holdings.ledger
        if chain and says(chain, notice, not_before, ledger):
            return chain, None
        number = self._number(notice, not_before)
        return joined(chain, number, ledger), number

    def _place(self, notice: HoldPlacedNotice) -> Hit | None:
        selector = notice.selector
        if selector is None:
            return None
        group = self._holdings.groups.group(selector)
        if group is not None and any(held.hold_id == notice.hold_id for held in group.holds):
            return None
        self._refuse_if_full()
        self._holdings.due = min(self._holdings.due, notice.until)
        self._holdings.other_bytes += HOLD_BYTES
        group = group or self._add_group(selector)
        group.holds = (*group.holds, Held(notice.hold_id, notice.until, notice.reason_user))
        return hit_of(notice, with_predicate=True)

    def _lift(self, notice: HoldLiftedNotice) -> None:
        """Nobody is to be cut for it."""
        lifts = self._holdings.lifts
        there = lifts.get(notice.hold_id)
        if there is None:
            self._refuse_if_full()
            self._holdings.other_bytes += LIFT_BYTES
        lifts[notice.hold_id] = notice.at if there is None else min(there, notice.at)

    def _add_group(self, selector: WireSelector) -> Group:
        self._holdings.other_bytes += GROUP_BYTES
        return self._holdings.groups.add(selector)

    def _number(self, notice: SessionEndedNotice, not_before: int = FOREVER) -> int:
        self._refuse_if_full()
        self._holdings.due = min(self._holdings.due, notice.covers_until)
        return self._holdings.ledger.add(notice, not_before)

    def _refuse_if_full(self) -> None:
        size = self._holdings.size_bytes
        if size >= self._max_bytes:
            raise IndexFull(f"the index takes {size:,} bytes, and may take {self._max_bytes:,}")


def subject_key(tenant: str, subject: str) -> str:
    """Under which name a subject is filed. Ids hold no control characters."""
    return f"{tenant}\x1f{subject}" if tenant else subject


def _is_plain(notice: SessionEndedNotice, selector: WireSelector) -> bool:
    """Whether it names just a subject, just sessions or just a token, of a tenant."""
    if (
        selector.tenant != notice.tenant
        or selector.device_id is not None
        or selector.key_id is not None
        or selector.ip_network is not None
        or selector.labels is not None
        or selector.established_after is not None
    ):
        return False
    if selector.token_id is not None:
        return not (selector.session_id or selector.client_id or notice.keep or notice.keep_clients)
    if selector.session_id is not None:
        return not (selector.client_id and notice.keep_clients)
    return selector.subject is not None and selector.client_id is None


def chain_bytes(chain: Chain) -> int:
    return sys.getsizeof(chain) + 32 * len(chain) if len(chain) > 1 else 0
