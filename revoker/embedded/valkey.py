"""An embedded Valkey. It keeps nothing on disk: after kill and restart it is empty, as a cache may be."""

import asyncio
import secrets
from pathlib import Path
from typing import ClassVar

from revoker.embedded import wheels
from revoker.embedded.child import Launch
from revoker.embedded.place import Place
from revoker.embedded.ports import HOST
from revoker.embedded.server import EmbeddedServer, Progress


class EmbeddedValkey(EmbeddedServer):
    """Valkey on 127.0.0.1 with a random password, so that other local users cannot connect."""

    name: ClassVar[str] = "valkey"
    title: ClassVar[str] = "Valkey"

    def __init__(
        self, data: Path | None = None, *, progress: Progress | None = None, start_seconds: float = 60.0
    ) -> None:
        super().__init__(data, progress=progress, start_seconds=start_seconds)
        self._password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    async def _prepare(self, place: Place) -> None:
        # In a file: a command line can be read by every local user.
        secret = place.directory / "valkey.conf"
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(f"requirepass {self._password}\n")

    def _command(self, place: Place, ports: tuple[int, ...]) -> Launch:
        options = {
            "appendonly": "no",
            "bind": HOST,
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
            "port": str(ports[0]),
            "protected-mode": "yes",
            "save": "",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        return self._launch_of(place, (str(wheels.valkey_server()), "valkey.conf", *arguments))

    async def _answers(self) -> bool:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            return [await reader.readline(), await reader.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        finally:
            writer.close()
