"""The few field types that every message is made of.

Rules that hold for all of them, because one value that breaks them would fail a whole batch in the database behind
perfectly valid JSON: no control characters and no lone surrogates in any text, ids of at most 512 bytes in UTF-8,
times with an offset. What we write has always 27 characters (`2026-11-21T09:00:00.000000Z`), so that comparing text
compares time; we read every RFC 3339 time, and no count of seconds, which pydantic would take for one.

What a validator says never contains the value: it ends up in headers and logs.
"""

import ipaddress
import socket
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import core_schema

MAX_ID_BYTES = 512
MAX_IDS = 500

MAX_TEXT = 2_000

# Unicode's control characters, spelled so that every dialect of JSON Schema validators reads it.
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_ASCII_SAFE = MAX_ID_BYTES // 4
_WIRE_INSTANT = core_schema.json_or_python_schema(
    core_schema.chain_schema(
        [
            core_schema.str_schema(strict=True, pattern=r"^[0-9]{4}-", regex_engine="rust-regex"),
            core_schema.datetime_schema(),
        ]
    ),
    core_schema.datetime_schema(strict=True),
)


_TIME_LENGTH = 27
# Several times a notification: this is four times as fast as isoformat, but leaves out a fraction that is zero.
_encode = msgspec.json.Encoder().encode


def wire_time(instant: datetime) -> str:
    """`instant` (aware, UTC) as the 27 characters of the wire."""
    text = _encode(instant)[1:-1].decode()
    return text if len(text) == _TIME_LENGTH else text[:19] + ".000000Z"


def _at_most_512_bytes(text: str) -> str:
    if len(text) > _ASCII_SAFE and len(text.encode()) > MAX_ID_BYTES:
        raise ValueError(f"longer than {MAX_ID_BYTES} bytes")
    return text


def _in_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("has no UTC offset")
    if instant.tzinfo is UTC:
        return instant
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


def _made_to_fit(text: str) -> str:
    if len(text) <= MAX_TEXT and text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_TEXT])


def _address(value: object) -> str:
    """One spelling per address: IPv4 in IPv6 is IPv4; scope ids, which PostgreSQL's inet refuses, are refused."""
    if not isinstance(value, str):
        raise ValueError("is not text")  # noqa: TRY004 - pydantic turns ValueError into a validation error
    try:
        # Ten times as fast for what most are; it takes no other spelling of an IPv4 address than the one.
        socket.inet_pton(socket.AF_INET, value)
    except (OSError, ValueError):
        pass
    else:
        return value
    if "%" in value:
        raise ValueError("has a scope id")
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("is no IP address") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _network(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")  # noqa: TRY004 - as above
    if "%" in value:
        raise ValueError("has a scope id")
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("is no IP network") from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return f"{mapped}/{network.prefixlen - 96}"
    return str(network)


Id = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_ID_BYTES, pattern=_PRINTABLE),
    AfterValidator(_at_most_512_bytes),
]
Tenant = Annotated[
    str,
    StringConstraints(strict=True, max_length=MAX_ID_BYTES, pattern=_PRINTABLE),
    AfterValidator(_at_most_512_bytes),
]
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT, pattern=_PRINTABLE)]
Position = Annotated[str, StringConstraints(strict=True, max_length=10_000, pattern=_PRINTABLE)]
UserAgent = Annotated[str, StringConstraints(strict=True), AfterValidator(_made_to_fit)]
"""Chosen by whoever signs in, so it is cut and cleaned where other text is refused: a strange one must not keep the
session out of the registry."""
Instant = Annotated[
    datetime,
    GetPydanticSchema(lambda _source, _handler: _WIRE_INSTANT),
    AfterValidator(_in_utc),
    PlainSerializer(wire_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-21T09:00:00.000000Z"]}),
]
Address = Annotated[
    str,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "examples": ["203.0.113.9"]}),
]
Network = Annotated[str, BeforeValidator(_network), Field(examples=["203.0.113.0/24"])]
Language = Annotated[str, StringConstraints(strict=True, max_length=35, pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$")]
Reasons = Annotated[
    dict[Language, Text], Field(min_length=1, max_length=20, examples=[{"en": "Your password was changed"}])
]
Labels = Annotated[dict[Id, Id], Field(max_length=50)]
Keep = Annotated[tuple[Id, ...], Field(max_length=MAX_IDS)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


class Initiator(StrEnum):
    """Who asked for it (CAEP 1.0, `initiating_entity`)."""

    ADMIN = "admin"
    USER = "user"
    POLICY = "policy"
    SYSTEM = "system"


class Message(BaseModel):
    """Base of every wire model: immutable, and unknown fields are ignored so that publishers may move first."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, regex_engine="rust-regex")
