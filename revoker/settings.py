"""Settings: one commented `revoker.toml`, every key also `REVOKER_…` (`__` nests), `…_FILE` for secrets.

The environment wins over the file. `REVOKER_CONFIG` names another file than `./revoker.toml`.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from revoker.core.policy import DEFAULT_RULES, Ends, KeepRule, Policy, Rule
from schemas.fields import Id, Initiator
from schemas.inputs import DEFAULT_INPUTS, Input

_SECRETS = ("DATABASE_URL", "REDIS_URL", "KAFKA__PASSWORD")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSettings(_Section):
    """How to reach Kafka and how our topics must be."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """With a SASL protocol."""
    username: str | None = None
    """With a SASL protocol."""
    password: SecretStr | None = None
    """With a SASL protocol."""
    ca_file: Path | None = None
    """Whom to trust with TLS; default the system's authorities."""
    manage_topics: bool = True
    """Create missing topics. Off: they must be there and as they should be, or the service refuses to start."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Of each topic: how many consumers can work at once. Adding some later is safe but reorders subjects."""
    replication: Annotated[int, Field(ge=1, le=10)] = 3
    """Copies of each record; 1 is for a single broker only."""


class SessionSettings(_Section):
    """What is true of every session."""

    lifetime: timedelta = timedelta(days=30)
    """The longest that any session or token can live. No revocation is forgotten earlier."""
    fresh: timedelta = timedelta(minutes=10)
    """How shortly before a report of a stolen device a session must have begun to be kept by it."""
    presented_every: timedelta = timedelta(minutes=1)
    """Last-active times are written at most this often for a session."""


class PolicyRule(_Section):
    """`[policy.<event type>]`: what differs from the default of that type."""

    ends: Ends | None = None
    """`subject` (all of the subject's), `named` (what the event names) or `nothing` (recorded only)."""
    keep: KeepRule | None = None
    """Whether the event may spare sessions: `always`, `fresh` (only those begun shortly before) or `never`."""
    keep_clients: tuple[Id, ...] | None = None
    """Clients whose sessions this type of event leaves alone."""
    margin: timedelta | None = None
    """Added to the event's time."""
    initiator: Initiator | None = None
    """Who asked, where the event does not say."""
    reason_user: dict[str, str] | None = None
    """What the person is told, by language, where the event does not say."""

    def applied_to(self, rule: Rule) -> Rule:
        """`rule` with what is set here."""
        merged = {name: getattr(rule, name) for name in type(self).model_fields}
        return Rule(**merged | {name: value for name, value in self if value is not None})


class RetentionSettings(_Section):
    """How long what is over is kept."""

    ended: timedelta = timedelta(days=90)
    """Sessions and tokens, after their end or expiry. At least the retention of the input topics and a day."""
    rejected: timedelta = timedelta(days=31)
    """Records on rejected-events."""
    inputs: timedelta = timedelta(days=7)
    """Records on the input topics: how far back a replay can go."""
    session_ended: timedelta = timedelta(days=31)
    """Notifications: at least `sessions.lifetime`, so that a gateway can start from them."""


class LimitSettings(_Section):
    """How much at once. The defaults were measured; see `make bench`."""

    chunk: Annotated[int, Field(ge=1, le=5_000)] = 1_000
    """Events a transaction."""
    in_flight: Annotated[int, Field(ge=1, le=8)] = 2
    """Transactions at once in one consumer."""
    batch: Annotated[int, Field(ge=1, le=50_000)] = 20_000
    """Records that one poll may bring."""
    lock_timeout: timedelta = timedelta(seconds=2)
    """How long a transaction waits for a subject that somebody else works on."""
    statement_timeout: timedelta = timedelta(seconds=30)
    """How long one statement may take."""
    publish_timeout: timedelta = timedelta(seconds=10)
    """How long Kafka has to acknowledge."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="REVOKER_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        validate_default=True,
    )

    kafka_bootstrap_servers: str = "localhost:9092"
    """Kafka, host:port[,host:port]."""
    database_url: SecretStr = SecretStr("postgresql://localhost/revoker")
    """PostgreSQL."""
    redis_url: SecretStr = SecretStr("redis://localhost:6379/0")
    """Redis or Valkey: a projection, never the truth."""
    topic_prefix: str = ""
    """Before the name of every topic."""
    admin_host: str = "127.0.0.1"
    """Where `/livez`, `/readyz` and `/metrics` listen."""
    admin_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    """The port of it; unset: not at all."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much is logged."""
    log_format: Literal["json", "text"] = "json"
    """Lines for programs or for people."""
    inputs: tuple[Input, ...] = DEFAULT_INPUTS
    """What is read."""
    policy: dict[str, PolicyRule] = Field(default_factory=dict)
    """What differs from the default policy, by event type."""
    kafka: KafkaSettings = KafkaSettings()
    sessions: SessionSettings = SessionSettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        unknown = self.policy.keys() - DEFAULT_RULES.keys()
        if unknown:
            raise ValueError(f"[policy]: no such event type: {', '.join(sorted(unknown))}")
        topics = [source.topic for source in self.inputs]
        if len(set(topics)) != len(topics):
            raise ValueError("[[inputs]]: a topic is named twice")
        if self.retention.ended < self.retention.inputs + timedelta(days=1):
            raise ValueError("[retention] ended must exceed inputs by a day: a redelivery needs the rows that it ended")
        if self.retention.session_ended < self.sessions.lifetime:
            raise ValueError("[retention] session_ended must reach over sessions.lifetime: gateways replay it")
        return self

    @property
    def rules(self) -> Policy:
        """The policy in force."""
        rules = {
            name: self.policy[name].applied_to(rule) if name in self.policy else rule
            for name, rule in DEFAULT_RULES.items()
        }
        return Policy(rules=rules, lifetime=self.sessions.lifetime, fresh=self.sessions.fresh)

    def topic(self, name: str) -> str:
        """`name` as the brokers know it."""
        return f"{self.topic_prefix}{name}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        path = Path(os.environ.get("REVOKER_CONFIG", "revoker.toml"))
        if isinstance(env_settings, EnvSettingsSource):
            # It would take REVOKER_KAFKA__PASSWORD_FILE for a key of [kafka].
            files = {f"revoker_{name}_file".lower() for name in _SECRETS}
            env_settings.env_vars = {key: value for key, value in env_settings.env_vars.items() if key not in files}
        return init_settings, _SecretFiles(settings_cls), env_settings, TomlConfigSettingsSource(settings_cls, path)


class _SecretFiles(PydanticBaseSettingsSource):
    """`REVOKER_DATABASE_URL_FILE=/run/secrets/db`: the value is what the file holds."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401 - the base's
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _SECRETS:
            path = os.environ.get(f"REVOKER_{name}_FILE")
            if path:
                *sections, key = name.lower().split("__")
                place = found
                for section in sections:
                    place = place.setdefault(section, {})
                place[key] = Path(path).read_text().strip()
        return found
