"""What is known of a process by its receipts, whatever they say and however often they come."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.core.receipts import Incarnation, Left, Oddity, Receipt, fold, is_newer, oddities, read_position
from schemas.gateway_receipts import GatewayReceiptData, GatewayState
from tests.factories import NOW, after, receipt


def folded(receipts: Sequence[Receipt], known: Incarnation | None = None) -> Incarnation:
    for one in receipts:
        if is_newer(one, known):
            known = fold(known, one, one.appended_at)
    assert known is not None
    return known


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", ()),
        ("e-1", ()),
        ("e-1.0.7", (0, 7)),
        (f"e-1.{2**63 - 1}", (2**63 - 1,)),
        (f"e-1.{2**63}", None),
        ("e-1." + "9" * 5000, None),
        ("e-2.1", None),
        ("e-1.", None),
        ("e-1.-1", None),
        ("e-1.1.x", None),
        ("e-1.\u0661", None),
        ("e-1.1_0", None),
        ("0:1042", None),
    ],
)
def test_a_position_is_a_vector_or_cannot_be_read(text: str, position: tuple[int, ...] | None) -> None:
    assert read_position("e-1", text) == position


@given(st.text(max_size=40), st.text(max_size=80))
def test_no_position_raises(epoch: str, text: str) -> None:
    position = read_position(epoch, text)

    assert position is None or all(offset >= 0 for offset in position)


@st.composite
def talks(draw: st.DrawFn) -> list[Receipt]:
    """What one process says, in the order of the log; its clock may jump."""
    return [
        receipt(
            at=after(seconds=draw(st.integers(-5, 5))),
            appended_at=after(seconds=number),
            offset=number,
            state=draw(st.sampled_from(list(GatewayState))).value,
            position=draw(st.sampled_from(["", "e-1.0", "e-1.5", "e-1.9", "e-2.1", "junk"])),
        )
        for number in range(draw(st.integers(1, 6)))
    ]


@given(talks(), st.data())
def test_a_delivery_of_what_was_delivered_changes_nothing(said: list[Receipt], data: st.DataObject) -> None:
    known = folded(said)
    again = data.draw(st.lists(st.sampled_from(said), max_size=6))

    assert folded(again, known) == known


@given(talks())
def test_the_latest_by_its_own_time_is_what_counts(said: list[Receipt]) -> None:
    known = folded(said)

    latest = max(said, key=lambda one: (one.at, one.offset))
    assert (known.at, known.receipt_offset, known.state) == (latest.at, latest.offset, latest.data.state)


def test_a_name_that_somebody_else_uses_too_is_another_incarnation() -> None:
    ids = {
        receipt().incarnation_id,
        receipt(gateway="other").incarnation_id,
        receipt(instance="other").incarnation_id,
        receipt(incarnation="other").incarnation_id,
    }

    assert len(ids) == 4
    assert receipt().incarnation_id == receipt(state="stopped", offset=9).incarnation_id


def test_a_farewell_is_leaving_until_it_talks_on() -> None:
    stopped = folded([receipt(), receipt(state="stopped", offset=1)])
    back = receipt(offset=2, at=after(seconds=1))

    assert (stopped.left_by, stopped.left_at) == (Left.STOPPED, NOW)
    assert set(oddities(stopped, back)) == {Oddity.REVIVED}
    assert folded([back], stopped).left_at is None


def retired(at: datetime) -> Incarnation:
    known: dict[str, Any] = {"left_at": at, "left_by": Left.RETIRED, "left_why": "by bob"}
    return Incarnation(**{name: getattr(folded([receipt()]), name) for name in Incarnation.__slots__} | known)


def test_what_was_on_its_way_when_it_was_retired_does_not_bring_it_back() -> None:
    gone = retired(after(seconds=10))
    before = receipt(at=after(seconds=5), appended_at=after(seconds=10), offset=1)
    later = receipt(at=after(seconds=5), appended_at=after(seconds=11), offset=1)

    assert (folded([before], gone).left_by, folded([before], gone).left_why) == (Left.RETIRED, "by bob")
    assert list(oddities(gone, before)) == []
    assert folded([later], gone).left_by is None
    assert list(oddities(gone, later)) == [Oddity.REVIVED]


@pytest.mark.parametrize(
    ("first", "then", "found"),
    [
        ({"position": "e-1.5.5"}, {"position": "e-1.5.6"}, []),
        ({"position": "e-1.5.5"}, {"position": "e-1.5.4"}, [Oddity.BACKWARDS]),
        ({"position": "e-1.5.5"}, {"position": "e-1.9"}, [Oddity.BACKWARDS]),
        ({"position": "e-1.5"}, {"position": "e-1.5.0"}, []),
        ({"position": "e-1.5"}, {"position": "e-1.0", "state": "replaying"}, []),
        ({"position": "e-1.5"}, {"position": "e-2.0", "epoch": "e-2"}, []),
        ({"position": "e-1.5"}, {"position": "e-2.0"}, [Oddity.POSITION]),
    ],
)
def test_who_knows_less_than_before_while_it_serves_is_seen(
    first: dict[str, Any], then: dict[str, Any], found: list[Oddity]
) -> None:
    known = folded([receipt(**first)])
    next_ = receipt(offset=1, **then)

    assert list(oddities(known, next_)) == found
    assert folded([next_], known).went_back == (Oddity.BACKWARDS in found)


def test_attributes_as_they_came() -> None:
    data = GatewayReceiptData.model_validate(receipt().data.model_dump() | {"attributes": ("a", "b")})
    known = folded([Receipt(data=data, at=NOW, appended_at=NOW + timedelta(seconds=1), offset=0)])

    assert known.attributes == ("a", "b")
    assert isinstance(known.id, uuid.UUID)
