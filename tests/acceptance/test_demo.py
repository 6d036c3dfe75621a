"""`revoker demo` as a person meets it: what it prints, that the printed commands work, and that nothing of it stays."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from revoker.cli.demo.play import play
from revoker.cli.demo.story import COMMANDS
from revoker.cli.demo.telling import Teller
from revoker.embedded import DataDirectoryError, EmbeddedServers, KafkaUnavailableError

REVOKER = str(Path(sys.executable).with_name("revoker"))
START, PEOPLE, INVITATION = "Starting real servers", "Four people", "Now you"
# The others are busy; what is at stake here is whether it happens, not how fast.
PATIENCE = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """The temp folder of one demo, and so the mark of all its processes. PostgreSQL must be able to pass it as root."""
    path = Path(tempfile.mkdtemp(prefix="demo-test-")).resolve()
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


class Demo:
    """A demo in a session of its own, as in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str, through: tuple[str, ...] = ()) -> None:
        # What a person has set for other servers must not reach it.
        hostile = {"REVOKER_DATABASE_URL": "postgresql://nowhere.invalid/production", "REVOKER_TOPIC_PREFIX": "other-"}
        self.process = subprocess.Popen(
            [*through, REVOKER, "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | hostile | {"TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, words: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: words in self.text or not self._reader.is_alive(), PATIENCE), self.text
        assert words in self.text, self.text

    def interrupt(self, number: int = signal.SIGINT) -> None:
        os.killpg(self.process.pid, number)

    def code(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.text, self.text
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Everything that runs below the folder or was told of it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and str(folder) in " ".join([*process.cmdline(), process.cwd()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def assert_nothing_left(folder: Path, seconds: float, kept: str | None = None) -> None:
    deadline = time.monotonic() + seconds
    while left := [p.cmdline()[:3] for p in processes_of(folder) if p.is_running()] + [
        path.name for path in folder.iterdir() if path.name != kept
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_it_plays_the_story(folder: Path) -> None:
    with Demo(folder, "--once") as demo:
        code = demo.code()

        assert code == 0, demo.text
        for who, why, ended, lives in (
            ("alice", "Your password was changed", {"alice-laptop", "alice-office"}, {"alice-phone"}),
            ("bob", "Your e-mail address was changed", {"bob-tablet"}, {"bob-desktop"}),
            ("carol", "You signed out", {"carol-television"}, {"carol-phone", "carol-laptop", "carol-tablet"}),
            ("dave", "A security concern was reported", {"dave-laptop", "dave-tablet"}, {"dave-phone"}),
            ("alice, registered late", "Your password was changed", {"alice-tablet"}, {"alice-phone"}),
        ):
            scene = re.search(rf"← session-ended for {who} after ([\d,]+) ms: {why}\n((?:    .*\n)+)", demo.text)
            assert scene is not None, (who, demo.text)
            assert 0 < int(scene[1].replace(",", "")) < 10_000
            assert set(re.findall(r"ended .* (\S+)$", scene[2], re.MULTILINE)) == ended
            assert set(re.findall(r"lives .* (\S+)$", scene[2], re.MULTILINE)) == lives
        assert re.search(r"ended +Firefox on Windows +alice-office", demo.text)
        assert re.search(r"← rejected-events after \d+ ms: not-json", demo.text)
        assert re.search(r"6 events, each back after \d+ to [\d,]+ ms", demo.text)
        assert_nothing_left(folder, 0)


def test_what_it_invites_to_works_until_ctrl_c_and_a_kept_one_goes_on(folder: Path) -> None:
    data = folder / "kept"
    with Demo(folder, "--data", str(data)) as demo:
        demo.until("Everything stays up")
        invitation = demo.text.partition(INVITATION)[2].partition("The consumers")[0]
        source, *commands = (line.strip() for line in invitation.splitlines() if line.startswith("  "))
        assert len(commands) == len(COMMANDS)

        watching = printed(source, "revoker watch", folder)
        assert watching.stderr is not None
        assert "watching" in watching.stderr.readline()
        for command in commands[:-1]:
            with printed(source, command, folder) as run:
                out, complaints = run.communicate(timeout=PATIENCE)
            assert run.returncode == 0, (command, out, complaints)
            assert out.strip(), command
        demo.until("carol-laptop\n    lives")
        os.killpg(watching.pid, signal.SIGINT)
        seen, _ = watching.communicate(timeout=PATIENCE)
        assert watching.returncode == 0
        assert seen.count("carol") == 2, seen

        demo.interrupt()
        assert demo.code() == 0
        assert "← session-ended for carol after" in demo.text.partition(INVITATION)[2]
        assert_nothing_left(folder, 0, kept="kept")

    with Demo(folder, "--data", str(data)) as again:
        again.until(INVITATION)
        assert "session-ended for alice-2 after" in again.text
        next(p for p in processes_of(data) if p.cmdline()[1:2] == ["-P"]).kill()
        assert again.code() == 1
        assert "the consumers ended with exit code -9" in again.text
        assert_nothing_left(folder, 0, kept="kept")


def printed(source: str, command: str, folder: Path) -> "subprocess.Popen[str]":
    """A line as a person would copy it, in a terminal where something else was set up before."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "REVOKER_KAFKA_BOOTSTRAP_SERVERS": "nowhere.invalid:1"}
    return subprocess.Popen(
        ["bash", "-c", f"{source}\n{command}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (START, signal.SIGINT),
        ("is ready on", signal.SIGTERM),
        ("so are the topics", signal.SIGINT),
        (PEOPLE, signal.SIGHUP),
    ],
)
def test_it_goes_away_cleanly_at_any_time(folder: Path, moment: str, number: int) -> None:
    with Demo(folder) as demo:
        demo.until(moment)

        demo.interrupt(number)
        demo.interrupt(number)

        assert demo.code() == 0
        assert moment == START or demo.text.endswith("All stopped, nothing is left")
        assert_nothing_left(folder, 0)


def test_it_goes_when_its_parent_dies(folder: Path) -> None:
    with Demo(folder, through=("bash", "-c", '"$@"; true', "bash")) as demo:
        demo.until(START)

        demo.process.kill()

        assert_nothing_left(folder, 20)


def test_killed_it_leaves_nothing(folder: Path) -> None:
    with Demo(folder) as demo:
        demo.until(PEOPLE)
        assert len(processes_of(folder)) > 8

        demo.process.kill()

        assert_nothing_left(folder, 15)


@pytest.mark.parametrize(
    ("error", "code"),
    [(KafkaUnavailableError("the jars cannot be fetched\nno route"), 6), (DataDirectoryError("in use"), 2)],
)
async def test_what_it_cannot_start_it_says(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(_: EmbeddedServers) -> None:
        await asyncio.sleep(0)
        raise error

    monkeypatch.setattr(EmbeddedServers, "start", fail)

    assert await play(None, Teller(), once=True) == code

    told = capsys.readouterr().err.splitlines()
    assert told == [f"revoker: {line}" for line in str(error).splitlines()]
