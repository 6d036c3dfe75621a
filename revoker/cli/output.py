"""What people read, and what programs read.

For people: tables without frames that fit into 100 columns, times in the local zone with how long ago. In a pipe a row
is never broken for want of width. Every text that came from outside goes through `plain`: a terminal obeys control
characters, so it gets none. For programs: JSON in ASCII, times as on the wire.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.fields import wire_time

_PIPE_WIDTH: Final = 10_000
_DAY: Final = 86_400
_STEPS: Final = ((_DAY, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process by itself; `running` knows what that means."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output, taking nothing in a text for markup."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _Console(highlight=False, markup=False, emoji=False, width=_PIPE_WIDTH if piped else None)


def say(*lines: str) -> None:
    """Lines of our own words."""
    out = console()
    for line in lines:
        out.print(Text(line), soft_wrap=True)


def table(*columns: str) -> Table:
    """An empty table whose long cells fold instead of losing their ends."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def cell(*lines: str | None, style: str = "") -> Text:
    """A cell of our own words and `plain` texts; lines that are None are left out."""
    return Text("\n".join(line for line in lines if line is not None), style=style)


def show(made: Table) -> None:
    """Prints a table; what hangs over to the right as spaces is of no use in a pipe."""
    out = console()
    if out.width < _PIPE_WIDTH:
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def plain(text: str | None) -> str:
    """`text` without what a terminal would obey: control characters, line ends, marks of text direction."""
    if not text:
        return ""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def when(instant: datetime | None, now: datetime) -> str:
    """`21 Nov 09:31:05, 2 min ago`, in the local zone."""
    return "never" if instant is None else f"{local(instant, now)}, {ago(instant, now)}"


def local(instant: datetime, now: datetime) -> str:
    """Day and time in the local zone, with the year only where it is another."""
    here = instant.astimezone()
    day = f"{here.day} {here:%b}" + ("" if here.year == now.astimezone().year else f" {here.year}")
    return f"{day} {here:%H:%M:%S}"


def ago(instant: datetime, now: datetime) -> str:
    """How long before or after `now`, in the largest unit that fits."""
    seconds = int(abs((now - instant).total_seconds()))
    if not seconds:
        return "just now"
    size, unit = next(step for step in _STEPS if seconds >= step[0])
    length = f"{seconds // size} {unit}"
    return f"{length} ago" if instant < now else f"in {length}"


def milliseconds(length: timedelta) -> str:
    """`12 ms`, and seconds where they are many."""
    count = length / timedelta(milliseconds=1)
    return f"{count:,.0f} ms" if abs(count) < 10_000 else f"{count / 1000:,.1f} s"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 session`, `2 sessions`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def json_out(value: Any) -> None:  # noqa: ANN401 - whatever can be said in JSON
    """One JSON document."""
    sys.stdout.write(f"{json.dumps(as_json(value), indent=2)}\n")


def json_line(value: Any) -> None:  # noqa: ANN401 - as above
    """One JSON document on one line, at once."""
    sys.stdout.write(f"{json.dumps(as_json(value))}\n")
    sys.stdout.flush()


def as_json(value: Any) -> Any:  # noqa: ANN401 - as above
    """`value` as JSON can say it: times as on the wire, values as objects of their fields."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Iterable) and not isinstance(value, Enum):
        return [as_json(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:  # noqa: ANN401 - as above
    match value:
        case datetime():
            return wire_time(value.astimezone(UTC))
        case timedelta():
            return value / timedelta(milliseconds=1)
        case Enum():
            return value.value
        case UUID():
            return str(value)
        case _:
            raise TypeError(type(value).__name__)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of `names`, and how many more."""
    shown = ", ".join(plain(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
