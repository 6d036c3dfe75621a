"""Everything that runs: Kafka, PostgreSQL and Valkey, the schema, the topics, and the consumers as a real process.

Whatever interrupts it, all of it goes away again, the consumers first. Were we killed, their supervisors would see to
it. Nothing that is set outside (REVOKER_…, a revoker.toml here) reaches the demo, and it never touches other servers.
"""

import asyncio
import json
import os
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from revoker.embedded import EmbeddedServers, ServerFailedError
from revoker.embedded.child import Child, Launch
from revoker.embedded.ports import HOST, free_ports
from revoker.embedded.server import Progress
from revoker.service import reach, topics
from revoker.settings import KafkaSettings, Settings
from revoker.storage.migrate import migrate

_READY_SECONDS: Final = 60.0
# With Kafka gone, too, there is nothing to wait for.
_GRACE_SECONDS: Final = 5.0
_RUN_CONSUMERS: Final = "import sys; from revoker.cli import main; sys.argv[1:] = ['consumers']; main()"


class DemoSettings(Settings):
    """Settings that come from us alone."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is made with, and nothing else."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class House:
    """What runs, and how to reach it."""

    settings: Settings
    folder: Path
    why_broken: Callable[[], str | None]
    """What has ended by itself; None: all is well."""

    @property
    def address(self) -> str:
        """Of `/livez`, `/readyz` and `/metrics`."""
        return f"http://{HOST}:{self.settings.admin_port}"

    @property
    def environment(self) -> Path:
        """The file to source in another terminal."""
        return self.folder / "env"


@asynccontextmanager
async def opened(data: Path | None, progress: Progress) -> AsyncIterator[House]:
    """All of it, ready to work. Raises `EmbeddedError` and `RevokerError`."""
    async with EmbeddedServers(data, progress=progress) as servers:
        settings = _settings(servers)
        async with reach.postgres(settings) as engine:
            _, schema = await migrate(engine)
        await topics.ensure(settings)
        progress(f"schema {schema} is in place, and so are the topics")
        consumers = Consumers(settings, _folder(data), temporary=data is None)
        try:
            await consumers.wait_until_ready()
            yield House(settings, consumers.folder, lambda: consumers.why_broken() or _why_broken(servers))
        finally:
            await consumers.stop()


class Consumers:
    """`revoker consumers` under a supervisor of its own, which also removes the folder if it is temporary."""

    def __init__(self, settings: Settings, folder: Path, *, temporary: bool) -> None:
        self.folder = folder
        self._port = settings.admin_port
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REVOKER_")}
        self._child = Child(
            Launch(
                command=(sys.executable, "-P", "-c", _RUN_CONSUMERS),
                directory=folder,
                environment=environment | {"REVOKER_CONFIG": str(_write_settings(settings, folder))},
                grace_seconds=_GRACE_SECONDS,
                log=folder / "consumers.log",
                remove=folder if temporary else None,
            )
        )

    async def wait_until_ready(self) -> None:
        """Raises `ServerFailedError` with the end of their log."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_SECONDS):
                while self._child.poll() is None:
                    if await _answers(self._port):
                        return
                    await asyncio.sleep(0.05)
        why = self.why_broken() or f"were not ready within {_READY_SECONDS:g} s"
        raise ServerFailedError(f"the consumers {why}. The end of their log:\n{self._child.log_tail()}")

    def why_broken(self) -> str | None:
        """Whether they have ended by themselves."""
        code = self._child.poll()
        return None if code is None else f"the consumers ended with exit code {code}"

    async def stop(self) -> None:
        """In good order, and their folder with them if it is temporary."""
        await asyncio.to_thread(self._child.finish)


def _folder(data: Path | None) -> Path:
    """For the settings and the log: the one that is kept, or one that goes with the consumers."""
    return data.expanduser().resolve() if data else Path(tempfile.mkdtemp(prefix="revoker-demo-")).resolve()


def _why_broken(servers: EmbeddedServers) -> str | None:
    ended = [s.title for s in (servers.kafka, servers.postgres, servers.valkey) if not s.running]
    return f"{' and '.join(ended)} ended" if ended else None


def _settings(servers: EmbeddedServers) -> Settings:
    return DemoSettings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        database_url=SecretStr(servers.database_url),
        redis_url=SecretStr(servers.redis_url),
        admin_port=free_ports(1)[0],
        log_level="warning",
        log_format="text",
        kafka=KafkaSettings(partitions=4, replication=1),
    )


def _write_settings(settings: Settings, folder: Path) -> Path:
    """`revoker.toml` for the consumers and the reader's commands, and `env` that makes a terminal use it."""
    given: dict[str, Any] = settings.model_dump(exclude_unset=True)
    kafka = given.pop("kafka")
    lines = [f"{name} = {_toml(value)}" for name, value in given.items()]
    lines += ["[kafka]", *(f"{name} = {_toml(value)}" for name, value in kafka.items())]
    file = folder / "revoker.toml"
    _write(file, ["# The demo that runs, or ran last.", *lines])
    _write(
        folder / "env",
        [
            "# For a second terminal: the commands speak to the demo, and to nothing that was set before.",
            r"for name in $(env | sed -n 's/^\(REVOKER_[A-Z0-9_]*\)=.*/\1/p'); do unset $name; done",
            f"export REVOKER_CONFIG={shlex.quote(str(file))}",
            f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
        ],
    )
    return file


def _toml(value: object) -> str:
    return json.dumps(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _write(file: Path, lines: list[str]) -> None:
    """For us alone: the database's password is in it."""
    file.touch(mode=0o600)
    file.write_text("".join(f"{line}\n" for line in lines))


async def _answers(port: int | None) -> bool:
    with suppress(OSError):  # TimeoutError is one.
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False
