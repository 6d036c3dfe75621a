"""`revoker demo` as a person meets it: what it prints, that the printed commands work, and that nothing of it stays."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from revoker.cli.demo.play import play
from revoker.cli.demo.story import COMMANDS
from revoker.cli.demo.telling import Teller
from revoker.embedded import DataDirectoryError, EmbeddedServers, KafkaUnavailableError
from tests.demo import PATIENCE, Demo, assert_nothing_left, processes_of

# It is started often here, and twice in one test.
pytestmark = pytest.mark.timeout(240)
START, PEOPLE, INVITATION = "Starting real servers", "Four people", "Now you"


@pytest.fixture
def folder() -> Iterator[Path]:
    """The temp folder of one demo, and so the mark of all its processes. PostgreSQL must be able to pass it as root."""
    path = Path(tempfile.mkdtemp(prefix="demo-test-")).resolve()
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


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
        closed = re.findall(r"✗ (\d+ sockets|socket) closed .*\d ms after the event: 4401 (\S+)", demo.text)
        assert closed == [
            ("2 sockets", "password-changed"),
            ("socket", "email-changed"),
            ("socket", "logged-out"),
            ("2 sockets", "security-concern-reported"),
        ]
        assert re.search(r"6 sockets, each closed after \d+ to [\d,]+ ms", demo.text)
        assert_nothing_left(folder, 0)


def test_what_it_invites_to_works_until_ctrl_c_and_a_kept_one_goes_on(folder: Path) -> None:
    data = folder / "kept"
    with Demo(folder, "--data", str(data)) as demo:
        demo.until("Everything stays up")
        invitation = demo.text.partition(INVITATION)[2].partition("over HTTP")[0]
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
        next(p for p in processes_of(data) if p.cmdline()[-1:] == ["serve"]).kill()
        assert again.code() == 1
        assert "the API ended with exit code -9" in again.text
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
        ("the consumers work", signal.SIGINT),
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
        assert_nothing_left(folder, 10)


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
