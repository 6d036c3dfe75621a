"""What the demo prints: plain lines, colours in a terminal, nothing that moves."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from rich.text import Text

from revoker.cli.demo.issuer.codes import LASTS_MINUTES
from revoker.cli.output import ago, console, plain

if TYPE_CHECKING:
    from revoker.cli.demo.curl import Step
    from revoker.storage.reading import SessionFound

_DEVICE: Final = 28
_SESSION: Final = 20


class Teller:
    """Says what happens."""

    def __init__(self) -> None:
        self._out = console()
        self.is_terminal = self._out.is_terminal
        """Whether a person is reading along."""

    def title(self, text: str) -> None:
        """What the next lines are about."""
        self._line()
        self._line(Text(text, style="bold"))

    def progress(self, text: str) -> None:
        """A step of the start."""
        self._line(Text(f"  {text}", style="dim"))

    def signed_in(self, subject: str, sessions: "Sequence[SessionFound]", now: datetime) -> None:
        """Somebody's devices, as the registry knows them."""
        for number, one in enumerate(sessions):
            name = "" if number else subject
            began = Text(f" since {ago(one.established_at, now)}", style="dim")
            self._line(Text(f"  {name:<8}"), _device(one, _SESSION), began)

    def sent(self, type_: str, topic: str) -> None:
        """What goes to Kafka."""
        self._line(Text("  → ", style="cyan"), Text(type_, style="cyan"), Text(f" on {topic}", style="dim"))

    def came_back(self, type_: str, whose: str, seconds: float, why: str) -> None:
        """What comes from Kafka, and how long after."""
        self._line(
            Text("  ← ", style="magenta"),
            Text(type_, style="magenta"),
            Text(f" for {plain(whose)} after "),
            Text(f"{seconds * 1000:,.0f} ms", style="bold"),
            Text(f": {plain(why)}"),
        )

    def ended(self, ids: Iterable[str], known: "Mapping[str, SessionFound]") -> None:
        """Which devices are out."""
        for id_ in ids:
            device = _device(known[id_]) if id_ in known else Text(f"{'':<{_DEVICE}}{plain(id_)}")
            self._line(Text("    ended   ", style="red"), device)

    def lives_on(self, sessions: "Iterable[SessionFound]") -> None:
        """Which devices are not."""
        for one in sessions:
            self._line(Text("    lives   ", style="green"), _device(one))

    def set_aside(self, reason: str, seconds: float | None) -> None:
        """A record that nobody can read came to rejected-events."""
        self._line(
            Text("  ← ", style="magenta"),
            Text("rejected-events", style="yellow"),
            *(() if seconds is None else (" after ", Text(f"{seconds * 1000:,.0f} ms", style="bold"))),
            f": {plain(reason)}",
        )

    def closed(self, seconds: Sequence[float], why: Iterable[str]) -> None:
        """The sockets that the demo gateway closed, and how long after."""
        if not seconds:
            return
        what = "socket" if len(seconds) == 1 else f"{len(seconds)} sockets"
        least, most = (f"{each * 1000:,.0f}" for each in (min(seconds), max(seconds)))
        self._line(
            Text("  ✗ ", style="red"),
            Text(f"{what} closed "),
            Text(f"{least} ms" if least == most else f"{least} to {most} ms", style="bold"),
            Text(f" after the event: {plain(', '.join(why))}"),
        )

    def times(self, seconds: Sequence[float], until_closed: Sequence[float]) -> None:
        """All of them in two lines."""
        self.title(f"{len(seconds)} events, each back after {_spread(seconds)}")
        self._line("  from just before it was handed to Kafka until its effect was read from Kafka")
        self.title(f"{len(until_closed)} sockets, each closed after {_spread(until_closed)}")
        self._line("  from the same moment until the device had read 4401 from its WebSocket")

    def page(self, origin: str) -> None:
        """What to look at."""
        self.title("In your browser: everybody's devices, each with a live WebSocket, and buttons that end them")
        self._typed(f"{origin}/")

    def sign_in(self, subject: str, link: str, again: str) -> None:
        """Where to be a person."""
        self.title(f"Be {subject}, and see your devices (this link signs in once, within {LASTS_MINUTES} minutes)")
        self._typed(link)
        self._line(f"  In a second browser, as whom you like: {again}")

    def terminal(self, environment: Path, commands: Iterable[str]) -> None:
        """What to try."""
        self.title("Now you: in a second terminal")
        for command in (f"source {environment}", *commands):
            self._typed(command)

    def over_http(self, steps: "Iterable[Step]") -> None:
        """What to try with curl."""
        self.title("The same over HTTP: line by line, in that terminal")
        for step in steps:
            self._line(Text(f"  {step.said}", style="dim"))
            for line in step.lines:
                self._typed(f"  {line}")

    def stays(self, consumers: str, api: str) -> None:
        """How it goes on."""
        self._line()
        self._line(f"The consumers: {consumers}/readyz and {consumers}/metrics. The API: {api}/docs")
        self._line(
            "Everything stays up until Ctrl-C. What ends from now on is shown here, too, timed from its request."
        )

    def _typed(self, text: str) -> None:
        """What a person types or opens."""
        self._line(Text(f"  {text}", style="cyan"))

    def _line(self, *parts: Text | str) -> None:
        self._out.print(Text.assemble(*parts), soft_wrap=True)
        self._out.file.flush()


def _spread(seconds: Sequence[float]) -> str:
    least, middle, most = (f"{each * 1000:,.0f}" for each in (min(seconds), median(seconds), max(seconds)))
    return f"{least} to {most} ms, the middle one after {middle} ms"


def _device(one: "SessionFound", width: int = 0) -> Text:
    name, id_ = plain(one.device_name) or "unknown device", plain(one.session_id)
    return Text(f"{name:<{_DEVICE}}{id_:<{width}}")
