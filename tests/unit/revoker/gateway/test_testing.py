"""The testing kit, as another team uses it."""

import inspect
import threading
from typing import Any

import pytest

from revoker.gateway import Hold, Revocation, SessionClaims, Stale, testing
from revoker.gateway.testing import TestGateway, ended, held, lifted
from schemas.session_ended import HoldLiftedNotice, HoldPlacedNotice, SessionEnded

ALICE = SessionClaims(subject="alice", session_id="s-1")


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_the_example_in_its_documentation_works() -> None:
    lines = inspect.getdoc(testing) or ""
    code = inspect.cleandoc("\n".join(line for line in lines.splitlines() if line.startswith("    ") or not line))
    namespace: dict[str, Any] = {}

    exec(code, namespace)  # noqa: S102 - our own
    namespace["test_a_password_change_closes_the_socket"]()


async def test_what_is_fed_is_applied() -> None:
    async with TestGateway() as gateway:
        assert gateway.find(ALICE) is None

        await gateway.feed(ended("alice", sessions=["s-1"], cause="logged-out"))
        found = gateway.find(ALICE)

        assert isinstance(found, Revocation)
        assert found.cause == "logged-out"


async def test_a_hold_is_lifted() -> None:
    async with TestGateway() as gateway:
        await gateway.feed(held("alice"))
        assert isinstance(gateway.check(ALICE), Hold)

        await gateway.feed(lifted())
        assert gateway.check(ALICE) is None


async def test_feeding_waits_until_what_it_concerns_is_closed() -> None:
    closed: list[object] = []

    async def close(verdict: object) -> None:
        closed.append(verdict)

    async with TestGateway() as gateway:
        gateway.connections.add(ALICE, close)

        await gateway.feed(ended("bob"), ended("alice", sessions=["s-1"]))

        assert len(closed) == 1


async def test_the_feed_can_be_lost_and_regained() -> None:
    async with TestGateway(mode="strict") as gateway:
        await gateway.ready(10)
        gateway._feed.lose()
        assert isinstance(gateway.check(ALICE), Stale)

        gateway._feed.regain()
        assert gateway.check(ALICE) is None


def test_a_gateway_in_a_thread_is_fed_from_another() -> None:
    closed = threading.Event()
    gateway = TestGateway()
    with gateway.run_in_thread():
        gateway.connections.add(ALICE, lambda _: closed.set())

        gateway.apply(ended("alice", sessions=["s-1"]))

        assert closed.is_set()


async def test_a_gateway_that_was_stopped_begins_anew() -> None:
    gateway = TestGateway()
    async with gateway:
        await gateway.feed(held("alice"))
    async with gateway:
        assert gateway.check(ALICE) is None
        await gateway.feed(held("alice"))
        assert isinstance(gateway.check(ALICE), Hold)


def test_one_that_is_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        TestGateway().apply(ended("alice"))


def test_the_notifications_are_those_of_the_contract() -> None:
    over = SessionEnded.model_validate_json(ended("alice", session_id="s-1", client_id="web", keep=["s-2"]))
    hold = HoldPlacedNotice.model_validate_json(held("alice", tenant="acme", hold_id="h-1"))
    lift = HoldLiftedNotice.model_validate_json(lifted("h-1"))

    assert (over.subject, over.data.selector.session_id, over.data.keep) == ("alice", "s-1", ("s-2",))
    assert (hold.data.hold_id, hold.data.selector.tenant, lift.data.hold_id) == ("h-1", "acme", "h-1")
