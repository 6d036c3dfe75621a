"""Brokers die, processes stand still and fork: a strict gateway never lets pass whom it cannot know of."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from revoker.core.claims import SessionClaims
from revoker.core.verdicts import Revocation
from revoker.embedded import EmbeddedKafka
from revoker.gateway.gateway import Gateway
from revoker.gateway.health import Stale
from tests import feeding
from tests.feeding import Topics, repeating, until_health
from tests.processes import ROOT

STALENESS = 2.0
BEFORE = time.time() - 600


def someone(subject: str) -> SessionClaims:
    return SessionClaims(subject=subject, session_id=f"of-{subject}", established_at=BEFORE)


@pytest.mark.timeout(180)
async def test_a_broker_is_killed_and_comes_back(own_kafka: EmbeddedKafka, topic_prefix: str) -> None:
    cut: list[object] = []
    async with feeding.topics(own_kafka.bootstrap_servers, topic_prefix) as topics:
        await topics.create(2)
        await topics.beat()
        await topics.end(feeding.notice("alice"))
        async with Gateway(
            "chat",
            bootstrap_servers=own_kafka.bootstrap_servers,
            topic_prefix=topic_prefix,
            mode="strict",
            max_staleness=STALENESS,
        ) as strict:
            await strict.ready(feeding.SECONDS)
            strict.connections.add(someone("bob"), cut.append)
            assert strict.check(someone("bob")) is None

            await own_kafka.kill()
            await feeding.until(lambda: cut)

            assert isinstance(cut[0], Stale)
            assert cut[0].age > STALENESS
            assert isinstance(strict.check(someone("bob")), Stale)
            assert isinstance(strict.check(someone("alice")), Revocation)
            assert len(strict.connections) == 0
            # A client that comes again and again meanwhile is not let in.
            assert isinstance(strict.connections.add(someone("bob"), cut.append).verdict, Stale)

            await own_kafka.restart()
            async with asyncio.timeout(feeding.SECONDS):
                await topics.end(feeding.notice("bob"), partition=1)
            await until_health(strict.health, lambda health: health.age < STALENESS and health.position == "e1.1.1")
            assert isinstance(strict.check(someone("bob")), Revocation)
            assert strict.check(someone("carol")) is None


@asynccontextmanager
async def spawned(topics: Topics, *arguments: str, **more: str) -> AsyncIterator[Process]:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(ROOT),
        "REVOKER_KAFKA_BOOTSTRAP_SERVERS": topics.bootstrap,
        "REVOKER_TOPIC_PREFIX": topics.prefix,
        "REVOKER_GATEWAY_MODE": "strict",
        "REVOKER_GATEWAY_MAX_STALENESS": str(STALENESS),
    }
    script = ROOT / "tests" / "faults" / "gateway_process.py"
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdout=PIPE, env=environment | more
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGCONT)
            child.kill()
        await child.wait()


async def said(child: Process, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The lines up to the one that makes them `enough`."""
    assert child.stdout is not None
    lines: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(feeding.SECONDS):
            while not enough(lines):
                line = await child.stdout.readline()
                assert line, f"it ended: {lines}"
                lines.append(json.loads(line))
    except TimeoutError:
        raise AssertionError(f"it never said that: {lines}") from None
    return lines


@pytest.mark.timeout(180)
async def test_a_process_that_stood_still_wakes_up_stale(kafka_bootstrap: str, topic_prefix: str) -> None:
    async with feeding.topics(kafka_bootstrap, topic_prefix) as topics:
        await topics.create(2)
        await topics.beat()
        async with repeating(topics.beat, 0.5), spawned(topics, "watch") as child:
            await said(child, lambda lines: {"subject": "bob", "verdict": "NoneType", "stood_still": False} in lines)

            child.send_signal(signal.SIGSTOP)
            await topics.end(feeding.notice("alice"))
            await asyncio.sleep(STALENESS + 1.5)
            child.send_signal(signal.SIGCONT)
            lines = await said(
                child,
                lambda lines: (
                    any(line.get("verdict") == "Revocation" for line in lines)
                    and any(
                        line.get("subject") == "bob" and line.get("verdict") == "NoneType" and not line["stood_still"]
                        for line in lines
                    )
                ),
            )

            woken = [line for line in lines if line.get("stood_still")]
            assert woken
            assert {line["verdict"] for line in woken} <= {"Stale", "Revocation"}
            assert {"cut": "Stale"} in lines
            alice = [line["verdict"] for line in lines if line.get("subject") == "alice"]
            assert alice[-1] == "Revocation"
            assert "NoneType" not in alice


@pytest.mark.timeout(180)
async def test_eight_forked_workers_are_eight_instances(kafka_bootstrap: str, topic_prefix: str) -> None:
    async with feeding.topics(kafka_bootstrap, topic_prefix) as topics:
        await topics.create(2)
        await topics.beat()
        await topics.end(feeding.notice("alice"))
        async with spawned(topics, "workers", "8") as child:
            lines = await said(child, lambda lines: len(lines) == 8)
            await child.wait()
        receipts = await topics.told(
            lambda told: len({receipt["instance"] for receipt in told if receipt["state"] == "stopped"}) == 9
        )

        assert {line["unstarted"] for line in lines} == {"Stale"}
        assert {line["alice"] for line in lines} == {"Revocation"}
        assert {line["bob"] for line in lines} == {"NoneType"}
        assert len({receipt["incarnation"] for receipt in receipts}) == 9
        assert child.returncode == 0
