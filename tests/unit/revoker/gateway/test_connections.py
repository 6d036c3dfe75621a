"""Connections: whoever ends while it is being registered is closed all the same, once; and nobody waits for anybody."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from revoker.core.claims import SessionClaims
from revoker.core.index import Hit
from revoker.core.verdicts import Revocation
from revoker.gateway.connections import Connections, Handle
from revoker.gateway.refusals import Refusal

ENDED = Revocation(id="r-1", cause="password-changed", initiator="user", reason_user={})
DEADLINE = 30.0


def alice(session_id: str = "s-1", token_id: str | None = None) -> SessionClaims:
    return SessionClaims(subject="alice", session_id=session_id, token_id=token_id)


def of_subject(*names: str) -> Hit:
    return Hit(subjects=[("", name) for name in names])


@dataclass
class Dead:
    """An index that knows session ids."""

    session_ids: set[str] = field(default_factory=set)

    def find(self, claims: SessionClaims) -> Refusal | None:
        return ENDED if claims.session_id in self.session_ids else None


@pytest.fixture
def dead() -> Dead:
    return Dead()


@pytest.fixture
def connections(dead: Dead) -> Connections:
    return Connections(dead.find, close_grace=0.05)


async def test_a_connection_is_closed_with_the_verdict_once(dead: Dead, connections: Connections) -> None:
    closed: list[Refusal] = []
    handle = connections.add(alice(), closed.append)
    dead.session_ids.add("s-1")

    dropped = await connections.drop(of_subject("alice"), dead.find)
    again = await connections.drop(of_subject("alice"), dead.find)
    handle.remove()

    assert closed == [ENDED]
    assert (dropped.count, again.count) == (1, 0)
    assert handle.verdict is ENDED
    assert len(connections) == 0


async def test_who_is_dead_already_is_closed_within_add(dead: Dead, connections: Connections) -> None:
    dead.session_ids.add("s-1")
    closed: list[Refusal] = []

    handle = connections.add(alice(), closed.append)

    assert closed == [ENDED]
    assert handle.verdict is ENDED
    assert len(connections) == 0


async def test_one_dead_claim_of_several_is_enough(dead: Dead, connections: Connections) -> None:
    closed: list[Refusal] = []
    connections.add([SessionClaims(subject="mallory", session_id="made-up"), alice()], closed.append)
    dead.session_ids.add("s-1")

    await connections.drop(Hit(session_ids=[("", "s-1")]), dead.find)

    assert closed == [ENDED]


async def test_what_is_removed_is_never_closed(dead: Dead, connections: Connections) -> None:
    closed: list[Refusal] = []
    with connections.add(alice(), closed.append) as handle:
        pass
    handle.remove()
    dead.session_ids.add("s-1")

    dropped = await connections.drop(of_subject("alice"), dead.find)
    handle.drop(ENDED)

    assert (closed, dropped.count, len(connections)) == ([], 0, 0)


@pytest.mark.parametrize(
    "hit",
    [
        of_subject("alice"),
        Hit(session_ids=[("", "s-1")]),
        Hit(token_ids=[("", "t-1")]),
        Hit(wide=True),
        Hit(subjects=[("", "alice")], session_ids=[("", "s-1")], token_ids=[("", "t-1")]),
    ],
)
async def test_a_connection_is_found_by_all_that_it_is_known_by(hit: Hit, dead: Dead, connections: Connections) -> None:
    closed: list[Refusal] = []
    connections.add(alice(token_id="t-1"), closed.append)
    connections.add(SessionClaims(subject="alice", tenant="acme", session_id="s-1", token_id="t-1"), lambda _: None)
    dead.session_ids.add("s-1")

    dropped = await connections.drop(hit, lambda claims: None if claims.tenant else dead.find(claims))

    assert closed == [ENDED]
    assert dropped.count == 1
    assert len(connections) == 1


async def test_a_hit_alone_closes_nobody(dead: Dead, connections: Connections) -> None:
    connections.add(alice("kept"), lambda _: pytest.fail("the kept session"))

    assert (await connections.drop(Hit(wide=True), dead.find)).count == 0
    assert len(connections) == 1


async def test_all_can_be_dropped(connections: Connections) -> None:
    for number in range(1000):
        connections.add(alice(str(number)), lambda _: None)

    assert (await connections.drop_all(ENDED)).count == 1000
    assert len(connections) == 0


async def test_a_close_that_fails_stops_no_other(
    dead: Dead, connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[Refusal] = []

    def fails(_: Refusal) -> None:
        raise OSError("sync")

    async def fails_later(_: Refusal) -> None:
        raise OSError("async")

    for close in (closed.append, fails, closed.append, fails_later, closed.append):
        connections.add(alice(), close)
    dead.session_ids.add("s-1")

    dropped = await connections.drop(of_subject("alice"), dead.find)

    assert (dropped.count, dropped.failed, dropped.aborted) == (5, 2, 0)
    assert len(closed) == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]


async def test_who_does_not_close_in_time_is_aborted_and_holds_up_nobody(dead: Dead) -> None:
    connections = Connections(dead.find, close_grace=1.0)
    told: list[str] = []

    async def hangs(_: Refusal) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append("aborted")

    for number in range(500):
        connections.add(alice(), (lambda _: told.append("closed")) if number % 2 else hangs)
    dead.session_ids.add("s-1")

    async with asyncio.timeout(DEADLINE):
        dropped = await connections.drop(of_subject("alice"), dead.find)

    assert (dropped.count, dropped.failed, dropped.aborted) == (500, 0, 250)
    assert sorted(told) == ["aborted"] * 250 + ["closed"] * 250
    assert told[:125] == ["closed"] * 125


async def test_one_that_will_not_even_be_aborted_holds_up_nobody(dead: Dead, connections: Connections) -> None:
    over = asyncio.Event()

    async def stubborn(_: Refusal) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    handle = connections.add(alice(), stubborn)
    dead.session_ids.add("s-1")

    async with asyncio.timeout(DEADLINE):
        dropped = await connections.drop(of_subject("alice"), dead.find)
    over.set()
    async with asyncio.timeout(DEADLINE):
        await handle.closed()

    assert dropped.aborted == 1


async def test_everybody_else_is_served_while_many_are_closed(dead: Dead, connections: Connections) -> None:
    turns = 0

    async def someone_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def takes_a_millisecond(_: Refusal) -> None:
        began = time.monotonic()
        while time.monotonic() < began + 0.001:
            pass

    for _ in range(200):
        connections.add(alice(), takes_a_millisecond)
    dead.session_ids.add("s-1")
    other = asyncio.create_task(someone_else())

    await connections.drop(of_subject("alice"), dead.find)
    other.cancel()

    assert turns > 5


async def test_the_end_of_a_drop_can_be_awaited(dead: Dead, connections: Connections) -> None:
    said: list[str] = []

    async def close(_: Refusal) -> None:
        await asyncio.sleep(0)
        said.append("bye")

    dead.session_ids.add("s-1")
    handle = connections.add(alice(), close)
    await handle.closed()

    assert said == ["bye"]


async def test_a_check_that_raises_leaves_nothing_behind() -> None:
    def broken(_: SessionClaims) -> Refusal | None:
        raise LookupError("a bug")

    connections = Connections(broken)

    with pytest.raises(LookupError):
        connections.add(alice(), lambda _: None)
    assert len(connections) == 0


# Threads


@dataclass
class Elsewhere:
    """An event loop in a thread of its own."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def add(self, connections: Connections, close: Callable[[Refusal], object]) -> Handle:
        async def there() -> Handle:
            return connections.add(alice(), close)  # type: ignore[arg-type]

        return asyncio.run_coroutine_threadsafe(there(), self.loop).result(DEADLINE)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as running:
        yield running


