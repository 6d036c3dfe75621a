"""`revoker prune` and `revoker erase`: what is over goes, what is needed stays, and nothing comes back to life."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core import registration
from revoker.core.ids import lock_key
from revoker.core.policy import decide
from revoker.service import erase, prune
from revoker.service.erase import RefusedError
from revoker.settings import RetentionSettings, SessionSettings, Settings
from revoker.storage import batches, database, erasing, revocations, sessions
from revoker.storage.pruning import Table
from schemas import codec
from schemas.inputs import IDENTITY_EVENTS, SESSION_ACTIVITY
from tests.integration.cli_worker import environment, established, event, run, wire
from tests.servers import in_thread

DAY = timedelta(days=1)
LIFETIME = 10 * DAY
TABLES = ("sessions", "tokens", "revocations", "batches")


@pytest.fixture
def short(database_settings: Settings) -> Settings:
    """Sessions live 10 days, what is over is kept for 5, inputs hold 3."""
    return database_settings.model_copy(
        update={
            "sessions": SessionSettings(lifetime=LIFETIME),
            "retention": RetentionSettings(ended=5 * DAY, inputs=3 * DAY),
        }
    )


@pytest.fixture
def env(short: Settings) -> Mapping[str, str]:
    return {
        **environment(short),
        "REVOKER_SESSIONS__LIFETIME": "P10D",
        "REVOKER_RETENTION__ENDED": "P5D",
        "REVOKER_RETENTION__INPUTS": "P3D",
    }


class Past:
    """Applies events as if it were an earlier day: the service's own statements, then every time moved back."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings

    async def register(self, *records: bytes) -> None:
        now = datetime.now(UTC)
        read: Any = [codec.decode(codec.ACTIVITY, SESSION_ACTIVITY, record) for record in records]
        chunk = registration.merge([registration.seen(one, now, str) for one in read])
        done = await sessions.register(self.engine, chunk, timedelta(), dict)
        await self._announce(done.batch_id)

    async def apply(self, *records: bytes, announced: bool = True) -> list[uuid.UUID]:
        now = datetime.now(UTC)
        read: Any = [codec.decode(codec.IDENTITY, IDENTITY_EVENTS, record) for record in records]
        decided = [decide(one, self.settings.rules, now) for one in read]
        done = await revocations.apply(self.engine, decided, dict)
        if announced:
            await self._announce(done.batch_id)
        return [one.revocation.id for one in done.applied]

    async def _announce(self, batch_id: uuid.UUID | None) -> None:
        if batch_id is not None:
            await batches.mark_announced(self.engine, [(batch_id, {0: 1})])

    async def move(self, by: timedelta) -> None:
        """As if all that is stored had happened that much earlier."""
        moved = {
            "sessions": ("established_at", "registered_at", "expires_at", "last_active_at", "ended_at"),
            "tokens": ("issued_at", "expires_at", "ended_at"),
            "revocations": ("not_before", "covers_until", "requested_at", "committed_at"),
            "batches": ("committed_at", "announced_at"),
        }
        async with self.engine.begin() as connection:
            await connection.exec_driver_sql("set local session_replication_role = replica")
            for table, columns in moved.items():
                changes = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
                await connection.exec_driver_sql(f"update {table} set {changes}", (by,))

    async def rows(self) -> Counter[str]:
        async with self.engine.connect() as connection:
            return Counter(
                {
                    table: (await connection.exec_driver_sql(f"select count(*) from {table}")).scalar_one()
                    for table in TABLES
                }
            )

    async def live(self) -> set[str]:
        async with self.engine.connect() as connection:
            found = await connection.exec_driver_sql("select session_id from sessions where ended_at is null")
            return set(found.scalars())

    async def pruned(self, *, dry_run: bool = False, page: int = 100) -> Counter[Table]:
        bounds = await prune.bounds(self.engine, self.settings)
        return [totals async for totals in prune.prune(self.engine, bounds, dry_run=dry_run, page=page)][-1]


@pytest.fixture
async def past(short: Settings) -> AsyncIterator[Past]:
    engine = database.writer(short)
    yield Past(engine, short)
    await engine.dispose()


def ago(length: timedelta) -> str:
    return wire(datetime.now(UTC) - length)


async def test_that_what_is_over_for_long_goes_and_the_rest_stays(past: Past, env: Mapping[str, str]) -> None:
    await past.register(
        *(established(f"old-{n}") for n in range(3)),
        event("token-issued", data={"session_id": "old-0", "token_id": "t-1", "kind": "refresh"}),
        event("token-issued", data={"token_id": "t-2", "kind": "remember-me"}),
    )
    await past.apply(event("password-changed", data={"keep": ["old-2"]}))
    await past.move(LIFETIME + 5 * DAY)
    await past.register(established("new"), established("expired", expires_at=ago(6 * DAY)))
    await past.apply(event("logged-out", data={"session_id": "elsewhere"}))

    tried = await run(env, "prune", "--dry-run", "--json")
    would = Counter({"tokens": 2, "sessions": 3, "revocations": 1, "batches": 1})
    assert (tried.code, Counter(tried.json["rows"])) == (0, would)
    assert await past.rows() == {"tokens": 2, "sessions": 5, "revocations": 2, "batches": 2}

    done = await run(env, "prune")
    assert done.code == 0
    assert done.out == "forgot 2 tokens, 3 sessions, 1 revocations, 1 batches\n"
    assert await past.rows() == {"tokens": 0, "sessions": 2, "revocations": 1, "batches": 1}
    assert await past.live() == {"new", "expired"}
    assert (await run(env, "prune", "--json")).json["rows"] == dict.fromkeys(Table, 0)


