"""Enforced: from positions, never from silence."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.core import enforcement
from revoker.core.enforcement import (
    Announcement,
    Condition,
    Doubt,
    Judgement,
    Proof,
    Reading,
    Rules,
    State,
    floor,
    is_below,
    judge,
    leaving,
)
from revoker.core.receipts import Incarnation, Left, fold
from revoker.core.revocation import Selector
from tests.factories import NOW, after, receipt

RULES = Rules()
TOLD = Announcement(id=uuid.UUID(int=1), epoch="e-1", positions={0: 4, 2: 7}, announced_at=NOW)
PAST, BEHIND = "e-1.5.0.8", "e-1.5.0.7"


def who(name: str = "host-1", *, heard_at: datetime = NOW, left: Left | None = None, **data: Any) -> Incarnation:
    """A gateway's process that was last heard then."""
    known = fold(None, receipt(instance=name, incarnation=name, **{"position": PAST} | data), heard_at)
    return known if left is None else replace(known, left_by=left, left_at=heard_at)


def judged(*everybody: Incarnation, until: datetime = NOW, ends: Mapping[int, int] | None = None) -> Judgement:
    return judge(TOLD, everybody, Reading(until=until, steady_since=NOW), RULES, ends)


def how(one: Incarnation, until: datetime = NOW, ends: Mapping[int, int] | None = None) -> Proof | Doubt:
    [standing] = judged(one, until=until, ends=ends).standings
    return standing.how


# One incarnation


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, Proof.PAST),
        ({"state": "replaying"}, Proof.PAST),
        ({"position": BEHIND}, Doubt.BEHIND),
        ({"position": "e-1.4.0.8"}, Doubt.BEHIND),
        ({"position": "e-1.5.0"}, Doubt.BEHIND),
        ({"position": ""}, Doubt.BEHIND),
        ({"position": BEHIND, "state": "replaying"}, Doubt.REPLAYING),
        ({"position": "e-2.9.9.9", "epoch": "e-2"}, Doubt.EPOCH),
        ({"position": "nonsense"}, Doubt.UNREADABLE),
    ],
)
def test_past_is_beyond_every_offset_in_the_same_epoch(data: dict[str, Any], expected: Proof | Doubt) -> None:
    assert how(who(**data)) == expected


def test_nobody_can_have_applied_what_is_not_written() -> None:
    assert how(who(), ends={0: 5, 1: 0, 2: 8}) == Proof.PAST
    assert how(who(), ends={0: 5, 1: 0, 2: 7}) == Doubt.IMPOSSIBLE
    assert how(who(position="e-1.5.0.8.1"), ends={0: 5, 1: 0, 2: 8}) == Doubt.IMPOSSIBLE


def test_which_partition_is_behind_is_told() -> None:
    [standing] = judged(who(position=BEHIND)).standings

    assert standing.partition == 2


@pytest.mark.parametrize("data", [{"position": BEHIND}, {"position": BEHIND, "state": "replaying"}, {"position": "?"}])
def test_silence_alone_is_unknown_and_blocks_for_ever(data: dict[str, Any]) -> None:
    for days in (1, 10_000):
        found = judged(who(**data), until=after(days=days))
        assert (found.standings[0].how, found.state) == (Doubt.UNKNOWN, State.WAITING)


def test_what_was_proven_before_the_silence_stays_proven() -> None:
    assert judged(who(), until=after(days=1)).state is State.ENFORCED


@pytest.mark.parametrize("heard_later", [0, 3])
def test_a_strict_gateway_is_fenced_after_its_staleness_and_every_margin(heard_later: int) -> None:
    one = who(mode="strict", position=BEHIND, heard_at=after(seconds=heard_later))
    bound = after(seconds=heard_later) + timedelta(seconds=10) + RULES.close_grace + RULES.drift

    assert how(one, until=bound) == Doubt.BEHIND
    assert how(one, until=bound + timedelta(microseconds=1)) == Proof.FENCED


def test_the_time_until_it_is_fenced_begins_with_the_announcement() -> None:
    one = who(mode="strict", position=BEHIND, heard_at=after(hours=-1))

    assert how(one, until=after(seconds=13)) == Doubt.UNKNOWN
    assert how(one, until=after(seconds=14)) == Proof.FENCED


@pytest.mark.parametrize("data", [{"mode": "best_effort"}, {"mode": "strict", "max_staleness": 1e300}])
def test_others_are_never_fenced(data: dict[str, Any]) -> None:
    assert how(who(position=BEHIND, **data), until=after(days=10_000)) == Doubt.UNKNOWN


