"""What is printed is readable, and nothing in it commands the terminal."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import pytest

from revoker.cli import output

NOW = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    os.environ.setdefault("TZ", "UTC")
    time.tzset()


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Thing:
    at: datetime
    took: timedelta
    id: UUID
    colour: Colour
    names: tuple[str, ...]


@pytest.mark.parametrize(
    "hostile", ["\x1b[31m", "\x07", "a\nb", "\r", "\x9b2J", "\u202egnp.exe", "\u2066", "\ud800", "\x00", "\x7f"]
)
def test_that_no_terminal_obeys_what_came_from_outside(hostile: str) -> None:
    assert output.plain(hostile).isprintable()
    assert output.plain(hostile) != hostile


def test_that_ordinary_text_of_any_language_stays_as_it_is() -> None:
    assert output.plain("Änderung 変更 👍 [red]") == "Änderung 変更 👍 [red]"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (12, "12 s ago"),
        (190, "3 min ago"),
        (7_200, "2 h ago"),
        (900_000, "10 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_that_times_are_relative_in_the_largest_unit(seconds: int, said: str) -> None:
    assert output.ago(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.usefixtures("in_berlin")
def test_that_times_are_local_and_name_a_year_only_where_it_is_another() -> None:
    assert output.when(NOW, NOW) == "21 Nov 10:00:00, just now"
    assert output.local(NOW - timedelta(days=365), NOW) == "21 Nov 2025 10:00:00"


def test_that_json_has_the_times_of_the_wire_and_nothing_but_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = NOW.astimezone(tz=None)
    output.json_out(Thing(elsewhere, timedelta(seconds=1.5), UUID(int=1), Colour.RED, ("ä\x1b",)))
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert json.loads(printed) == {
        "at": "2026-11-21T09:00:00.000000Z",
        "took": 1500.0,
        "id": "00000000-0000-0000-0000-000000000001",
        "colour": "red",
        "names": ["ä\x1b"],
    }


def test_that_json_refuses_what_it_cannot_say() -> None:
    with pytest.raises(TypeError):
        output.as_json(object())


def test_that_a_row_is_one_line_in_a_pipe_and_nothing_in_it_is_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made = output.table("id", "text")
    made.add_row("x" * 400, "[bold]y[/bold] :smile:")
    output.show(made)
    _, row = capsys.readouterr().out.splitlines()
    assert row == f"{'x' * 400}  [bold]y[/bold] :smile:"


def test_that_long_ids_fold_in_a_narrow_terminal_and_lose_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    made = output.table("id", "more")
    digest = "0123456789abcdef" * 12
    made.add_row(digest, "z" * 30)
    output.show(made)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert "".join(line[: line.find("  ")] for line in lines[1:]).replace(" ", "") == digest


@pytest.mark.parametrize(
    ("length", "said"), [(timedelta(milliseconds=12.4), "12 ms"), (timedelta(seconds=61.25), "61.2 s")]
)
def test_that_short_waits_are_milliseconds(length: timedelta, said: str) -> None:
    assert output.milliseconds(length) == said


def test_that_lists_end_somewhere() -> None:
    assert output.listed(["a", "b\n", "c"], 2) == "a, b\\n and 1 more"
    assert (output.counted(1, "batch", "batches"), output.counted(2, "batch", "batches")) == ("1 batch", "2 batches")
