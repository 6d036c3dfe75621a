"""Registration: a backlog of sessions that were established, against the bare batch insert of the same columns."""

from collections.abc import Callable
from typing import Final

from benchmarks import race
from benchmarks.bare import Bare, Registering
from benchmarks.errors import BenchmarkError
from benchmarks.events import sessions_established
from benchmarks.figures import Goal, Note, Row
from benchmarks.ground import Ground, bare_connection
from benchmarks.kafka import Record
from benchmarks.plan import Plan
from benchmarks.product import product
from benchmarks.race import Race
from schemas.topics import Topic

_NAME: Final = "registration"


class Registrations:
    """`benchmarks.race.Discipline`."""

    name = _NAME
    lane = "registration"
    topic = Topic.SESSION_ACTIVITY
    told = 0

    async def lay_out(self, ground: Ground, tenant: str, count: int) -> None:
        """Nothing: the rows are what is made."""

    def backlog(self, tenant: str, count: int) -> list[Record]:
        """Sessions established."""
        return sessions_established(tenant, count)

    def bare(self, tenant: str, count: int, size: int) -> Bare:
        """INSERT."""
        return Registering(tenant, count, size)

    async def check(self, ground: Ground, tenant: str, count: int) -> None:
        """All sessions are there, and live."""
        there = await ground.sql.fetchval(
            "select count(*) from sessions where tenant = $1 and ended_at is null", tenant
        )
        if there != count:
            raise BenchmarkError(f"{tenant}: {there} of {count} sessions are registered")


async def measure(ground: Ground, plan: Plan, say: Callable[[str], None]) -> tuple[list[Row], list[Note], str]:
    """The row."""
    async with (
        product(ground, Registrations.lane, Registrations.topic, plan) as running,
        bare_connection(ground.settings) as connection,
    ):
        contest = Race(ground, Registrations(), running, connection, plan, plan.sessions)
        await contest.warm_up()
        rounds = await contest.run(say)
    against = "the bare batch INSERT of the same columns, one connection"
    rows = [race.row(_NAME, against, rounds, Goal(0.6), "sessions/s")]
    return rows, race.notes(_NAME, rounds, ground.settings, plan.processes), race.profile(_NAME, rounds)
