"""Revocations: a backlog of password changes of four sessions each. Event by event, in idle: `benchmarks.latency`.

the product     the revocation lane alone, in processes of one group (`--processes`), as `benchmarks.product` times it
bare            the batch UPDATE … RETURNING and the insert of the events, on one connection, a commit a batch
the newcomer    `benchmarks.newcomer`, on a smaller backlog of the same, in each round behind the others
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from benchmarks import latency, race
from benchmarks.bare import Bare, Revoking
from benchmarks.errors import BenchmarkError
from benchmarks.events import password_changes
from benchmarks.figures import Goal, Note, Row
from benchmarks.ground import SESSIONS_EACH, Ground, bare_connection
from benchmarks.kafka import Record
from benchmarks.naive import newcomer
from benchmarks.plan import Plan
from benchmarks.product import product
from benchmarks.race import Race
from schemas.topics import Topic

_DONE: Final = """
select (select count(*) from sessions where tenant = $1 and ended_at is not null),
    (select count(*) from revocations where tenant = $1)"""
_NAME: Final = "revocations"


class Revocations:
    """`benchmarks.race.Discipline`."""

    name = _NAME
    lane = "revocation"
    topic = Topic.IDENTITY_EVENTS
    told = 1

    async def lay_out(self, ground: Ground, tenant: str, count: int) -> None:
        """Four sessions for each event."""
        await ground.seed(tenant, count)

    def backlog(self, tenant: str, count: int) -> list[Record]:
        """Password changes."""
        return password_changes(tenant, count)

    def bare(self, tenant: str, count: int, size: int) -> Bare:
        """UPDATE and INSERT."""
        return Revoking(tenant, count, size)

    async def check(self, ground: Ground, tenant: str, count: int) -> None:
        """All sessions are ended, all events stored."""
        ended, stored = await ground.sql.fetchrow(_DONE, tenant)
        if (ended, stored) != (count * SESSIONS_EACH, count):
            raise BenchmarkError(f"{tenant}: {ended} sessions ended and {stored} revocations by {count} events")


async def measure(ground: Ground, plan: Plan, say: Callable[[str], None]) -> tuple[list[Row], list[Note], str]:
    """As many of the rows as are wanted."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(product(ground, Revocations.lane, Revocations.topic, plan))
        connection = await stack.enter_async_context(bare_connection(ground.settings))
        contest = Race(ground, Revocations(), running, connection, plan, plan.events)
        await contest.warm_up()
        rows: list[Row] = []
        notes: list[Note] = []
        profile = ""
        if {"revocations", "newcomer"} & set(plan.rows):
            rows, notes, profile = await _rounds(contest, stack, say)
        if "idle" in plan.rows:
            more, note = await latency.measure(ground, running, plan.idle_events)
            rows += more
            notes.append(note)
    return rows, notes, profile


async def _rounds(
    contest: Race, stack: AsyncExitStack, say: Callable[[str], None]
) -> tuple[list[Row], list[Note], str]:
    ground, plan = contest.ground, contest.plan
    naive: list[float] = []
    if "newcomer" in plan.rows:
        beginner = await stack.enter_async_context(newcomer(ground))

        async def before(number: int) -> None:
            await ground.seed(f"newcomer-{number}", plan.newcomer_events)

        async def after(number: int) -> None:
            tenant = f"newcomer-{number}"
            naive.append(await beginner.work_off(password_changes(tenant, plan.newcomer_events)))
            ended, _ = await ground.sql.fetchrow(_DONE, tenant)
            if ended != plan.newcomer_events * SESSIONS_EACH:
                raise BenchmarkError(f"{tenant}: {ended} sessions ended by {plan.newcomer_events} events")
            say(f"newcomer, round {number}: {naive[-1]:.1f}/s")

        rounds = await contest.run(say, before, after)
    else:
        rounds = await contest.run(say)
    against = "the bare batch UPDATE … RETURNING and the insert of the events, one connection"
    rows = [race.row(_NAME, against, rounds, Goal(0.8, 1.0), "events/s")]
    if naive:
        against = "FastStream and SQLModel event by event, as a newcomer writes it"
        rows.append(replace(rows[0], name="the same", against=against, other=naive, goal=Goal(300)))
    return rows, race.notes(_NAME, rounds, ground.settings, plan.processes), race.profile(_NAME, rounds)