@pytest.mark.parametrize(("days", "left"), [(4, 1), (9, 1), (12.9, 1), (13.1, 0)])
async def test_that_a_revocation_stays_while_anything_could_ask_for_it(past: Past, days: float, left: int) -> None:
    """It covers for 10 days, and an input may hold for 3 more what it covers."""
    await past.apply(event("password-changed"))
    await past.move(timedelta(days=days))
    await past.pruned()
    assert (await past.rows())["revocations"] == left


async def test_that_a_session_without_expiry_counts_as_over_after_a_lifetime(past: Past) -> None:
    await past.register(established("s"), established("long", expires_at=wire(datetime.now(UTC) + 30 * DAY)))
    await past.move(LIFETIME + 4 * DAY)
    assert (await past.pruned())[Table.SESSIONS] == 0
    await past.move(2 * DAY)
    assert (await past.pruned())[Table.SESSIONS] == 1
    assert await past.live() == {"long"}


async def test_that_nothing_goes_that_an_unannounced_batch_may_have_to_name(past: Past) -> None:
    await past.register(established("s"))
    await past.apply(event("password-changed"), announced=False)
    await past.move(100 * DAY)
    assert (await past.pruned()).total() == 0
    async with past.engine.begin() as connection:
        await connection.exec_driver_sql("update batches set announced_at = committed_at, positions = '{}'")
    assert await past.pruned() == Counter({Table.SESSIONS: 1, Table.REVOCATIONS: 1, Table.BATCHES: 1})


async def test_that_a_revocation_outlives_the_rows_that_it_ended(past: Past) -> None:
    """Also one that names a session alone, filed under no subject."""
    await past.apply(event("logged-out", None, data={"session_id": "late"}))
    await past.move(20 * DAY)
    await past.register(established("late"))
    assert await past.live() == set()
    assert (await past.pruned())[Table.REVOCATIONS] == 0
    await past.move(20 * DAY)
    assert await past.pruned() == Counter({Table.SESSIONS: 1, Table.REVOCATIONS: 1, Table.BATCHES: 2})


async def test_that_rows_in_other_hands_are_left_for_the_next_time(past: Past) -> None:
    await past.register(established("held"), established("free"))
    await past.move(100 * DAY)
    async with past.engine.begin() as other:
        await other.exec_driver_sql("select from sessions where session_id = 'held' for update")
        async with asyncio.timeout(5):
            assert (await past.pruned())[Table.SESSIONS] == 1
    assert await past.live() == {"held"}
    assert (await past.pruned())[Table.SESSIONS] == 1


async def test_that_two_at_once_and_one_that_was_stopped_lose_nothing(past: Past) -> None:
    await past.register(*(established(f"s-{n}", f"u-{n % 7}") for n in range(60)))
    await past.move(100 * DAY)
    await past.register(*(established(f"n-{n}", f"u-{n % 7}") for n in range(20)))
    bounds = await prune.bounds(past.engine, past.settings)
    walk = prune.prune(past.engine, bounds, page=3)
    for _ in range(10):
        await anext(walk)
    await walk.aclose()
    assert 20 < (await past.rows())["sessions"] < 80
    await asyncio.gather(*(past.pruned(page=5) for _ in range(3)))
    assert await past.live() == {f"n-{n}" for n in range(20)}


AGES = st.sampled_from([0.0, 0.5, 2.0, 4.0, 6.0, 9.5, 11.0])
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.sampled_from("abc"), AGES),
        st.tuples(st.just("password-changed"), st.sampled_from(["", "a", "b"]), AGES),
        st.tuples(st.just("logged-out"), st.sampled_from("abc"), st.just(0.0)),
        st.tuples(st.just("pass"), st.just(""), AGES),
    ),
    max_size=12,
)


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DEEDS)
@example([("logged-out", "a", 0.0), ("pass", "", 6.0), ("register", "a", 0.0)])
@example([("register", "a", 9.5), ("password-changed", "", 2.0), ("pass", "", 2.0), ("pass", "", 6.0)])
def test_that_pruning_resurrects_no_session(short: Settings, deeds: list[tuple[str, str, float]]) -> None:
    """Whatever happened when: with pruning after each deed, no session lives that without any would have ended.

    A record may be delivered again for as long as an input holds it, so every registration is. An id is never reused.
    """
    with_, without = in_thread(_history(short, deeds, pruning=True)), in_thread(_history(short, deeds, pruning=False))
    assert with_ <= without


