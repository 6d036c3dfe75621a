"""How every client of ours reaches Kafka."""

import ssl
from typing import Any

from revoker.settings import Settings

REQUEST_TIMEOUT_MS = 10_000


def client_options(settings: Settings) -> dict[str, Any]:
    """The options that aiokafka's consumer, producer and admin client share."""
    kafka = settings.kafka
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": "revoker",
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = ssl.create_default_context(cafile=kafka.ca_file)
    if kafka.security_protocol.startswith("SASL") and kafka.password is not None:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    return options


def producer_options(settings: Settings) -> dict[str, Any]:
    """The same for a producer that must not lose what was acknowledged to it."""
    return client_options(settings) | {"acks": "all", "enable_idempotence": True, "linger_ms": 0}
