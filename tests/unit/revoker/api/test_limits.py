"""Turns: everybody has some, nobody takes another's, and whoever must pass does."""

import asyncio

import pytest

from revoker.api.limits import Limits
from revoker.api.problems import ProblemError
from revoker.core.claims import SessionClaims
from revoker.settings import HttpSettings

ALICE = SessionClaims(subject="alice", session_id="s-1")
BOB = SessionClaims(subject="bob", session_id="s-2")


def limits(**given: int) -> Limits:
    return Limits(HttpSettings.model_validate({"person_rate": 1, "machine_rate": 50, "waiting": 2} | given))


async def turns(limits: Limits, count: int, who: SessionClaims = ALICE, *, must_pass: bool) -> list[asyncio.Task[None]]:
    """Requests at once; those that are given a turn, or refused, at once are done when it returns."""
    tasks = [asyncio.create_task(limits.turn(who, is_person=True, must_pass=must_pass)) for _ in range(count)]
    for _ in range(20):
        await asyncio.sleep(0)
    return tasks


async def left(tasks: list[asyncio.Task[None]]) -> None:
    """Nobody waits any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_more_at_once_wait_and_yet_more_are_sent_away() -> None:
    asked = await turns(limits(), 10, must_pass=False)
    done = [task for task in asked if task.done()]
    refused = [task.exception() for task in done if task.exception() is not None]

    assert (len(done), len(refused)) == (8, 7)
    assert all(isinstance(error, ProblemError) and error.status == 429 for error in refused)
    assert all(int(error.headers["Retry-After"]) >= 1 for error in refused if isinstance(error, ProblemError))
    await left(asked)


async def test_who_must_pass_waits_and_is_never_sent_away() -> None:
    asked = await turns(limits(), 4, must_pass=True)
    assert sum(task.done() for task in asked) == 1
    async with asyncio.timeout(30):
        await asyncio.gather(*asked)


async def test_others_have_turns_of_their_own() -> None:
    made = limits()
    waiting = await turns(made, 3, must_pass=True)
    async with asyncio.timeout(30):
        for who, is_person in ((BOB, True), (ALICE, False)):
            await made.turn(who, is_person=is_person, must_pass=False)
    assert sum(task.done() for task in waiting) == 1
    await left(waiting)


async def test_who_leaves_takes_no_turn() -> None:
    made = limits()
    asked = await turns(made, 3, must_pass=False)
    await left(asked)
    others = await turns(made, 2, must_pass=False)
    assert not [task for task in others if task.done()], "they are sent away for the sake of nobody"
    await left(others)


@pytest.mark.parametrize("must_pass", [True, False])
async def test_memory_is_bounded_and_forgets_nobody_who_waits(*, must_pass: bool) -> None:
    made = limits(remembered=100)
    waiting = await turns(made, 3, must_pass=must_pass)
    for number in range(1_000):
        await made.turn(SessionClaims(subject=f"p-{number}"), is_person=True, must_pass=must_pass)

    assert len(made) == 100
    again = await turns(made, 1, must_pass=must_pass)
    assert not again[0].done() or again[0].exception() is not None
    await left(waiting + again)
