"""Cuts what is open in HAProxy when its session ends or is held, through the runtime socket, on the gateway SDK.

    pip install revoker
    REVOKER_KAFKA_BOOTSTRAP_SERVERS=... python haproxy_cutter.py /run/haproxy/revoker.sock /etc/haproxy/open.map

haproxy.cfg writes into the map whose each connection is: `address:port` to `subject session`, as /check named them.
Once a second this takes what is new into the gateway's list of connections, and takes off what is gone, here and in the
map. What stands in the list is cut within a millisecond of the notification; what is younger than a second, when it is
taken in.
"""

# ruff: noqa: INP001, T201 - a program, no package

import asyncio
import re
import sys
from urllib.parse import unquote

from revoker.gateway import Gateway, SessionClaims
from revoker.gateway.connections import Handle

_EVERY_SECONDS = 1.0
_MAP_ENTRY = re.compile(r"^0x\w+ (\S+) (\S*) (\S*)$", re.MULTILINE)
_SESSION = re.compile(r"^(0x\w+): .*?\bsrc=(\S+)", re.MULTILINE)


class Cutter:
    """Keeps the gateway's list of connections as HAProxy has them."""

    def __init__(self, gateway: Gateway, socket: str, map_: str) -> None:
        self._gateway = gateway
        self._socket = socket
        self._map = map_
        self._known: dict[str, tuple[str, str, Handle]] = {}

    async def run(self) -> None:
        """Until cancelled. HAProxy may come and go."""
        while True:
            try:
                await self.look()
            except OSError as error:
                print(f"HAProxy does not answer: {error}", file=sys.stderr)
            await asyncio.sleep(_EVERY_SECONDS)

    async def look(self) -> None:
        """Once."""
        # In this order: what is in the map and has no session is over, and not about to begin.
        named = {source: (subject, session) for source, subject, session in _MAP_ENTRY.findall(await self._shown())}
        open_ = {source for _, source in _SESSION.findall(await self._ask("show sess"))}
        for source in named.keys() - open_:
            await self._ask(f"del map {self._map} {source}")
        for source in self._known.keys() - (named.keys() & open_):
            self._known.pop(source)[2].remove()
        for source in named.keys() & open_:
            self._take(source, *named[source])

    def _take(self, source: str, subject: str, session: str) -> None:
        known = self._known.get(source)
        if known is not None:
            if known[:2] == (subject, session):
                return
            known[2].remove()
        claims = SessionClaims(subject=unquote(subject) or None, session_id=unquote(session) or None)
        # Somebody who is over already is cut at once.
        handle = self._gateway.connections.add(claims, lambda _verdict: self._cut(source))
        self._known[source] = subject, session, handle

    async def _cut(self, source: str) -> None:
        for number, src in _SESSION.findall(await self._ask("show sess")):
            if src == source:
                await self._ask(f"shutdown session {number}")

    async def _shown(self) -> str:
        return await self._ask(f"show map {self._map}")

    async def _ask(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(f"{command}\n".encode())
            return (await reader.read()).decode()
        finally:
            writer.close()


async def main(socket: str, map_: str) -> None:
    """Until interrupted."""
    async with Gateway.from_env("haproxy") as gateway:
        await Cutter(gateway, socket, map_).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
