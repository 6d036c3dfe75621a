"""A claim is never beyond a record that is not finished, in whatever order things finish."""

from hypothesis import given
from hypothesis import strategies as st

from revoker.gateway.positions import Positions


def test_a_record_whose_drop_runs_holds_its_partition_back_alone() -> None:
    positions = Positions()
    positions.restart("e1")
    positions.begin(0, 5)
    positions.begin(1, 0)
    token = positions.hold({0: 7})
    positions.advance(0, 9)
    positions.advance(1, 3)

    assert str(positions) == "e1.7.3"

    positions.release(token)

    assert str(positions) == "e1.9.3"


def test_before_the_first_heartbeat_it_claims_under_an_epoch_that_nobody_announces_in() -> None:
    positions = Positions()
    positions.begin(0, 4)

    assert str(positions) == "unknown.4"
    assert str(Positions()) == "unknown"


def test_a_partition_that_was_never_heard_of_stands_at_the_beginning() -> None:
    positions = Positions()
    positions.begin(2, 4)

    assert positions.proven() == (0, 0, 4)


def test_another_epoch_voids_everything_until_what_runs_is_finished() -> None:
    positions = Positions()
    positions.restart("e1")
    positions.begin(0, 100)
    token = positions.hold({0: 100})
    positions.restart("e2")
    positions.begin(0, 0)
    # The record comes a second time, with another offset: the index knows it, and causes no second drop.
    positions.advance(0, 50)

    assert str(positions) == "e2.0"

    positions.release(token)

    assert str(positions) == "e2.50"


def test_a_partition_that_begins_again_is_held_back_by_the_drops_of_its_earlier_life() -> None:
    positions = Positions()
    positions.begin(0, 100)
    token = positions.hold({0: 100})
    positions.begin(0, 10)
    positions.advance(0, 60)

    assert positions.proven() == (10,)

    positions.release(token)

    assert positions.proven() == (60,)


STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["apply", "cut", "finish"]), st.integers(0, 100)))


@given(STEPS)
def test_the_claim_is_all_that_is_applied_and_finished_and_nothing_else(steps: list[tuple[int, str, int]]) -> None:
    positions = Positions()
    positions.restart("e1")
    applied = [0, 0, 0]
    running: dict[int, tuple[int, int]] = {}
    for place in range(3):
        positions.begin(place, 0)
    for place, step, choice in steps:
        if step == "finish":
            if running:
                token = sorted(running)[choice % len(running)]
                del running[token]
                positions.release(token)
        else:
            if step == "cut":
                running[positions.hold({place: applied[place]})] = (place, applied[place])
            applied[place] += 1
            positions.advance(place, applied[place])

        for number, claim in enumerate(positions.proven()):
            unfinished = [offset for held, offset in running.values() if held == number]
            assert claim == min([applied[number], *unfinished])