@pytest.mark.parametrize("left", list(Left))
def test_whoever_left_afterwards_need_not_be_past(left: Left) -> None:
    found = judged(who(position=BEHIND, left=left, heard_at=after(seconds=1)), until=after(seconds=1))

    assert (found.standings[0].how.value, found.state) == (left.value, State.ENFORCED)


# Everybody


def test_nobody_at_all_is_not_enforced() -> None:
    assert judged().state is State.NO_GATEWAYS


def test_whoever_left_before_counts_for_nothing() -> None:
    gone = who(left=Left.STOPPED, heard_at=after(seconds=-1))

    assert judged(gone).state is State.NO_GATEWAYS
    assert judged(gone, who("host-2", position=BEHIND)).state is State.WAITING
    assert [standing.who.instance for standing in judged(gone, who("host-2")).standings] == ["host-2"]


def test_one_that_is_behind_keeps_all_waiting() -> None:
    assert judged(who("host-1"), who("host-2")).state is State.ENFORCED
    assert judged(who("host-1"), who("host-2", position=BEHIND)).state is State.WAITING


def test_nothing_is_said_before_all_receipts_from_before_were_read() -> None:
    assert judged(who(), until=after(microseconds=-1)).state is State.UNREAD
    assert judged(who(), until=NOW).state is State.ENFORCED


def test_required_gateways_must_be_there() -> None:
    rules = replace(RULES, required=("chat", "api"))
    api = who("host-2", gateway="api")
    gone = who("host-2", gateway="api", left=Left.STOPPED, heard_at=after(seconds=-1))
    reading = Reading(until=NOW, steady_since=NOW)

    assert judge(TOLD, [who(), api], reading, rules, None).state is State.ENFORCED
    for everybody in ([who()], [who(), gone]):
        found = judge(TOLD, everybody, reading, rules, None)
        assert (found.state, found.missing) == (State.WAITING, ["api"])


@st.composite
def incarnations(draw: st.DrawFn, name: str = "host-1") -> Incarnation:
    left = draw(st.sampled_from([None, None, *Left]))
    return who(
        name,
        heard_at=after(seconds=draw(st.integers(-30, 60))),
        left=left,
        mode=draw(st.sampled_from(["strict", "best_effort"])),
        state=draw(st.sampled_from(["replaying", "serving"])),
        position=draw(st.sampled_from([PAST, BEHIND, "e-1.5", "e-1.9.9.9", "junk", ""])),
        max_staleness=draw(st.sampled_from([0.5, 10.0, 1e9])),
    )


@st.composite
def fleets(draw: st.DrawFn) -> list[Incarnation]:
    return [draw(incarnations(f"host-{number}")) for number in range(draw(st.integers(0, 4)))]


moments = st.integers(0, 120).map(lambda seconds: after(seconds=seconds))


@given(fleets(), incarnations("another"), moments)
def test_one_more_who_proves_nothing_never_makes_anything_enforced(
    everybody: list[Incarnation], one: Incarnation, until: datetime
) -> None:
    if not judged(one, until=until).standings or judged(one, until=until).state is State.ENFORCED:
        return

    assert judged(*everybody, one, until=until).state is State.WAITING


@given(fleets(), moments)
def test_enforced_says_that_each_is_past_or_gone_or_fenced(everybody: list[Incarnation], until: datetime) -> None:
    found = judged(*everybody, until=until)
    expected = [one for one in everybody if one.left_at is None or one.left_at > NOW]

    assert {standing.who.id for standing in found.standings} == {one.id for one in expected}
    assert (found.state is State.ENFORCED) == (bool(expected) and all(_cannot_serve(one, until) for one in expected))


def _cannot_serve(one: Incarnation, until: datetime) -> bool:
    """The same in other words."""
    if one.left_at is not None:
        return True
    covered = {
        number for number, offset in TOLD.positions.items() if (one.position or ())[number : number + 1] > (offset,)
    }
    if covered == TOLD.positions.keys():
        return True
    quiet = (until - max(NOW, one.heard_at)).total_seconds()
    return one.mode == "strict" and quiet > one.max_staleness + 3


@given(fleets(), moments, st.integers(0, 600))
def test_time_alone_never_takes_a_proof_back(everybody: list[Incarnation], until: datetime, more: int) -> None:
    if judged(*everybody, until=until).state is State.ENFORCED:
        assert judged(*everybody, until=until + timedelta(seconds=more)).state is State.ENFORCED


@given(fleets(), moments)
def test_the_floor_hides_nothing_that_is_enforced(everybody: list[Incarnation], until: datetime) -> None:
    if judged(*everybody, until=until).state is State.ENFORCED:
        assert is_below(TOLD, floor(everybody, until, RULES, TOLD.epoch))


