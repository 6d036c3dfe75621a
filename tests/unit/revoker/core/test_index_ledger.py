"""Numbers are given out, rest and are given out again: never to two revocations at once."""

from typing import Any

from revoker.core.index_parts.ledger import Ledger
from revoker.core.wire import SessionEndedNotice


def notice(id_: str, **given: Any) -> SessionEndedNotice:
    values: dict[str, Any] = {"cause": "logged-out", "initiator": "user", "reason_user": {"en": "You signed out"}}
    times = dict.fromkeys(("not_before", "requested_at", "committed_at", "covers_until"), 0)
    rest = {"id": "n", "tenant": "", "subject": None, "kind": "ended", "selector": None, "sessions": (), "tokens": ()}
    return SessionEndedNotice(
        **{**values, **times, **rest, "revocation_id": id_, "keep": ("k",), "keep_clients": (), **given}
    )


def swept(ledger: Ledger, *referred: int) -> None:
    ledger.begin_sweep()
    for number in referred:
        ledger.mark(number)
    ledger.end_sweep()


def test_a_number_rests_for_a_sweep_before_it_is_given_out_again() -> None:
    ledger = Ledger()
    numbers = [ledger.add(notice(f"r-{each}"), 0) for each in range(4)]

    swept(ledger, numbers[0])
    assert len(ledger) == 1
    assert ledger.add(notice("r-4"), 0) == 4, "another thread may just be reading one of the others"
    swept(ledger, 0, 4)
    again = [ledger.add(notice(f"r-{each}"), 0) for each in range(5, 9)]

    assert sorted(again) == [1, 2, 3, 5]
    assert [ledger.verdict(number).id for number in (0, 4, *again)] == [f"r-{each}" for each in (0, 4, 5, 6, 7, 8)]


def test_whoever_asks_learns_of_the_present_owner_of_a_number() -> None:
    ledger = Ledger()
    assert ledger.verdict(ledger.add(notice("r-0"), 0)).id == "r-0"

    swept(ledger)
    swept(ledger)
    assert ledger.add(notice("0b0f6d1e-6a0f-5f0e-8a55-3d1c0a4f1d42"), 0) == 0
    assert ledger.verdict(0).id == "0b0f6d1e-6a0f-5f0e-8a55-3d1c0a4f1d42"


def test_what_comes_during_a_sweep_survives_it() -> None:
    ledger = Ledger()
    ledger.add(notice("r-0"), 0)
    swept(ledger)
    swept(ledger)
    ledger.begin_sweep()
    reused, new = ledger.add(notice("r-1"), 0), ledger.add(notice("r-2"), 0)
    ledger.end_sweep()

    assert (reused, new) == (0, 1)
    assert [ledger.verdict(number).id for number in (reused, new)] == ["r-1", "r-2"]
    assert len(ledger) == 2


def test_what_is_shared_goes_with_the_last_who_shares_it() -> None:
    ledger = Ledger()
    first, second = (ledger.add(notice(f"r-{each}", reason_user={"en": "rare"}), 0) for each in range(2))
    full = ledger.size_bytes

    swept(ledger, second)
    one = ledger.size_bytes
    swept(ledger)
    assert full > one > ledger.size_bytes
    assert ledger.keep_clients(first) == frozenset()
