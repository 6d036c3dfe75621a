"""When a gateway lets somebody pass: by the clock of that moment, and only if it can know."""

import math

import pytest

from revoker.gateway import clock, health
from revoker.gateway.clock import ServiceClock
from revoker.gateway.feeds import freshness, told
from revoker.gateway.feeds.freshness import Freshness
from revoker.gateway.feeds.told import Told
from revoker.gateway.health import Mode, View


class Now:
    """The clock, set by the test."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    clock_of_test = Now()
    for module in (clock, health, freshness, told):
        monkeypatch.setattr(module, "elapsed", clock_of_test)
    return clock_of_test


def view(mode: Mode = "strict", *, acknowledged: bool = True) -> View:
    return View(mode=mode, max_staleness=10.0, acknowledged=acknowledged)


def test_nobody_passes_a_strict_gateway_before_its_replay_is_done(now: Now) -> None:
    strict = view()

    stale = strict.stale()
    assert stale is not None
    assert stale.age == math.inf

    strict.current(now.at)

    assert strict.stale() is None
    assert strict.state == "serving"


def test_a_view_grows_old_without_any_timer(now: Now) -> None:
    strict = view()
    strict.current(now.at)
    now.at += 10.5

    stale = strict.stale()

    assert stale is not None
    assert stale.age == 10.5
    assert "old" in stale.why


def test_best_effort_serves_on_what_it_knows_and_says_how_old_it_is(now: Now) -> None:
    lenient = view("best_effort")
    assert lenient.stale() is None

    lenient.current(now.at)
    now.at += 500

    assert lenient.stale() is None
    assert lenient.age() == 500


def test_a_strict_gateway_that_the_service_does_not_know_of_serves_nobody(now: Now) -> None:
    strict = view(acknowledged=False)
    strict.current(now.at)
    assert strict.stale() is not None
    assert strict.state == "replaying"

    strict.acknowledge()

    assert strict.stale() is None


@pytest.mark.parametrize("mode", ["strict", "best_effort"])
def test_after_the_last_word_nobody_passes(mode: Mode, now: Now) -> None:
    over = view(mode)
    over.current(now.at)
    over.stop()

    assert over.stale() is not None
    assert over.state == "stopped"


def test_a_full_index_fences_at_once_and_room_in_it_lets_pass_again(now: Now) -> None:
    strict = view()
    strict.current(now.at)
    strict.fill(full=True)

    stale = strict.stale()
    assert stale is not None
    assert "full" in stale.why

    strict.fill(full=False)

    assert strict.stale() is None


def test_what_is_lost_is_stale_until_all_is_there_again(now: Now) -> None:
    strict = view()
    strict.current(now.at)
    strict.lost("a partition was cut")
    assert strict.stale() is not None
    assert strict.error == "a partition was cut"

    strict.current(now.at)

    assert strict.stale() is None
    assert strict.error is None


# As of when an answer is true


def test_an_answer_is_true_as_of_the_arrival_of_the_one_before(now: Now) -> None:
    fresh = Freshness()  # 1000: asked
    now.at = 1_001
    fresh.sample([(0, 11, 5, 5)])
    assert fresh.as_of([0]) == 1_000

    now.at = 1_002
    fresh.sample([(0, 12, 5, 5)])
    assert fresh.as_of([0]) == 1_000  # the first may have arrived right after 1000

    now.at = 1_003
    fresh.sample([(0, 13, 5, 5)])
    assert fresh.as_of([0]) == 1_001


def test_an_answer_that_lay_there_while_the_process_was_stopped_is_old(now: Now) -> None:
    fresh = Freshness()
    for stamp in range(1, 4):
        now.at += 1
        fresh.sample([(0, stamp, 5, 5)])
    now.at += 60
    fresh.sample([(0, 9, 5, 5)])

    as_of = fresh.as_of([0])
    assert as_of is not None
    assert now.at - as_of > 60


def test_the_least_fresh_partition_counts_and_one_without_an_answer_most_of_all(now: Now) -> None:
    fresh = Freshness()
    now.at += 1
    fresh.sample([(0, 1, 5, 5), (1, 1, 9, 5)])
    assert fresh.as_of([0, 1]) is None

    now.at += 1
    fresh.sample([(0, 2, 5, 5), (1, 1, 9, 9)])
    now.at += 1
    fresh.sample([(0, 3, 5, 5), (1, 1, 9, 9)])

    assert fresh.as_of([0, 1]) == 1_000
    assert fresh.as_of([]) is None


def test_a_partition_that_is_behind_stays_as_old_as_it_was(now: Now) -> None:
    fresh = Freshness()
    for stamp in range(1, 4):
        now.at += 1
        fresh.sample([(0, stamp, 5, 5)])
    was = fresh.as_of([0])
    for stamp in range(4, 9):
        now.at += 1
        fresh.sample([(0, stamp, 9, 5)])

    assert fresh.as_of([0]) == was


def test_under_load_an_end_counts_once_it_is_reached_however_far_the_next_one_is(now: Now) -> None:
    fresh = Freshness()
    for number in range(1, 50):
        # Whenever something was read, more has come: the newest end is never reached.
        now.at += 1
        fresh.sample([(0, number, number * 10, number * 10 - 5)])

    as_of = fresh.as_of([0])
    assert as_of is not None
    assert now.at - as_of < 5


def test_what_is_told_first_is_not_believed_and_what_comes_late_is_late(now: Now) -> None:
    heard = Told()
    assert heard.moment(500.0) is None
    assert heard.moment(500.0) is None

    now.at += 1
    assert heard.moment(501.0) == now.at

    now.at += 60
    as_of = heard.moment(502.0)  # a minute on its way
    assert as_of is not None
    assert now.at - as_of == 59


def test_clocks_that_differ_by_hours_tell_the_same(now: Now) -> None:
    heard = Told()
    heard.moment(90_000.0)
    now.at += 1

    assert heard.moment(90_001.0) == now.at


def test_the_service_says_what_time_it_is_whatever_our_clock_says(now: Now) -> None:
    theirs = ServiceClock()
    assert not theirs.heard

    theirs.hear(50_000.0)
    now.at += 5
    assert theirs.now() == theirs.late() == 50_005

    theirs.hear(49_995.0)  # ten seconds on its way

    assert theirs.now() == 50_005
    assert theirs.late() == 49_995


def test_a_clock_that_was_wrong_once_is_forgotten(now: Now) -> None:
    theirs = ServiceClock()
    theirs.hear(90_000.0)
    for _ in range(64):
        now.at += 1
        theirs.hear(now.at)

    assert theirs.now() == now.at