async def _history(settings: Settings, deeds: list[tuple[str, str, float]], *, pruning: bool) -> set[str]:
    engine = database.writer(settings)
    past = Past(engine, settings)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"truncate {', '.join(TABLES)}")
        today = 0.0
        births: dict[str, float] = {}
        heard: dict[str, float] = {}
        for kind, what, days in deeds:
            if kind in {"register", "logged-out"}:
                births.setdefault(what, today - days)
            if kind == "pass":
                today += days
                await past.move(timedelta(days=days))
            elif kind == "register":
                heard[what] = today
            elif kind == "logged-out":
                await past.apply(event(kind, data={"session_id": what}, id=f"{today}{what}"))
            else:
                keep = {"keep": [what]} if what else {}
                await past.apply(event(kind, data=keep, time=ago(timedelta(days=days)), id=f"{today}{what}{days}"))
            if pruning:
                await past.pruned(page=2)
            for session, since in heard.items():
                # The consumer refuses what was older than a lifetime when it was reported, and inputs hold 3 days.
                if since - births[session] < LIFETIME / DAY and today - since <= 3:
                    began = timedelta(days=today - births[session])
                    await past.register(established(session, established_at=ago(began)))
        return await past.live()
    finally:
        await engine.dispose()


async def test_that_the_property_can_fail(past: Past) -> None:
    """The control: forgetting a revocation too early does bring a session back."""
    await past.register(established("a"))
    await past.apply(event("password-changed"))
    async with past.engine.begin() as connection:
        await connection.exec_driver_sql("truncate sessions, revocations")
    await past.register(established("a", established_at=ago(DAY)))
    assert await past.live() == {"a"}


async def test_that_a_subject_is_erased_and_nobody_else(past: Past, env: Mapping[str, str]) -> None:
    for subject in ("alice", "bob"):
        await past.register(
            established("s-1", subject),
            event("token-issued", subject, data={"token_id": "t", "kind": "remember-me"}),
        )
        await past.apply(event("password-changed", subject))
    await past.register(established("s-2", "alice2"))
    await past.move(LIFETIME + DAY)

    asked = await run(env, "erase", "alice")
    assert asked.code == 2
    assert "1 sessions (0 live), 1 tokens, 1 revocations" in asked.err
    assert (await past.rows())["sessions"] == 3

    done = await run(env, "erase", "alice", "--yes")
    assert (done.code, done.err) == (0, "")
    assert "1 sessions, 1 tokens, 1 revocations" in done.out
    assert await past.rows() == {"sessions": 2, "tokens": 1, "revocations": 1, "batches": 2}
    assert (await run(env, "erase", "alice", "--yes")).code == 3
    assert (await run(env, "erase", "bob", "--tenant", "acme", "--yes")).code == 3


async def test_that_erasing_is_refused_while_a_revocation_is_needed(past: Past, env: Mapping[str, str]) -> None:
    await past.register(established("s-1"))
    await past.apply(event("password-changed"))
    refused = await run(env, "erase", "alice", "--yes")
    assert (refused.code, refused.out) == (5, "")
    assert "covers until" in refused.err
    assert (await past.rows())["sessions"] == 1

    forced = await run(env, "erase", "alice", "--yes", "--force", "--json")
    assert (forced.code, forced.json["deleted"]) == (
        0,
        {"sessions": 1, "tokens": 0, "gateway_effects": 0, "revocations": 1},
    )


async def test_that_what_nobody_was_told_of_is_not_erased_by_force_either(past: Past, env: Mapping[str, str]) -> None:
    await past.register(established("s-1"))
    await past.apply(event("password-changed"), announced=False)
    await past.move(LIFETIME + DAY)
    done = await run(env, "erase", "alice", "--yes", "--force")
    assert done.code == 5
    assert "not announced" in done.err
    assert (await past.rows())["revocations"] == 1


async def test_that_live_sessions_that_are_forgotten_are_told(past: Past, env: Mapping[str, str]) -> None:
    await past.register(established("s-1"), established("s-2"))
    done = await run(env, "erase", "alice", "--yes")
    assert done.code == 0
    assert "2 live sessions forgotten, not ended" in done.err


async def test_that_erasing_waits_for_whoever_works_on_the_subject(past: Past) -> None:
    await past.register(established("s-1"))
    async with past.engine.begin() as other:
        await other.exec_driver_sql("select pg_advisory_xact_lock_shared($1::bigint)", (lock_key("", "alice"),))
        waiting = asyncio.create_task(erase.erase(past.engine, tenant="", subject="alice", force=False))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
    await waiting
    assert (await past.rows())["sessions"] == 0


async def test_that_a_revocation_that_comes_meanwhile_stops_the_erasing(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revoker.storage.erasing.CHUNK", 10)
    await past.register(*(established(f"s-{n}") for n in range(25)))
    walk = erasing.erase(past.engine, tenant="", subject="alice", force=False)
    assert [await anext(walk), await anext(walk)] == [("tokens", 0), ("sessions", 10)]
    await past.apply(event("password-changed"))
    assert [deleted async for deleted in walk] == []
    assert (await past.rows())["sessions"] == 15
    with pytest.raises(RefusedError):
        await erase.erase(past.engine, tenant="", subject="alice", force=False)
