"""Revocations with one selector, in normal form: none is left that adds nothing.

`latest wins` would be wrong: of two that keep different sessions neither covers all that the other covers. But one that
is older than others is needed only while some session is kept by all of those, and not by itself. So a chain is as
long as there are sessions to be told apart, however often a password changes.

A chain is ordered by `not_before`, the latest first: whoever was established after it need not look further.
"""

from revoker.core.index_parts.ledger import SEPARATOR, Ledger
from revoker.core.wire import SessionEndedNotice

Chain = tuple[int, ...]
"""Numbers in the ledger."""


def says(chain: Chain, notice: SessionEndedNotice, not_before: int, ledger: Ledger) -> bool:
    """Whether `chain` covers all that `notice` covers, for as long."""
    later = [number for number in chain if ledger.not_before[number] >= not_before]
    if not later:
        return False
    return _cover_all(later, set(notice.keep), frozenset(notice.keep_clients), notice.covers_until, ledger)


def joined(chain: Chain, number: int, ledger: Ledger) -> Chain:
    """`chain`, which does not say as much, with `number` in it; as short as it can be."""
    if not chain:
        return (number,)
    needed: list[int] = []
    for each in sorted((*chain, number), key=lambda each: _rank(each, ledger), reverse=True):
        if not _cover_all(needed, _kept(each, ledger), ledger.keep_clients(each), ledger.covers_until[each], ledger):
            needed.append(each)
    return tuple(needed)


def _rank(number: int, ledger: Ledger) -> tuple[int, int, int]:
    """The latest first; of equal ones that which keeps fewer, then that which is remembered for longer."""
    keep = ledger.keep[number]
    return ledger.not_before[number], -len(keep or ""), ledger.covers_until[number]


def _cover_all(later: list[int], keep: set[str], keep_clients: frozenset[str], until: int, ledger: Ledger) -> bool:
    """Whether `later` ones cover what one covers that keeps these and lasts until then.

    Only those count that keep no client that it does not keep: they can miss a session of another client only if they
    keep its id.
    """
    covering = [n for n in later if ledger.keep_clients(n) <= keep_clients and ledger.covers_until[n] >= until]
    if not covering:
        return False
    return set.intersection(*(_kept(n, ledger) for n in covering)) <= keep


def _kept(number: int, ledger: Ledger) -> set[str]:
    keep = ledger.keep[number]
    return set(keep.split(SEPARATOR)[1:-1]) if keep else set()
