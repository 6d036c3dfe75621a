"""What every translator is made of: what it returns, and reading trees that may hold anything."""

import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from schemas.fields import wire_time

_LAST_MS: Final = 253_402_300_799_999
_UNREADABLE: Final = "unreadable"
"""A time that no model takes: it is refused there, with the place named."""

Tree = Mapping[str, Any]
"""A JSON object of a stranger."""


class UnknownRecordError(Exception):
    """A record that the translator does not know. `name` is the platform's own, where there is one."""

    def __init__(self, name: str | None, detail: str) -> None:
        super().__init__(detail)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a record asks for in our words; None for what it does not say."""

    type: str
    subject: str | None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """One record. `meaning` None: known, and nothing that anybody here has to know."""

    name: str
    """What the platform calls this kind of event."""
    meaning: Meaning | None
    id: str
    time: str | None = None
    realms: tuple[str, ...] = ()
    """The realm or tenant there, by all its names; the first is the one that stays."""


def text(tree: object, *path: str) -> str | None:
    """The text at `path`; None where there is none, or something else."""
    for name in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(name)
    return tree if isinstance(tree, str) and tree else None


def branch(tree: object, *path: str) -> Tree:
    """The object at `path`; an empty one where there is none, or something else."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def instant(value: object) -> str | None:
    """A time of day as the wire has it: from milliseconds since 1970, or from ISO 8601. None for None."""
    try:
        match value:
            case None:
                return None
            case bool():
                return _UNREADABLE
            case int() | float():
                return wire_time(datetime.fromtimestamp(value / 1000, UTC)) if 0 <= value <= _LAST_MS else _UNREADABLE
            case str():
                return wire_time(datetime.fromisoformat(value).astimezone(UTC)) if _has_zone(value) else _UNREADABLE
            case _:
                return _UNREADABLE
    except (ValueError, OverflowError):
        return _UNREADABLE


def _has_zone(value: str) -> bool:
    return datetime.fromisoformat(value).tzinfo is not None


def address(value: object) -> str | None:
    """An IP address; None for what is none. Platforms write hosts and lists there: that must keep no session out."""
    if not isinstance(value, str) or "%" in value:
        return None
    try:
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        return None


def named(id_: str | None, tree: Tree) -> str:
    """The id of a record: its own, else one that a redelivery has, too."""
    return id_ or hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def known(**data: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON can say
    """Those of `data` that are there."""
    return {name: value for name, value in data.items() if value is not None}