async def test_a_connection_is_closed_in_the_loop_where_it_lives(
    dead: Dead, connections: Connections, elsewhere: Elsewhere
) -> None:
    places: list[asyncio.AbstractEventLoop] = []

    async def close(_: Refusal) -> None:
        places.append(asyncio.get_running_loop())

    elsewhere.add(connections, close)
    elsewhere.add(connections, lambda _: places.append(asyncio.get_running_loop()))
    connections.add(alice(), close)
    dead.session_ids.add("s-1")

    dropped = await connections.drop(of_subject("alice"), dead.find)

    assert dropped.count == 3
    assert sorted(place is elsewhere.loop for place in places) == [False, True, True]


async def test_a_loop_that_is_gone_stops_nobody(dead: Dead) -> None:
    connections = Connections(dead.find, close_grace=DEADLINE)
    closed: list[Refusal] = []
    with Elsewhere() as gone:
        gone.add(connections, lambda _: None)
    connections.add(alice(), closed.append)
    dead.session_ids.add("s-1")

    dropped = await connections.drop(of_subject("alice"), dead.find)

    assert (dropped.count, dropped.failed, closed) == (2, 1, [ENDED])


def test_without_any_loop_close_is_called_in_this_thread(dead: Dead, connections: Connections) -> None:
    places: list[threading.Thread] = []

    async def close(_: Refusal) -> None:
        places.append(threading.current_thread())

    dead.session_ids.add("s-1")
    connections.add(alice(), close)
    connections.add(alice(), lambda _: places.append(threading.current_thread()))

    assert places == [threading.current_thread()] * 2


