"""What holds whatever happens: what is stored is stored, again is nothing, an equal id is equal bytes, I1 to I6."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.policy import Decision
from revoker.storage import batches, revocations, sessions
from revoker.storage.positions import (
    Positions,
    adopt_positions,
    read_earlier_positions,
    read_positions,
    rewind_positions,
)
from schemas.inputs import Lane
from schemas.session_activity import SessionActivity
from tests import factories
from tests.stored import announced, apply, bodies, execute, live, live_tokens, register, rows

ANOTHER = "00000000-0000-0000-0000-000000000001"


def activity() -> Sequence[SessionActivity]:
    return [
        factories.established("s-1", expires_at=factories.after(days=1), device_id="d-1", labels={"a": "1"}),
        factories.established("s-2", client_id="web"),
        factories.established("s-2", client_id="app"),
        factories.established("b-1", "bob"),
        factories.issued("t-1", session_id="s-1"),
        factories.issued("t-2", expires_at=factories.after(days=2)),
        factories.issued("t-3", "bob", kind="remember-me"),
    ]


def decisions() -> Sequence[Decision]:
    return [
        factories.decision(
            "password-changed",
            id="e-1",
            data={
                "keep": ["s-9"],
                # PostgreSQL keeps the keys of a jsonb in an order of its own.
                "reason_user": {"en-GB": "Changed", "de": "Geändert", "fr-CH": "Changé"},
                "reason_admin": "ticket 1",
            },
        ),
        factories.decision("logged-out", None, id="e-2", data={"session_id": "b-1"}),
        factories.decision("logged-out", None, id="e-3", data={"session_id": "nobody-s"}),
        factories.decision("token-revoked", "bob", id="e-4", data={"token_id": "t-3"}),
        factories.decision("session-revoked", "carol", id="e-5", data={"session_ids": ["c-2", "c-1"]}),
        factories.decision("email-changed", "bob", id="e-6", report_only=True),
    ]


# I2: what is ended stays ended, what is decided stays decided. The database says so, not we.


@pytest.mark.parametrize("table", ["sessions", "tokens"])
@pytest.mark.parametrize(
    "change",
    [
        "ended_at = null, ended_by = null",
        "ended_at = null, ended_by = null, born_ended = false",
        "ended_at = ended_at + interval '1 microsecond'",
        f"ended_by = '{ANOTHER}'",
        "born_ended = not born_ended",
    ],
)
async def test_the_database_refuses_to_change_an_end(engine: AsyncEngine, table: str, change: str) -> None:
    await register(engine, *activity())
    await apply(engine, *decisions())

    with pytest.raises(DBAPIError, match="what is ended stays ended"):
        await execute(engine, f"update {table} set {change} where subject = 'alice'")
    assert await live(engine) | await live_tokens(engine) == set()


async def test_the_database_lets_the_rest_of_an_ended_row_change(engine: AsyncEngine) -> None:
    await register(engine, *activity())
    await apply(engine, *decisions())

    assert (
        await execute(engine, "update sessions set device_name = 'x', ended_at = ended_at where subject = 'alice'") == 3
    )


@pytest.mark.parametrize(
    "change",
    [
        "not_before = not_before - interval '1 day'",
        "keep = '{s-1}'",
        "redundant = not redundant",
        "covers_until = covers_until + interval '1 day'",
        "id = id",
    ],
)
async def test_the_database_refuses_to_change_a_revocation(engine: AsyncEngine, change: str) -> None:
    await apply(engine, *decisions())

    with pytest.raises(DBAPIError, match="what is decided stays decided"):
        await execute(engine, f"update revocations set {change}")


@pytest.mark.parametrize(
    ("table", "values", "constraint"),
    [
        ("sessions", {"ended_at": "now()"}, "sessions_ended_together"),
        ("sessions", {"ended_by": f"'{ANOTHER}'"}, "sessions_ended_together"),
        ("sessions", {"born_ended": "true"}, "sessions_ended_together"),
        ("sessions", {"subject": "''"}, "sessions_named"),
        ("sessions", {"session_id": "''"}, "sessions_named"),
        ("tokens", {"ended_at": "now()"}, "tokens_ended_together"),
        ("tokens", {"kind": "'cookie'"}, "tokens_kind"),
        ("tokens", {"token_id": "''"}, "tokens_named"),
        ("revocations", {"session_ids": "'{}'"}, "revocations_session_ids"),
        ("revocations", {"covers_until": "not_before - interval '1 second'"}, "revocations_covers_until"),
        ("revocations", {"initiator": "'nobody'"}, "revocations_initiator"),
        ("revocations", {"enforced": "false", "redundant": "true"}, "revocations_report_only"),
        ("batches", {"announced_at": "now()"}, "batches_announced"),
    ],
)
async def test_the_database_refuses_nonsense(
    engine: AsyncEngine, table: str, values: dict[str, str], constraint: str
) -> None:
    await register(engine, factories.established(), factories.issued())
    await apply(engine, factories.decision("logged-out", "zoe", data={"session_id": "z-1"}))
    names = [
        row[0]
        for row in await rows(
            engine, f"select column_name from information_schema.columns where table_name = '{table}'"
        )
    ]
    selected = ", ".join(values.get(name, "gen_random_uuid()" if name == "id" else name) for name in names)

    with pytest.raises(DBAPIError, match=constraint):
        await execute(engine, f"insert into {table} ({', '.join(names)}) select {selected} from {table} limit 1")


# I3: a redelivery ends nothing.


async def test_a_redelivered_chunk_is_all_duplicates(engine: AsyncEngine) -> None:
    await register(engine, *activity())
    first = await apply(engine, *decisions())
    before = await everything(engine)

    again = await apply(engine, *decisions())

    assert (first.duplicates, len(first.applied)) == (0, len(decisions()))
    assert (again.duplicates, again.applied, again.batch_id) == (len(decisions()), [], None)
    assert await everything(engine) == before


async def test_a_duplicate_within_a_chunk_is_one(engine: AsyncEngine) -> None:
    await register(engine, *activity())
    outcome = await apply(engine, *decisions(), *decisions()[:2])

    assert outcome.duplicates == 2
    assert len(outcome.applied) == len(decisions())


async def test_consumers_that_apply_the_same_events_at_once_apply_them_once(engine: AsyncEngine) -> None:
    for number in range(10):
        events = [
            factories.decision("password-changed", f"u-{number}", id="e-1"),
            factories.decision("logged-out", None, id="e-2", data={"session_id": f"x-{number}"}),
        ]
        await register(engine, factories.established("s-1", f"u-{number}"))

        outcomes = await asyncio.gather(*(apply(engine, *order) for order in (events, events[::-1], events)))

        assert sorted((len(each.applied), each.duplicates) for each in outcomes) == [(0, 2), (0, 2), (2, 0)]
        assert sum(len(applied.sessions) for each in outcomes for applied in each.applied) == 1


async def test_of_equal_events_without_a_time_the_first_counts(engine: AsyncEngine) -> None:
    # A producer that tried twice: one id, two append times. In two chunks the first would be the stored one.
    await register(engine, factories.established(established_at=factories.NOW))
    twice = [factories.decision(id="e-1", appended_at=factories.after(seconds=shift)) for shift in (-1, 1)]

    outcome = await apply(engine, *twice)

    assert [applied.revocation.not_before for applied in outcome.applied] == [factories.after(seconds=-1)]
    assert await live(engine) == {"s-1"}


async def test_a_redelivered_event_works_from_the_stored_row_not_from_todays_policy(engine: AsyncEngine) -> None:
    await register(engine, factories.established())
    then = factories.after(hours=-2)
    await apply(engine, factories.decision(id="e-1", time=then))

    rule = replace(factories.POLICY.rules["password-changed"], margin=timedelta(hours=2))
    stricter = replace(factories.POLICY, rules={**factories.POLICY.rules, "password-changed": rule})
    again = await apply(engine, factories.decision(id="e-1", time=then, policy=stricter))

    assert again.duplicates == 1
    assert await live(engine) == {"s-1"}


async def test_a_duplicate_of_an_unannounced_batch_names_the_batch(engine: AsyncEngine) -> None:
    first = await apply(engine, *decisions())
    assert first.batch_id is not None
    assert (await apply(engine, *decisions())).unannounced == {first.batch_id}

    await batches.mark_announced(engine, [(first.batch_id, {0: 7})])

    assert (await apply(engine, *decisions())).unannounced == frozenset()


async def test_a_registration_that_comes_again_changes_nothing(engine: AsyncEngine) -> None:
    await apply(engine, *decisions())
    first = await register(engine, *activity())
    before = await everything(engine)

    again = await register(engine, *activity())

    assert sorted(what for _, what in first.ended) == ["session"] * 4 + ["token"] * 3
    assert again.ended == []
    assert await everything(engine) == before


async def test_records_in_any_order_leave_the_same_rows(engine: AsyncEngine) -> None:
    events = [
        *activity(),
        factories.established("s-1", established_at=factories.after(hours=-2), ip="10.0.0.1", labels={"b": "2"}),
        factories.established("s-1", expires_at=factories.after(days=3), key_id="k-1"),
        factories.issued("t-2", time=factories.after(hours=-3), expires_at=factories.after(days=9)),
    ]
    found = []
    for seed in range(4):
        random.Random(seed).shuffle(events)
        for event in events:
            await register(engine, event)
        columns = "tenant, subject, session_id, client_id, established_at, expires_at, device_id, ip, key_id, labels"
        found.append(
            (
                set(map(str, await rows(engine, f"select {columns} from sessions"))),
                set(map(str, await rows(engine, "select * from tokens"))),
            )
        )
        await execute(engine, "delete from sessions")
        await execute(engine, "delete from tokens")

    assert len(found[0][0]) == 4
    assert all(each == found[0] for each in found)


# I4: equal id, equal bytes.


async def test_what_a_batch_announces_can_be_derived_again_whatever_came_between(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    await register(engine, *activity())
    outcome = await apply(engine, *decisions())
    first = bodies(announced(outcome))
    assert outcome.batch_id is not None

    await register(
        engine,
        *activity(),
        factories.established("s-1", established_at=factories.after(days=-3), expires_at=factories.after(days=20)),
        factories.established("s-3", established_at=factories.after(hours=-5)),
        factories.presented("s-1", ip="10.0.0.9", expires_at=factories.after(days=25)),
        factories.presented("s-2", time=factories.after(hours=3), expires_at=factories.after(days=25)),
        factories.issued("t-2", expires_at=factories.after(days=30)),
        factories.issued("t-9"),
    )
    await apply(engine, factories.decision("account-disabled"), factories.decision("account-disabled", "bob"))

    derived = await batches.derive(reader, [outcome.batch_id])
    assert len(first) == 5
    assert bodies(derived) == first


async def test_a_late_notice_is_the_same_each_time(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await apply(engine, *decisions())
    first = await register(engine, *activity())
    assert first.batch_id is not None
    before = bodies(await batches.derive(reader, [first.batch_id]))

    again = await register(
        engine, *activity(), factories.established("s-1", expires_at=factories.after(days=9), device_id="d-2")
    )

    # Four sessions, t-2 and t-3, which have none.
    assert len(before) == 6
    assert bodies(await batches.derive_late(reader, first.late)) == before
    assert bodies(await batches.derive_late(reader, again.late)) == before


async def test_what_was_announced_keeps_no_copy_of_its_late_rows(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await apply(engine, *decisions())
    late = await register(engine, *activity())
    assert late.batch_id is not None
    assert await batches.stale(reader, timedelta(hours=-1)) != []

    stale = await batches.stale(reader, timedelta(hours=-1))
    await batches.mark_announced(engine, [(batch_id, {0: 3, 1: 4}) for batch_id in stale])

    assert await batches.stale(reader, timedelta(hours=-1)) == []
    assert await rows(engine, "select distinct late, positions from batches") == [(None, {"0": 3, "1": 4})]


# I5 is raced in tests/conformance/test_write_skew.py. I6: a position lives in the write that it speaks of.


async def test_positions_move_with_the_data_and_never_back(engine: AsyncEngine, reader: AsyncEngine) -> None:
    async def stored(lane: Lane = Lane.REVOCATION) -> Positions:
        return await read_positions(reader, lane, ["a", "b"])

    await apply(engine, factories.decision(), positions={("a", 0): 5, ("a", 1): 2})
    assert await stored() == {("a", 0): 5, ("a", 1): 2}

    await apply(engine, factories.decision(), positions={("a", 0): 3, ("b", 0): 9, ("c", 0): 1})
    assert await stored() == {("a", 0): 5, ("a", 1): 2, ("b", 0): 9}

    await batches.mark_announced(engine, [], (Lane.REVOCATION, {("a", 1): 7, ("b", 0): 8}))
    assert await stored() == {("a", 0): 5, ("a", 1): 7, ("b", 0): 9}

    await rewind_positions(engine, Lane.REVOCATION, {("a", 0): 0})
    assert await stored() == {("a", 0): 0, ("a", 1): 7, ("b", 0): 9}
    assert await stored(Lane.REGISTRATION) == {}


async def test_each_lane_has_positions_of_its_own(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await apply(engine, factories.decision(), positions={("a", 0): 5})
    await register(engine, factories.established(), positions={("a", 0): 2})
    await rewind_positions(engine, Lane.REVOCATION, {("a", 0): 1})

    assert await read_positions(reader, Lane.REVOCATION, ["a"]) == {("a", 0): 1}
    assert await read_positions(reader, Lane.REGISTRATION, ["a"]) == {("a", 0): 2}


async def test_what_the_release_before_had_applied_is_taken_over_once(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await execute(engine, "insert into input_positions values ('a', 0, 7, now()), ('a', 1, 3, now())")
    earlier = await read_earlier_positions(reader, ["a", "b"])
    assert earlier == {("a", 0): 7, ("a", 1): 3}

    await apply(engine, factories.decision(), positions={("a", 0): 9})
    await adopt_positions(engine, Lane.REVOCATION, earlier)

    assert await read_positions(reader, Lane.REVOCATION, ["a"]) == {("a", 0): 9, ("a", 1): 3}


async def test_a_transaction_that_fails_moves_nothing_and_ends_nothing(
    engine: AsyncEngine, reader: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(engine, factories.established())
    before = await everything(engine)

    async def fails(*_: Any) -> None:
        raise ConnectionResetError

    for module in (revocations, sessions):
        monkeypatch.setattr(module, "move_positions", fails)
    with pytest.raises(ConnectionResetError):
        await apply(engine, factories.decision(), positions={("a", 0): 5})
    with pytest.raises(ConnectionResetError):
        await register(engine, factories.established("s-2"), positions={("a", 0): 5})

    assert await everything(engine) == before
    assert await read_positions(reader, Lane.REVOCATION, ["a"]) == {}


async def test_positions_are_asked_for_at_the_end(engine: AsyncEngine) -> None:
    """They may grow while the transaction runs: the chunk before this one commits meanwhile."""
    asked_after: list[int] = []

    def positions() -> Positions:
        asked_after.append(1)
        return {("a", 0): 1}

    real = revocations._record

    async def recorded(*arguments: Any, **options: Any) -> Any:
        assert asked_after == []
        return await real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revocations, "_record", recorded)
        await revocations.apply(engine, [factories.decision()], positions)
    assert asked_after == [1]


async def everything(engine: AsyncEngine) -> list[str]:
    """All rows that say what is over."""
    tables = ("sessions", "tokens", "revocations")
    return [str(row) for table in tables for row in await rows(engine, f"select * from {table} x order by x::text")]
