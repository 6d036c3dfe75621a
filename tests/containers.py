"""The tests' servers in Docker, where an engine answers: the images that compose.yaml pins."""

import gc
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from revoker.embedded.ports import free_ports

# It warns of its own old names on import, and its client leaves sockets to the garbage collector.
with warnings.catch_warnings(action="ignore"):
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy


@contextmanager
def kafka(image: str) -> Iterator[str]:
    """The bootstrap servers of a single broker."""
    # Kafka tells its clients where it is, so its port must be known before it starts.
    (port,) = free_ports(1)
    container = DockerContainer(image).with_bind_ports(port, port)
    host = container.get_docker_client().host()
    container = container.with_envs(
        KAFKA_NODE_ID="1",
        KAFKA_PROCESS_ROLES="broker,controller",
        KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:29093",
        KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
        KAFKA_LISTENERS=f"PLAINTEXT://:{port},CONTROLLER://localhost:29093",
        KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://{host}:{port}",
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        KAFKA_INTER_BROKER_LISTENER_NAME="PLAINTEXT",
        KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
        KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE="LogAppendTime",
        KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
        KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
        KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR="1",
        KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR="1",
    )
    with _running(container, "Kafka Server started"):
        yield f"{host}:{port}"


@contextmanager
def postgres(image: str) -> Iterator[str]:
    """The URL of a superuser's database."""
    password = secrets.token_hex(16)
    container = DockerContainer(
        image,
        command="postgres -c fsync=off -c full_page_writes=off -c max_locks_per_transaction=256 -c timezone=UTC",
        env={"POSTGRES_USER": "revoker", "POSTGRES_PASSWORD": password, "POSTGRES_DB": "postgres"},
        ports=[5432],
    )
    # The first time is the server that only prepares the cluster.
    with _running(container, "database system is ready to accept connections", times=2):
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        yield f"postgresql+asyncpg://revoker:{password}@{host}:{port}/postgres"


@contextmanager
def valkey(image: str) -> Iterator[str]:
    """The URL of an empty database."""
    container = DockerContainer(image, ports=[6379])
    with _running(container, "Ready to accept connections"):
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


@contextmanager
def _running(container: Any, log: str, *, times: int = 1) -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"):
        container.waiting_for(LogMessageWaitStrategy(log, times=times)).start()
        gc.collect()
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):
            container.stop()
            gc.collect()


SERVING: Final[dict[str, Callable[[str], AbstractContextManager[str]]]] = {
    "Kafka": kafka,
    "PostgreSQL": postgres,
    "Valkey": valkey,
}
