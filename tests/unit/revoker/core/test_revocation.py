"""Holds, and what dominates what, by example; the rule itself is held by the vectors and the conformance suite."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from revoker.core.ids import RevocationId
from revoker.core.revocation import Hold, Selector, dominates
from tests import factories
from tests.factories import NOW, after

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "lifted_at", "in_force"),
    [
        (NOW, None, True),
        (after(hours=1) - timedelta(microseconds=1), None, True),
        (after(hours=1), None, False),
        (after(minutes=4), after(minutes=5), True),
        (after(minutes=5), after(minutes=5), False),
        (NOW, after(hours=-1), False),  # the lift came before its hold
        (after(hours=1), after(hours=2), False),
    ],
)
def test_a_hold_is_in_force_until_it_expires_or_is_lifted(now: Any, lifted_at: Any, in_force: bool) -> None:  # noqa: FBT001 - what a table expects
    hold = Hold(id=RevocationId(uuid.UUID(int=1)), selector=Selector(subject="alice"), until=after(hours=1))

    assert hold.in_force(now, lifted_at) is in_force


ALICE = {"tenant": "", "subject": "alice"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, True),
        ({"not_before": after(seconds=1)}, {}, True),
        ({"not_before": after(seconds=-1), "covers_until": after(days=30)}, {}, False),
        ({"enforced": False}, {}, False),
        ({}, {"enforced": False}, True),
        ({"keep": ("a",)}, {"keep": ("b", "a")}, True),
        ({"keep": ("a", "b")}, {"keep": ("a",)}, False),
        ({"keep_clients": ("tv",)}, {}, False),
        ({}, {"keep_clients": ("tv",)}, True),
        ({"covers_until": after(days=29)}, {}, False),
    ],
)
def test_what_dominates_within_a_subject(first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - as above
    assert dominates(factories.revocation(**first), factories.revocation(**second)) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (ALICE, ALICE | {"session_ids": ("a",)}, False),  # the session may begin later
        (ALICE | {"session_ids": ("a", "b")}, ALICE | {"session_ids": ("a",)}, True),
        (ALICE | {"session_ids": ("a",)}, ALICE | {"session_ids": ("a", "b")}, False),
        (ALICE | {"session_ids": ("a",)}, ALICE | {"session_ids": ("a",), "client_id": "web"}, True),
        (ALICE | {"session_ids": ("a",), "client_id": "web"}, ALICE | {"session_ids": ("a",)}, False),
        (ALICE | {"session_ids": ("a",)}, ALICE, False),
        ({"tenant": ""}, ALICE, True),
        ({"tenant": None}, ALICE, True),
        (ALICE, {"tenant": ""}, False),
        (ALICE | {"tenant": "acme"}, ALICE, False),
        (ALICE | {"token_id": "t"}, ALICE | {"token_id": "t"}, True),
        (ALICE | {"token_id": "t"}, ALICE | {"token_id": "u"}, False),
        (ALICE | {"token_id": "t"}, ALICE, False),
        (ALICE | {"key_id": "k"}, ALICE, False),
        (ALICE | {"key_id": "k"}, ALICE | {"key_id": "k"}, True),
        (ALICE | {"device_id": "d"}, ALICE, False),
        (ALICE | {"ip_network": "10.0.0.0/8"}, ALICE, False),
        (ALICE | {"labels": (("a", "1"),)}, ALICE, False),
        (ALICE | {"labels": (("a", "1"),)}, ALICE | {"labels": (("a", "1"), ("b", "2"))}, True),
        (ALICE | {"established_after": NOW - SECOND}, ALICE, False),
        (ALICE, ALICE | {"established_after": NOW - SECOND}, True),
    ],
)
def test_what_dominates_between_selectors(first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - as above
    one, other = factories.revocation(Selector(**first)), factories.revocation(Selector(**second))

    assert dominates(one, other) is expected
