"""The command line itself: help, misuse and what an exit code means, without any server."""

import os
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from revoker.cli import app
from revoker.cli.options import place, seconds
from revoker.cli.running import Exit, finish
from revoker.errors import ConfigurationError, PublishError, RevokerError, UnavailableError
from revoker.service.erase import RefusedError
from revoker.service.publish import MisusedError

HEAVY = ("sqlalchemy", "aiokafka", "alembic", "faststream", "redis", "uvicorn", "revoker.settings")


def ran(*words: str, **env: str) -> Any:
    ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("REVOKER_")}
    return CliRunner().invoke(app, words, env={**ours, "REVOKER_CONFIG": os.devnull, **env})


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    group = get_command(app)
    for name, command in getattr(group, "commands", {}).items():
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_that_every_command_explains_itself(words: tuple[str, ...]) -> None:
    done = ran(*words, "--help")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")
    assert done.output.splitlines()[2].strip()


def test_that_the_commands_are_those_of_the_design() -> None:
    assert {" ".join(words) for words in commands()} >= {
        *("demo", "migrate", "consumers", "topics", "sessions", "revoke", "revocations", "watch"),
        *("rejected list", "rejected replay", "prune", "erase", "doctor", "config"),
        *("gateways", "gateways retire"),
    }


def test_that_the_exit_codes_are_those_of_the_design() -> None:
    assert [code.value for code in Exit][:7] == [0, 1, 2, 3, 4, 5, 6]


def test_that_help_imports_nothing_heavy() -> None:
    script = f"""
import sys
from revoker.cli import app
try:
    app(["revoke", "--help"])
except SystemExit:
    pass
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(",".join(loaded) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ("revoke",),
        ("revoke", "alice", "--wait", "soon"),
        ("revoke", "alice", "--session", "a", "--keep", "b", "--dry-run"),
        ("revoke", "alice", "--client", "web"),
        ("revoke", "alice", "--client", "web", "--session", "a", "--session", "b"),
        ("rejected", "replay"),
        ("rejected", "replay", "--offset", "17"),
        ("rejected", "list", "--limit", "0"),
        ("consumers", "--only", "nobody"),
        ("revocations", "not-a-uuid"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_that_misuse_is_exit_2_with_a_reason_and_no_server_is_asked(words: tuple[str, ...]) -> None:
    done = ran(
        *words, REVOKER_DATABASE_URL="postgresql://127.0.0.1:1/none", REVOKER_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1"
    )
    assert done.exit_code == Exit.MISUSED
    assert done.stderr.strip()


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"REVOKER_LOG_LEVEL": "s3cret"}, "log_level"),
        ({"REVOKER_KAFKA__PARTITIONS": "s3cret"}, "kafka.partitions"),
        ({"REVOKER_INPUTS": "s3cret"}, "inputs"),
        ({"REVOKER_CONFIG": __file__}, "settings"),
        ({"REVOKER_DATABASE_URL_FILE": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_that_wrong_settings_are_one_line_that_names_the_key_and_not_the_value(env: dict[str, str], named: str) -> None:
    done = ran("config", **env)
    assert done.exit_code == Exit.MISUSED
    (line,) = done.stderr.splitlines()
    assert line.startswith("revoker: ")
    assert named in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (MisusedError("x"), 2),
        (UnavailableError("x"), 6),
        (PublishError("x"), 6),
        (RefusedError("x"), 5),
        (RevokerError("x"), 1),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [UnavailableError("x")])]), 6),
    ],
)
def test_that_each_failure_has_its_code_and_one_line(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> int:
        raise error

    with pytest.raises(typer.Exit) as exited:
        finish(fails)
    assert exited.value.exit_code == code
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError(), ExceptionGroup("tasks", [UnavailableError("x"), KeyError()])])
def test_that_a_defect_is_not_hidden(error: Exception) -> None:
    def fails() -> int:
        raise error

    with pytest.raises(type(error)):
        finish(fails)


@pytest.mark.parametrize(
    ("text", "length"), [("10s", 10.0), ("500ms", 0.5), ("1m", 60.0), ("2", 2.0), ("1.5 s", 1.5), ("0", 0.0)]
)
def test_that_lengths_are_read(text: str, length: float) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "s", "-1s", "10x", "1 0"])
def test_that_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds(text)


def test_that_places_are_read() -> None:
    assert place("2:17") == (2, 17)
    for text in ("2", ":1", "a:1", "1:-1", "²:1"):
        with pytest.raises(typer.BadParameter):
            place(text)
