"""What can go wrong, by whose fault it is.

    RevokerError
      +-- ConfigurationError     the settings or a server's configuration are unsafe or wrong; exit 2
      +-- UnavailableError       a dependency cannot be reached now; a retry may work; exit 6
      +-- PublishError           Kafka did not acknowledge; what is unannounced is announced again; exit 6

A record that can never work is not an error of ours: `schemas.codec.Rejected`.
"""


class RevokerError(Exception):
    """Base of all errors of the service; never raised itself."""


class ConfigurationError(RevokerError):
    """The settings, or a server's configuration, are wrong or unsafe."""


class UnavailableError(RevokerError):
    """A dependency cannot be reached."""


class PublishError(UnavailableError):
    """Kafka did not acknowledge in time."""
