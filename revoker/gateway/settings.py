"""What a gateway is told, as arguments or by the environment; refused at once where it makes no sense.

The names of the environment are those of the service, so that a gateway beside it needs nothing of its own. Every
secret can come from a file (`…_FILE`).
"""

import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from revoker.gateway.health import Mode
from schemas.fields import MAX_ID_BYTES

DEFAULT_MAX_BYTES: Final = 512 * 1024 * 1024
_TRUE: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one gateway."""

    name: str
    bootstrap_servers: str | None = None
    redis_url: str | None = None
    feed_url: str | None = None
    feed_token: str | Callable[[], str] | None = None
    topic_prefix: str = ""
    mode: Mode = "best_effort"
    max_staleness: float = 10.0
    credential_lifetime: float = 3600.0
    close_grace: float = 1.0
    max_bytes: int | None = DEFAULT_MAX_BYTES
    receipts: bool = True
    instance: str | None = None
    iat_is_login: bool = False
    kafka_options: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuses what cannot work, by name and without values: they may hold secrets."""
        for field, value in (("name", self.name), ("instance", self.instance_name())):
            if not value or not value.isprintable() or len(value.encode()) > MAX_ID_BYTES:
                raise ValueError(f"{field}: must be printable, and 1 to {MAX_ID_BYTES} bytes long")
        if not (self.bootstrap_servers or self.redis_url or self.feed_url):
            raise ValueError("one of bootstrap_servers, redis_url and feed_url is needed")
        if self.redis_url and self.feed_url:
            raise ValueError("redis_url and feed_url exclude each other")
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode: must be one of {', '.join(get_args(Mode))}")
        if not 0.5 <= self.max_staleness <= 86_400:
            raise ValueError("max_staleness: must be from 0.5 to 86400 seconds")
        if self.credential_lifetime <= 0:
            raise ValueError("credential_lifetime: must be more than 0 seconds")
        if not 0 <= self.close_grace <= 1:
            raise ValueError("close_grace: must be from 0 to 1 second, which is what the service waits for")
        if self.max_bytes is not None and self.max_bytes <= 0:
            raise ValueError("max_bytes: must be more than 0")

    @property
    def sends_receipts(self) -> bool:
        """Whether they are wanted, and there is a way for them."""
        return self.receipts and bool(self.bootstrap_servers or self.feed_url)

    def instance_name(self) -> str:
        """Which of the gateway's processes this is. A forked one is another."""
        return self.instance or f"{socket.gethostname()}-{os.getpid()}"

    def kafka(self) -> dict[str, Any]:
        """The options of both Kafka clients."""
        return {"client_id": f"revoker-gateway-{self.name}", "bootstrap_servers": self.bootstrap_servers} | dict(
            self.kafka_options
        )


def from_env(name: str, environ: Mapping[str, str]) -> Settings:
    """The settings of gateway `name` as the environment has them. Raises ValueError that names the variable."""
    told: dict[str, Any] = {
        field: read(environ, variable)
        for field, (variable, read) in VARIABLES.items()
        if variable in environ or f"{variable}_FILE" in environ
    }
    feed = environ.get("REVOKER_GATEWAY_FEED") or _feed(told)
    match feed:
        case "kafka":
            told = {field: value for field, value in told.items() if field not in {"redis_url", "feed_url"}}
        case "redis":
            told.pop("feed_url", None)
        case "http":
            told = {field: value for field, value in told.items() if field not in {"redis_url", "bootstrap_servers"}}
        case _:
            raise ValueError("REVOKER_GATEWAY_FEED: must be one of kafka, redis, http")
    return Settings(name=name, kafka_options=_kafka_options(environ), **told)


def _feed(told: Mapping[str, Any]) -> str:
    """The one that is named; of several the most direct, unless HTTP was asked for, which nobody has by accident."""
    if told.get("feed_url"):
        return "http"
    return "kafka" if told.get("bootstrap_servers") else "redis"


def _text(environ: Mapping[str, str], variable: str) -> str:
    file = environ.get(f"{variable}_FILE")
    return Path(file).read_text(encoding="utf-8").strip() if file else environ[variable]


def _number(environ: Mapping[str, str], variable: str) -> float:
    try:
        return float(_text(environ, variable))
    except ValueError:
        raise ValueError(f"{variable}: is no number") from None


def _whole(environ: Mapping[str, str], variable: str) -> int:
    return int(_number(environ, variable))


def _flag(environ: Mapping[str, str], variable: str) -> bool:
    try:
        return _TRUE[_text(environ, variable).lower()]
    except KeyError:
        raise ValueError(f"{variable}: must be true or false") from None


VARIABLES: Final[Mapping[str, tuple[str, Callable[[Mapping[str, str], str], object]]]] = {
    "bootstrap_servers": ("REVOKER_KAFKA_BOOTSTRAP_SERVERS", _text),
    "redis_url": ("REVOKER_REDIS_URL", _text),
    "feed_url": ("REVOKER_FEED_URL", _text),
    "feed_token": ("REVOKER_FEED_TOKEN", _text),
    "topic_prefix": ("REVOKER_TOPIC_PREFIX", _text),
    "mode": ("REVOKER_GATEWAY_MODE", _text),
    "max_staleness": ("REVOKER_GATEWAY_MAX_STALENESS", _number),
    "credential_lifetime": ("REVOKER_GATEWAY_CREDENTIAL_LIFETIME", _number),
    "close_grace": ("REVOKER_GATEWAY_CLOSE_GRACE", _number),
    "max_bytes": ("REVOKER_GATEWAY_MAX_BYTES", _whole),
    "receipts": ("REVOKER_GATEWAY_RECEIPTS", _flag),
    "instance": ("REVOKER_GATEWAY_INSTANCE", _text),
    "iat_is_login": ("REVOKER_GATEWAY_IAT_IS_LOGIN", _flag),
}


def _kafka_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """SASL and TLS, under the names that the service reads."""
    protocol = environ.get("REVOKER_KAFKA__SECURITY_PROTOCOL", "PLAINTEXT")
    options: dict[str, Any] = {"security_protocol": protocol}
    if protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = ssl.create_default_context(cafile=environ.get("REVOKER_KAFKA__CA_FILE"))
    if protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": environ.get("REVOKER_KAFKA__SASL_MECHANISM", "SCRAM-SHA-512"),
            "sasl_plain_username": environ.get("REVOKER_KAFKA__USERNAME"),
            "sasl_plain_password": _text({"REVOKER_KAFKA__PASSWORD": "", **environ}, "REVOKER_KAFKA__PASSWORD"),
        }
    return options