def test_a_thread_may_drop_what_lives_in_a_loop(connections: Connections, elsewhere: Elsewhere) -> None:
    closed = threading.Event()

    async def close(_: Refusal) -> None:
        closed.set()

    handle = elsewhere.add(connections, close)
    handle.drop(ENDED)

    assert closed.wait(DEADLINE)
    assert handle.verdict is ENDED


# The race between a handshake and a revocation

RACES = 2_000


def add_right(connections: Connections, claims: SessionClaims, close: Callable[[Refusal], None]) -> None:
    connections.add(claims, close)


def add_wrong(connections: Connections, claims: SessionClaims, close: Callable[[Refusal], None]) -> None:
    """As it is done where it goes wrong: look first, register afterwards."""
    verdict = connections.judged([claims])
    if verdict is not None:
        close(verdict)
        return
    blind = Connections(lambda _: None)
    handle = blind.add(claims, close)
    handle._connections = connections
    with connections._lock:
        connections._enter(handle)


class Hesitant(Dead):
    """Takes its time between looking and answering, so that the other thread may be anywhere by then."""

    def find(self, claims: SessionClaims) -> Refusal | None:
        found = super().find(claims)
        hesitate()
        return found


def hesitate() -> None:
    """Long enough for the other thread to do all of its part, or none, or half."""
    time.sleep(random.random() * 1e-4)


def race(add: Callable[[Connections, SessionClaims, Callable[[Refusal], None]], None]) -> list[int]:
    """How often each of many connections was closed, each racing with its own revocation in another thread."""
    dead = Hesitant()
    connections = Connections(dead.find)
    closed = [0] * RACES
    start = threading.Barrier(2)

    def closing(number: int) -> Callable[[Refusal], None]:
        def close(_: Refusal) -> None:
            closed[number] += 1

        return close

    def handshakes() -> None:
        for number in range(RACES):
            start.wait(DEADLINE)
            hesitate()
            add(connections, alice(str(number)), closing(number))

    async def revocations() -> None:
        for number in range(RACES):
            start.wait(DEADLINE)
            hesitate()
            dead.session_ids.add(str(number))
            await connections.drop(Hit(session_ids=[("", str(number))]), dead.find)

    thread = threading.Thread(target=handshakes)
    thread.start()
    asyncio.run(revocations())
    thread.join(DEADLINE)
    return closed


def test_no_session_slips_between_its_handshake_and_its_registration() -> None:
    assert set(race(add_right)) == {1}


def test_the_race_catches_who_registers_too_late() -> None:
    closed = race(add_wrong)

    assert closed.count(0) > 0
    assert max(closed) == 1