def test_the_floor_holds_back_what_somebody_is_not_past() -> None:
    assert not is_below(TOLD, floor([who(), who("host-2", position=BEHIND)], NOW, RULES, "e-1"))
    assert not is_below(TOLD, floor([who(), who("host-2", position="junk")], NOW, RULES, "e-1"))
    assert not is_below(TOLD, floor([who()], NOW, RULES, "e-2"))


# Leaving by rule


def gone(*everybody: Incarnation, until: datetime, steady: datetime = NOW, **rules: Any) -> list[tuple[str, Left]]:
    found = leaving(everybody, Reading(until=until, steady_since=steady), replace(RULES, **rules))
    return [(one.incarnation, by) for one, by, _ in found]


def test_another_life_of_the_same_instance_replaces_one_that_is_silent() -> None:
    old = who("a")
    new = replace(who("b", heard_at=after(seconds=20)), instance=old.instance)

    assert gone(old, new, until=after(seconds=20)) == [("a", Left.REPLACED)]
    assert gone(old, replace(new, gateway="other"), until=after(seconds=20)) == []
    assert gone(old, until=after(days=9)) == []


def test_two_that_share_a_name_and_both_talk_replace_nobody() -> None:
    old = who("a", heard_at=after(seconds=18))
    new = replace(who("b", heard_at=after(seconds=17)), instance=old.instance)

    assert gone(old, new, until=after(seconds=20)) == []


def test_a_rule_retires_only_where_the_settings_have_one_and_only_while_we_listened() -> None:
    hour = timedelta(hours=1)

    assert gone(who("a"), until=after(hours=2)) == []
    assert gone(who("a"), until=after(hours=2), retire_after=hour) == [("a", Left.RETIRED)]
    assert gone(who("a"), until=after(hours=2), steady=after(minutes=90), retire_after=hour) == []
    assert gone(who("a", left=Left.STOPPED), until=after(hours=2), retire_after=hour) == []


# By itself


@pytest.mark.parametrize(
    ("one", "until", "expected"),
    [
        (who(), 0, Condition.SERVING),
        (who(position=BEHIND), 0, Condition.LATE),
        (who(position=BEHIND, state="replaying"), 0, Condition.REPLAYING),
        (who(), 16, Condition.UNKNOWN),
        (who(mode="strict"), 16, Condition.FENCED),
        (who(left=Left.RETIRED), 16, Condition.RETIRED),
    ],
)
def test_how_an_incarnation_is(one: Incarnation, until: int, expected: Condition) -> None:
    assert enforcement.condition(one, after(seconds=until), RULES, TOLD) == expected


@pytest.mark.parametrize(
    ("position", "behind"), [("e-1.5.0.8", 2), ("e-1.7.0.8", 0), ("e-1.9.9.9", 0), ("e-1.5", 10), ("e-2", 15), ("", 15)]
)
def test_how_far_it_is_behind(position: str, behind: int) -> None:
    assert enforcement.records_behind(who(position=position), "e-1", {0: 7, 1: 0, 2: 8}) == behind


# What a gateway sees

ALICE = {"tenant": "acme", "subject": "alice"}


@pytest.mark.parametrize(
    ("selector", "attributes", "unseen", "blind"),
    [
        (ALICE, ["subject"], [], False),
        (ALICE, [], [], False),
        (ALICE, ["session_id"], ["subject"], False),
        (ALICE, ["client_id"], ["subject"], True),
        (ALICE | {"session_ids": ("s",)}, ["subject"], ["session_id"], True),
        (ALICE | {"client_id": "web"}, ["subject", "session_id"], ["client_id"], False),
        (ALICE | {"client_id": "web"}, ["subject"], ["client_id"], True),
        (ALICE | {"token_id": "t"}, ["subject", "session_id"], ["token_id"], True),
        (ALICE | {"token_id": "t"}, ["subject", "token_id"], [], False),
        ({"ip_network": "10.0.0.0/8"}, ["ip"], [], False),
        ({"established_after": NOW}, ["established_at"], [], False),
        ({"labels": (("build", "1"),)}, ["subject"], ["labels"], True),
        ({"labels": (("build", "1"),)}, [], ["labels"], False),
    ],
)
def test_what_a_gateway_cannot_see(
    selector: dict[str, Any],
    attributes: Sequence[str],
    unseen: list[str],
    blind: bool,  # noqa: FBT001 - a row
) -> None:
    assert enforcement.unseen(Selector(**selector), attributes) == unseen
    assert enforcement.is_blind(Selector(**selector), attributes) is blind


def test_only_who_sees_when_a_session_began_needs_no_ids() -> None:
    assert not enforcement.sees_all(Selector(subject="alice"), ["subject"])
    assert enforcement.sees_all(Selector(subject="alice"), ["subject", "established_at"])
    assert enforcement.sees_all(Selector(session_ids=("s",)), ["session_id"])
