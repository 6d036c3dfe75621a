"""Cuts what is open in Envoy when its session ends or is held: an external processor (ext_proc) on the gateway SDK.

    pip install revoker grpcio
    REVOKER_KAFKA_BOOTSTRAP_SERVERS=... python envoy_cutter.py 127.0.0.1:8081

Envoy opens one gRPC stream for each HTTP stream on a route that uses this. The first message brings the request's
headers, with the names that /check gave; from then on the stream stands in the gateway's list of connections. When the
gateway drops it, the gRPC stream ends with an error, and `failure_mode_allow: false` makes Envoy end the client's.

Of Envoy's protocol buffers so little is needed that it is read and written by hand.
"""

# ruff: noqa: INP001 - a program, no package

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import grpc

from revoker.gateway import Gateway, SessionClaims

_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_REQUEST_HEADERS = 2
# ProcessingRequest says by its field what it brings; ProcessingResponse has the same, one number lower. An empty
# message in it means: go on.
_GO_ON = {field: bytes([(field - 1) << 3 | 2, 0]) for field in range(2, 8)}


class Cutter:
    """The service."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def process(self, _: object, stream: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        """One HTTP stream of Envoy's."""
        first = await stream.read()
        if first is grpc.aio.EOF:
            return
        claims = _claims(first)
        over = asyncio.Event()
        if claims is None:
            await self._pass(first, stream, over)
            return
        with self._gateway.connections.add(claims, lambda _verdict: over.set()):
            passing = asyncio.create_task(self._pass(first, stream, over))
            cutting = asyncio.create_task(over.wait())
            await asyncio.wait({passing, cutting}, return_when=asyncio.FIRST_COMPLETED)
            passing.cancel()
            cutting.cancel()
            await asyncio.gather(passing, cutting, return_exceptions=True)
        if over.is_set():
            await stream.abort(grpc.StatusCode.PERMISSION_DENIED, "the session is over")

    async def _pass(
        self, message: bytes, stream: "grpc.aio.ServicerContext[bytes, bytes]", over: asyncio.Event
    ) -> None:
        """Lets everything through, unchanged."""
        while message is not grpc.aio.EOF and not over.is_set():
            field = next((number for number, _ in _fields(message) if number in _GO_ON), None)
            if field is not None:
                await stream.write(_GO_ON[field])
            message = await stream.read()


@asynccontextmanager
async def serving(gateway: Gateway, address: str) -> AsyncIterator[None]:
    """Answers Envoy at `address`."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(Cutter(gateway).process)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {"Process": handler})])
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=0)


async def main(address: str) -> None:
    """Until interrupted."""
    async with Gateway.from_env("envoy") as gateway, serving(gateway, address):
        await asyncio.Event().wait()


def _claims(message: bytes) -> SessionClaims | None:
    """Who /check said it is; None: nobody, or no request headers."""
    known = dict(_headers(message))
    subject, session = (unquote(known.get(f"x-revoker-{name}", "")) or None for name in ("subject", "session"))
    return SessionClaims(subject=subject, session_id=session) if subject or session else None


def _headers(message: bytes) -> Iterator[tuple[str, str]]:
    """Of ProcessingRequest.request_headers.headers.headers: key 1, value 2 or raw_value 3."""
    for request_headers in _under(message, _REQUEST_HEADERS):
        for header_map in _under(request_headers, 1):
            for header in _under(header_map, 1):
                parts = {number: value.decode("latin-1") for number, value in _fields(header) if value is not None}
                yield parts.get(1, ""), parts.get(3) or parts.get(2, "")


def _under(message: bytes, wanted: int) -> Iterator[bytes]:
    return (value for number, value in _fields(message) if number == wanted and value is not None)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | None]]:
    """The fields of a message, with the bytes of those that have any."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                _, at = _varint(message, at)
                yield key >> 3, None
            case 2:
                length, at = _varint(message, at)
                yield key >> 3, message[at : at + length]
                at += length
            case kind:
                at += {1: 8, 5: 4}[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8081"))
