"""The arguments and options that several commands share."""

import re
from typing import Annotated, Final

import typer

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?")


def seconds(text: str) -> float:
    """`10s`, `500ms`, `1m`, `2`: in seconds."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter("say how long, like 10s, 500ms or 1m")
    return float(found[1]) * _UNITS[found[2] or "s"]


def place(text: str) -> tuple[int, int]:
    """`2:17`: a partition and an offset."""
    partition, separator, offset = text.partition(":")
    if not (separator and partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter("say PARTITION:OFFSET, as `revoker rejected list` shows it")
    return int(partition), int(offset)


Subject = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="Whose: the opaque id of the subject.", show_default=False)
]
Tenant = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Where there are several. Default: the one that the inputs are bound to, or none."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON, times as on the wire.")]
Limit = Annotated[int, typer.Option(metavar="COUNT", min=1, max=10_000, help="How many at most.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")]
