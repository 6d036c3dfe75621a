"""What registration stores, and what is born ended, by example."""

import asyncio
import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.notices import EndedSession, EndedToken
from revoker.storage import batches, sessions
from revoker.storage.batches import LateSession, LateToken
from schemas.session_activity import SessionActivity
from schemas.session_ended import Kind, SessionEnded
from tests import factories
from tests.factories import after, decision, established, issued, presented
from tests.stored import MINUTE, apply, execute, live, live_tokens, register, rows


async def session(engine: AsyncEngine, columns: str) -> Any:
    [row] = await rows(engine, f"select {columns} from sessions where session_id = 's-1'")
    return row[0] if len(row) == 1 else tuple(row)


# Born ended.


async def test_a_session_registered_after_the_change_that_covers_it_is_born_ended_and_announced(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    await apply(engine, decision("password-changed", id="e-1"))

    registered = await register(
        engine, established("s-1", client_id="web", expires_at=after(days=1)), established("b-1", "bob")
    )

    [revocation_id] = [row[0] for row in await rows(engine, "select id from revocations")]
    assert await session(engine, "ended_by, born_ended, ended_at") == (revocation_id, True, registered.committed_at)
    assert registered.ended == [(revocation_id, "session")]
    assert await live(engine) == {"b-1"}
    assert registered.batch_id is not None
    [notice] = await batches.derive(reader, [registered.batch_id])
    event = SessionEnded.model_validate_json(notice.body)
    assert (event.subject, event.data.kind, event.data.revocation_id) == ("alice", Kind.LATE, str(revocation_id))
    [entry] = event.data.sessions
    assert (entry.session_id, entry.client_id, entry.expires_at) == ("s-1", "web", after(days=1))


async def test_a_session_that_turns_out_to_be_older_ends_then_and_its_tokens_with_it(engine: AsyncEngine) -> None:
    await register(
        engine,
        established("s-1", established_at=after(minutes=-1)),
        issued("t-1", session_id="s-1"),
        issued("t-2", session_id="s-2"),
    )
    await apply(engine, decision(time=after(minutes=-30)))
    assert await live(engine) == {"s-1"}

    registered = await register(engine, established("s-1", established_at=after(minutes=-31)))

    assert await live(engine) == set()
    assert await live_tokens(engine) == {"t-2"}
    assert [what for _, what in registered.ended] == ["session", "token"]


async def test_tokens_that_came_before_their_session_end_with_its_birth(engine: AsyncEngine) -> None:
    await register(
        engine,
        issued("t-1", session_id="s-1"),
        issued("t-2", session_id="s-1", client_id="web"),
        issued("t-3", session_id="s-1", client_id="app"),
    )
    await apply(engine, decision())
    assert await live_tokens(engine) == {"t-1", "t-2", "t-3"}

    await register(engine, established("s-1", client_id="web"))

    assert await live_tokens(engine) == {"t-3"}, "its part of the sign-in was never heard of"


async def test_a_token_taken_in_while_its_session_is_born_ended_beside_it_dies_with_it(engine: AsyncEngine) -> None:
    """Two chunks of one batch: neither sees the other's rows."""
    await apply(engine, decision())
    await register(engine, presented("s-9"), positions={("t", 0): 1})
    async with engine.begin() as held:
        await held.exec_driver_sql("select from lane_positions for update")
        token = asyncio.create_task(register(engine, issued("t-1", session_id="s-1"), positions={("t", 0): 2}))
        await asyncio.wait([token], timeout=0.2)
        session = asyncio.create_task(register(engine, established("s-1")))
        await asyncio.wait([session], timeout=0.2)
        assert not token.done()
    await asyncio.gather(token, session)

    assert await live(engine) == set()
    assert await live_tokens(engine) == set()


async def test_a_later_login_is_born_alive(engine: AsyncEngine) -> None:
    await apply(engine, decision(time=after(minutes=-30)))

    registered = await register(engine, established("s-1", established_at=after(minutes=-29)))

    assert (registered.batch_id, registered.late, registered.ended) == (None, [], [])
    assert await rows(engine, "select id from batches where lane = 'registration'") == []


async def test_a_token_issued_for_an_ended_session_is_born_ended_and_announces_the_session(
    engine: AsyncEngine, reader: AsyncEngine
) -> None:
    await register(engine, established("s-1", client_id="web"), established("s-1", client_id="app"))
    outcome = await apply(engine, decision())
    [applied] = outcome.applied

    one = await register(engine, issued("t-1", session_id="s-1", client_id="web"))
    both = await register(engine, issued("t-2", session_id="s-1"))
    none = await register(engine, issued("t-3", session_id="s-2"))

    assert await live_tokens(engine) == {"t-3"}
    assert {row[0] for row in await rows(engine, "select born_ended from tokens where token_id <> 't-3'")} == {True}
    parts = [
        {(e.session.session_id, e.session.client_id) for e in r.late if isinstance(e, LateSession)} for r in (one, both)
    ]
    assert parts == [{("s-1", "web")}, {("s-1", "app"), ("s-1", "web")}]
    assert none.late == []
    told = [SessionEnded.model_validate_json(n.body) for n in await batches.derive_late(reader, both.late)]
    assert {event.data.revocation_id for event in told} == {str(applied.revocation.id)}
    assert {event.data.committed_at for event in told} == {outcome.committed_at}


async def test_a_token_of_a_session_of_which_a_part_lives_lives(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", client_id="web"), established("s-1", client_id="app"))
    await apply(engine, decision("logged-out", data={"session_id": "s-1", "client_id": "web"}))

    await register(
        engine,
        issued("t-1", session_id="s-1"),
        issued("t-2", session_id="s-1", client_id="app"),
        issued("t-3", session_id="s-1", client_id="web"),
    )

    assert await live_tokens(engine) == {"t-1", "t-2"}


async def test_a_loose_token_is_covered_by_itself(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await apply(engine, decision(time=after(minutes=-30)), decision("token-revoked", None, data={"token_id": "named"}))

    registered = await register(
        engine,
        issued("before", time=after(minutes=-30)),
        issued("after", time=after(minutes=-29)),
        issued("named", "bob", time=after(minutes=-1), expires_at=after(days=1)),
        issued("named", "bob", "acme"),
    )

    assert await live_tokens(engine) == {"after", "named"}
    late = {entry.token.token_id: entry for entry in registered.late if isinstance(entry, LateToken)}
    assert sorted(late) == ["before", "named"]
    [told] = await batches.derive_late(reader, [late["named"]])
    event = SessionEnded.model_validate_json(told.body)
    assert (event.subject, event.data.sessions) == ("bob", ())
    assert [(entry.token_id, entry.expires_at) for entry in event.data.tokens] == [("named", after(days=1))]


@pytest.mark.parametrize(
    ("selector", "covered"),
    [
        ({"client_id": "'web'"}, {"s-1/web"}),
        ({"key_id": "'k-1'"}, {"s-2"}),
        ({"device_id": "'d-1'"}, {"s-3"}),
        ({"ip_network": "'10.0.0.0/24'"}, {"s-4"}),
        ({"labels": """'{"plan": "free"}'"""}, {"s-5"}),
        ({"established_after": f"'{after(hours=-2)}'"}, {"s-1/web", "s-2", "s-3", "s-4", "s-5"}),
        ({"any_tenant": "true"}, {"s-1/web", "s-2", "s-3", "s-4", "s-5", "s-6", "s-7"}),
        ({"any_tenant": "true", "enforced": "false"}, set()),
    ],
)
async def test_a_stored_wide_revocation_covers_what_is_registered_later(
    engine: AsyncEngine, selector: dict[str, str], covered: set[str]
) -> None:
    moment = f"'{factories.NOW}'"
    values = {
        **dict.fromkeys(("tenant", "subject", "cause", "source", "event_id"), "''"),
        **dict.fromkeys(("id", "batch_id"), "gen_random_uuid()"),
        **dict.fromkeys(("not_before", "covers_until", "requested_at", "committed_at"), moment),
        "initiator": "'admin'",
        "reason_user": "'{}'",
        **selector,
    }
    statement = f"insert into revocations ({', '.join(values)}) values ({', '.join(values.values())})"
    await execute(engine, statement.replace(":", "\\:"))

    await register(
        engine,
        established("s-1", client_id="web"),
        established("s-2", key_id="k-1"),
        established("s-3", device_id="d-1"),
        established("s-4", ip="::ffff:10.0.0.7"),
        established("s-5", labels={"plan": "free", "x": "y"}),
        established("s-6", established_at=after(days=-1)),
        established("s-7", "bob", "acme", ip="10.0.1.1"),
    )

    found = await rows(engine, "select session_id, client_id from sessions where born_ended")
    assert {"/".join(filter(None, row)) for row in found} == covered


# What is stored.


async def test_the_first_attribute_that_is_known_stays_and_contradictions_are_counted(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", ip="10.0.0.1", labels={"a": "1"}))
    await register(engine, established("s-1", device_id="d-1", user_agent="Firefox", key_id="k-1", labels={"b": "2"}))
    assert (await register(engine, established("s-1", ip="10.0.0.1", device_id="d-1"))).conflicts == 0

    registered = await register(
        engine, established("s-1", ip="10.0.0.2", device_id="d-2", key_id="k-2", labels={"a": "9"}), established("s-2")
    )

    assert registered.conflicts == 1
    columns = "host(ip), device_id, device_name, key_id, labels"
    assert await session(engine, columns) == ("10.0.0.1", "d-1", "Firefox", "k-1", {"a": "1", "b": "2"})


@pytest.mark.parametrize("claim", [{"ip": "10.0.0.2"}, {"device_id": "d-2"}, {"key_id": "k-2"}])
async def test_each_contradiction_is_counted(engine: AsyncEngine, claim: dict[str, str]) -> None:
    known = {"ip": "10.0.0.1", "device_id": "d-1", "key_id": "k-1"}
    await register(engine, established("s-1", **known))

    assert (await register(engine, established("s-1", **known))).conflicts == 0
    assert (await register(engine, established("s-1"), established("s-2", **claim))).conflicts == 0
    assert (await register(engine, established("s-1", **known | claim))).conflicts == 1


async def test_the_earliest_time_and_the_furthest_expiry_count(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", established_at=after(hours=-2)))
    await register(engine, established("s-1", established_at=after(hours=-1), expires_at=after(days=2)))
    await register(engine, established("s-1", established_at=after(hours=-3), expires_at=after(days=1)))

    assert await session(engine, "established_at, expires_at") == (after(hours=-3), after(days=2))


async def test_an_ended_session_does_not_change_any_more(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", expires_at=after(days=1)), issued("t-1", expires_at=after(days=1)))
    await apply(engine, decision())

    await register(
        engine,
        established("s-1", established_at=after(days=-9), expires_at=after(days=9), ip="10.0.0.1"),
        issued("t-1", expires_at=after(days=9)),
        presented("s-1", time=after(days=-3_650), expires_at=after(days=9)),
    )

    assert await session(engine, "established_at, expires_at, ip, last_active_at") == (
        after(hours=-1),
        after(days=1),
        None,
        None,
    )
    assert await rows(engine, "select expires_at from tokens") == [(after(days=1),)]


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        (presented(time=after(seconds=30), ip="10.0.0.1"), (factories.NOW, "10.0.0.1")),
        (presented(time=after(seconds=30), ip="10.0.0.2"), (after(seconds=30), "10.0.0.2")),
        (presented(time=after(seconds=61)), (after(seconds=61), "10.0.0.1")),
        (presented(time=after(seconds=-61), ip="10.0.0.2"), (factories.NOW, "10.0.0.1")),
        (presented("s-2", time=after(hours=1)), (factories.NOW, "10.0.0.1")),
        (presented(time=after(hours=1), client_id="app"), (factories.NOW, "10.0.0.1")),
        (presented(time=after(hours=1), client_id="web"), (after(hours=1), "10.0.0.1")),
    ],
)
async def test_visits_are_written_at_most_once_a_minute_unless_the_address_changes(
    engine: AsyncEngine, visit: SessionActivity, expected: tuple[datetime, str]
) -> None:
    await register(engine, established("s-1", client_id="web"), presented("s-1", ip="10.0.0.1"))

    await sessions.register(engine, factories.registration(visit, appended_at=after(days=1)), MINUTE, dict)

    assert await session(engine, "last_active_at, host(last_ip)") == expected


async def test_a_visit_moves_the_expiry_forward_and_never_back(engine: AsyncEngine) -> None:
    await register(engine, established("s-1", expires_at=after(hours=1)))

    for minutes, claimed, expected in ((-30, 2, 2), (-20, 1, 2), (-20, 3, 3), (-40, 4, 4), (-10, 1, 4)):
        await register(engine, presented("s-1", time=after(minutes=minutes), expires_at=after(hours=claimed)))
        assert await session(engine, "expires_at") == after(hours=expected)
    assert await session(engine, "last_active_at") == after(minutes=-10)


async def test_an_empty_chunk_is_nothing(engine: AsyncEngine) -> None:
    registered = await register(engine)

    assert (registered.batch_id, registered.late, registered.ended, registered.conflicts) == (None, [], [], 0)


def test_late_rows_survive_the_way_into_a_batch_and_back() -> None:
    late: list[batches.Late] = [
        LateSession(uuid.uuid4(), "", "alice", EndedSession("s", "c", factories.NOW), factories.NOW),
        LateSession(uuid.uuid4(), "acme", "🔐", EndedSession('"', "", None), after(microseconds=1)),
        LateToken(uuid.uuid4(), "", "bob", EndedToken("t", after(days=1) + timedelta(microseconds=7)), after()),
    ]

    assert [batches.late_from(entry) for entry in msgspec.json.decode(batches.late_to_json(late))] == late
