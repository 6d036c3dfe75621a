"""`revoker watch` as a real process: it follows, it filters, and Ctrl-C ends it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from revoker.service import topics
from revoker.settings import Settings
from tests.integration.cli_worker import NOWHERE, ROOT, Worker, command, environment, established, event, working


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[Worker]:
    await topics.ensure(settings)
    async with working(settings) as at_work:
        yield at_work


class Watching:
    """A running `revoker watch`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def end(self, number: signal.Signals) -> tuple[int | None, str, str]:
        self.process.send_signal(number)
        async with asyncio.timeout(20):
            out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def watching(settings: Settings, *words: str) -> AsyncIterator[Watching]:
    process = await asyncio.create_subprocess_exec(
        *command("watch", *words),
        env={**os.environ, **environment(settings)},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            assert b"watching" in await process.stderr.readline()
        yield Watching(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_that_it_follows_from_now_on_and_ctrl_c_ends_it_cleanly(worker: Worker, number: signal.Signals) -> None:
    await worker.register(established("s-0", client_id="web"))
    await worker.send("identity-events", event("logged-out", data={"session_id": "s-0"}))
    await worker.register(*(established(f"s-{n}", client_id="web") for n in (1, 2)))
    async with watching(worker.settings) as watch:
        await worker.send("identity-events", event("password-changed"))
        line = await watch.line()
        for words in ("alice", "password-changed", "ended", "2 sessions (web)", " ms"):
            assert words in line
        assert await watch.end(number) == (0, "", "")


async def test_that_it_shows_what_was_there_and_only_the_subject_wanted(worker: Worker) -> None:
    for subject in ("bob", "alice"):
        await worker.register(established("s", subject=subject))
        await worker.send("identity-events", event("account-disabled", subject), key=subject.encode())
    async with watching(worker.settings, "--from-beginning", "--subject", "alice", "--json") as watch:
        said = json.loads(await watch.line())
        assert (said["notification"]["subject"], said["notification"]["data"]["cause"]) == ("alice", "account-disabled")
        assert said["notification"]["data"]["sessions"][0]["session_id"] == "s"
        assert 0 <= said["milliseconds"] < 20_000
        assert said["received_at"] == said["appended_at"]
        await worker.send("identity-events", event("logged-out", "bob", data={"session_id": "x"}), key=b"bob")
        await worker.send("identity-events", event("logged-out", data={"session_id": "y"}))
        assert json.loads(await watch.line())["notification"]["data"]["selector"]["session_id"] == "y"
        assert (await watch.end(signal.SIGINT))[:2] == (0, "")


async def test_that_a_record_that_cannot_be_read_is_one_line_and_no_end(worker: Worker) -> None:
    async with watching(worker.settings) as watch:
        topic = worker.settings.topic("session-ended")
        await worker.producer.send_and_wait(topic, b"\x1b[31mjunk", key=b"k")
        assert "cannot be read" in await watch.line()
        await worker.producer.send_and_wait(topic, None, key=b"k")
        assert "cannot be read" in await watch.line()
        assert (await watch.end(signal.SIGINT))[0] == 0


async def test_that_a_kafka_that_is_away_is_exit_6(settings: Settings) -> None:
    env = {**os.environ, **environment(settings), "REVOKER_KAFKA_BOOTSTRAP_SERVERS": NOWHERE}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command("watch"), env=env, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert (process.returncode, out, len(err.splitlines())) == (6, b"", 1)


async def test_that_a_reader_who_leaves_is_no_defect(worker: Worker) -> None:
    async with watching(worker.settings) as watch:
        assert watch.process.stdout is not None
        watch.process.stdout._transport.close()  # type: ignore[attr-defined]  # closes our end of the pipe
        for _ in range(2):
            await worker.send("identity-events", event("password-changed"))
        assert watch.process.stderr is not None
        async with asyncio.timeout(20):
            assert await watch.process.stderr.read() == b""
            assert await watch.process.wait() == 141
