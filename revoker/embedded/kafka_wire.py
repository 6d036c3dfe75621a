"""One Metadata request and the part of its answer that tells a ready broker, by hand: no client library needed."""

import asyncio
import struct
from dataclasses import dataclass

_METADATA, _VERSION = 3, 4
_CLIENT = b"revoker-embedded"
# No topics, and none to be created.
_BODY = struct.pack(">i?", 0, False)  # noqa: FBT003 - a struct field


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    broker_ports: tuple[int, ...]
    cluster_id: str | None
    controller: int


def encode_request() -> bytes:
    head = struct.pack(f">hhih{len(_CLIENT)}s", _METADATA, _VERSION, 1, len(_CLIENT), _CLIENT)
    return struct.pack(">i", len(head) + len(_BODY)) + head + _BODY


def decode_answer(answer: bytes) -> Metadata:
    """From the correlation id on."""
    position = 12
    brokers = struct.unpack_from(">i", answer, 8)[0]
    ports = []
    for _ in range(brokers):
        _, position = _string(answer, position + 4)
        ports.append(struct.unpack_from(">i", answer, position)[0])
        _, position = _string(answer, position + 4)
    cluster_id, position = _string(answer, position)
    return Metadata(
        broker_ports=tuple(ports), cluster_id=cluster_id, controller=struct.unpack_from(">i", answer, position)[0]
    )


async def ask(host: str, port: int) -> Metadata:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(encode_request())
        length = struct.unpack(">i", await reader.readexactly(4))[0]
        return decode_answer(await reader.readexactly(length))
    finally:
        writer.close()


def _string(answer: bytes, position: int) -> tuple[str | None, int]:
    length = struct.unpack_from(">h", answer, position)[0]
    start = position + 2
    return (None, start) if length < 0 else (answer[start : start + length].decode(), start + length)
