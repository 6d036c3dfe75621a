"""What a receipt says, how often one goes out, and what becomes of one that nobody took."""

import asyncio
import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from revoker.core.claims import SessionClaims
from revoker.gateway import receipts
from revoker.gateway.clock import ServiceClock
from revoker.gateway.errors import ReceiptError
from revoker.gateway.ledger import Ledger
from revoker.gateway.receipts import MAX_BYTES, Identity, Reporter, Standing
from schemas import codec, inputs

IDENTITY = Identity(gateway="chat", instance="pod-1", incarnation="i-1", mode="strict", max_staleness=10.0)
SOURCE = inputs.Input(topic="gateway-receipts", lane=inputs.Lane.REGISTRATION)


class Service:
    """Takes receipts, or does not."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.at: list[float] = []
        self.is_away = False

    async def send(self, key: bytes, body: bytes) -> None:
        assert key == b"pod-1"
        self.at.append(time.monotonic())
        if self.is_away:
            raise ReceiptError("away")
        codec.decode(codec.RECEIPTS, SOURCE, body)
        self.bodies.append(body)

    async def close(self) -> None: ...

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body)["data"] for body in self.bodies]


class Teller:
    """A reporter, and what it stands on."""

    def __init__(self) -> None:
        self.service = Service()
        self.ledger = Ledger()
        self.clock = ServiceClock()
        self.standing = Standing(state="serving", epoch="e1", position="e1.5")
        self.acknowledged = 0
        self.reporter = Reporter(
            IDENTITY,
            self.ledger,
            self.service,
            self.clock,
            standing=lambda: self.standing,
            acknowledged=self._acknowledge,
        )

    def _acknowledge(self) -> None:
        self.acknowledged += 1


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


@pytest.fixture
def teller() -> Teller:
    return Teller()


async def reporting(teller: Teller, condition: Callable[[], object]) -> None:
    task = asyncio.create_task(teller.reporter.run())
    try:
        await until(condition)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_first_goes_out_at_once(teller: Teller) -> None:
    await reporting(teller, lambda: teller.acknowledged)

    [told] = teller.service.told
    assert (told["state"], told["position"], told["epoch"]) == ("serving", "e1.5", "e1")
    assert teller.reporter.error is None


async def test_no_more_than_four_a_second_go_out_whatever_happens(teller: Teller) -> None:
    def changes() -> bool:
        teller.ledger.touch()
        return len(teller.service.at) >= 5

    await reporting(teller, changes)

    at = teller.service.at
    assert min(later - earlier for earlier, later in pairwise(at)) >= 0.25


async def test_where_nothing_changes_one_goes_out_all_the_same(teller: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    assert receipts._EVERY_SECONDS < 5
    monkeypatch.setattr(receipts, "_EVERY_SECONDS", 0.3)

    await reporting(teller, lambda: len(teller.service.bodies) >= 3)

    assert {told["position"] for told in teller.service.told} == {"e1.5"}


async def test_one_that_nobody_took_is_sent_again_as_it_was(teller: Teller) -> None:
    teller.service.is_away = True
    teller.ledger.applied("r-1", time.time(), 3, 0)

    def comes_back() -> bool:
        if len(teller.service.at) == 2:
            assert teller.reporter.error == "away"
            teller.service.is_away = False
            teller.standing = Standing(state="serving", epoch="e1", position="e1.9")
        return len(teller.service.bodies) >= 1

    await reporting(teller, comes_back)

    assert teller.service.told[0]["position"] == "e1.5"
    assert [entry["connections_dropped"] for entry in teller.service.told[0]["applied"]] == [3]


async def test_times_never_go_back_even_if_the_clock_does(teller: Teller) -> None:
    await reporting(teller, lambda: teller.acknowledged)
    teller.clock.hear(time.time() - 7_200)
    teller.ledger.touch()
    await reporting(teller, lambda: teller.acknowledged == 2)

    first, second = (told["at"] for told in teller.service.told)
    assert first < second


async def test_what_does_not_fit_goes_along_with_the_next(teller: Teller) -> None:
    ids = [f"{number:03d}-" + "ü" * 240 for number in range(250)]
    for id_ in ids:
        teller.ledger.applied(id_, time.time(), 1, 0)
        teller.ledger.refused(id_, "203.0.113.9", verified=False)

    await reporting(teller, lambda: sum(len(told["refused"]) for told in teller.service.told) == 250)

    assert max(map(len, teller.service.bodies)) <= MAX_BYTES
    assert [entry["revocation_id"] for told in teller.service.told for entry in told["applied"]] == ids


async def test_the_last_word_comes_last(teller: Teller) -> None:
    for number in range(600):
        teller.ledger.applied(f"r-{number}", time.time(), 1, 0)
    await reporting(teller, lambda: teller.acknowledged)
    teller.standing = Standing(state="stopped", epoch="e1", position="e1.5")

    assert await teller.reporter.farewell(5)

    assert [told["state"] for told in teller.service.told][-1] == "stopped"
    assert sum(len(told["applied"]) for told in teller.service.told) == 600


async def test_what_was_built_before_is_not_the_last_word(teller: Teller) -> None:
    await reporting(teller, lambda: teller.acknowledged)
    teller.service.is_away = True
    teller.ledger.touch()
    await reporting(teller, lambda: len(teller.service.at) >= 2)
    teller.service.is_away = False
    teller.standing = Standing(state="stopped", epoch="e1", position="e1.5")

    assert await teller.reporter.farewell(5)

    assert [told["state"] for told in teller.service.told] == ["serving", "serving", "stopped"]


async def test_nobody_waits_long_to_say_goodbye_to_whom_they_never_met(teller: Teller) -> None:
    teller.service.is_away = True
    started = time.monotonic()

    assert not await teller.reporter.farewell(60)

    assert time.monotonic() - started < 30


# The ledger


def test_many_tries_are_one_line_and_no_flood_of_ids_fills_the_memory() -> None:
    ledger = Ledger()
    for _ in range(5):
        ledger.refused("r-1", "203.0.113.9", verified=False)
    ledger.refused("r-1", "fe80::1%eth0", verified=True)
    for number in range(5_000):
        ledger.refused(f"x-{number}", None, verified=False)

    _, refused = ledger.take(10_000)

    assert (refused[0].count, refused[0].last_ip, refused[0].verified) == (6, "203.0.113.9", True)
    assert len(refused) == 1_000
    assert not ledger


def test_drops_of_one_revocation_add_up() -> None:
    ledger = Ledger()
    ledger.applied("r-1", 1.0, 2, 1)
    ledger.applied("r-1", 2.0, 3, 0)

    [entry], _ = ledger.take(10)

    assert (entry.applied_at, entry.connections_dropped, entry.cached_sessions_dropped) == (1.0, 5, 1)


def test_what_was_seen_once_can_be_seen() -> None:
    ledger = Ledger()
    assert ledger.attributes() == []

    ledger.last_claims = SessionClaims(subject="alice", session_id="s-1")
    ledger.attributes()
    ledger.last_claims = SessionClaims(subject="bob", ip="203.0.113.9", labels={"a": "b"})

    assert ledger.attributes() == ["ip_network", "labels", "session_id", "subject"]
