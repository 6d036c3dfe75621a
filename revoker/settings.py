"""Settings: one commented `revoker.toml`, every key also `REVOKER_…` (`__` nests), `…_FILE` for secrets.

The environment wins over the file. `REVOKER_CONFIG` names another file than `./revoker.toml`.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from revoker.core.copies import check_template
from revoker.core.policy import DEFAULT_RULES, Ends, KeepRule, Policy, Rule
from revoker.settings_hooks import HookSettings
from revoker.settings_http import (
    Algorithm,
    AuthSettings,
    CheckSettings,
    ClaimSettings,
    CookieSettings,
    DeviceSettings,
    HttpSettings,
    LogoutSettings,
    Section,
    is_protected,
)
from revoker.settings_origins import OriginSettings
from schemas.fields import Id, Initiator
from schemas.inputs import DEFAULT_INPUTS, Input, Lane
from schemas.lanes import of_lane

__all__ = [
    "SHORT_NAMES",
    "Algorithm",
    "AuthSettings",
    "CheckSettings",
    "ClaimSettings",
    "CookieSettings",
    "DenylistSettings",
    "DeviceSettings",
    "GatewaySettings",
    "HookSettings",
    "HttpSettings",
    "KafkaSettings",
    "LimitSettings",
    "LogoutSettings",
    "OriginSettings",
    "PolicyRule",
    "RetentionSettings",
    "SessionSettings",
    "Settings",
    "is_protected",
]

SHORT_NAMES: Final = ("AUTH_ISSUER", "AUTH_JWKS_URL", "AUTH_AUDIENCE", "HTTP_HOST", "HTTP_PORT")
"""Keys of a section that may be set with one underscore, too: REVOKER_AUTH_ISSUER."""

_SECRETS = ("DATABASE_URL", "REDIS_URL", "KAFKA__PASSWORD")


class KafkaSettings(Section):
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


class SessionSettings(Section):
    """What is true of every session."""

    lifetime: timedelta = timedelta(days=30)
    """The longest that any session or token can live. No revocation is forgotten earlier."""
    fresh: timedelta = timedelta(minutes=10)
    """How shortly before a report of a stolen device a session must have begun to be kept by it."""
    presented_every: timedelta = timedelta(minutes=1)
    """Last-active times are written at most this often for a session."""


class PolicyRule(Section):
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


class GatewaySettings(Section):
    """Who must have applied a revocation before it counts as enforced."""

    required: tuple[Id, ...] = ()
    """Gateways that must be there: nothing is enforced while nobody of these names was ever heard of, or all left."""
    close_grace: Annotated[timedelta, Field(ge=timedelta())] = timedelta(seconds=1)
    """How long a gateway may take to close what it cuts."""
    drift: Annotated[timedelta, Field(ge=timedelta())] = timedelta(seconds=2)
    """How much a gateway's idea of its `max_staleness` may differ from ours before a strict one counts as fenced."""
    silent_after: Annotated[timedelta, Field(ge=timedelta(seconds=6))] = timedelta(seconds=15)
    """Without a receipt for this long an instance is unknown. They come every 5 s."""
    retire_after: timedelta | None = None
    """Wait no more for an instance that was silent for this long; unset: only a person may say so."""

    @model_validator(mode="after")
    def _is_patient(self) -> Self:
        if self.retire_after is not None and self.retire_after < self.silent_after:
            raise ValueError("retire_after must be longer than silent_after")
        return self


class RetentionSettings(Section):
    """How long what is over is kept."""

    ended: timedelta = timedelta(days=90)
    """Sessions and tokens, after their end or expiry. At least the retention of the input topics and a day."""
    rejected: timedelta = timedelta(days=31)
    """Records on rejected-events."""
    inputs: timedelta = timedelta(days=7)
    """Records on the input topics: how far back a replay can go."""
    session_ended: timedelta = timedelta(days=31)
    """Notifications: at least `sessions.lifetime`, so that a gateway can start from them."""


class DenylistSettings(Section):
    """The projection in Redis; see docs/redis.md."""

    cached: tuple[str, ...] = ()
    """Keys of cached copies to delete when a session ends, with {session_id}, {client_id}, {subject}, {tenant}."""
    stream: Annotated[timedelta, Field(ge=timedelta(minutes=10))] = timedelta(days=1)
    """How long notifications stay in the stream: at least as long as a gateway that follows it lets a token live."""

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        for template in self.cached:
            check_template(template)
        return self


class LimitSettings(Section):
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
    hooks: tuple[HookSettings, ...] = ()
    """Who may post what happened."""
    policy: dict[str, PolicyRule] = Field(default_factory=dict)
    """What differs from the default policy, by event type."""
    kafka: KafkaSettings = KafkaSettings()
    sessions: SessionSettings = SessionSettings()
    gateways: GatewaySettings = GatewaySettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    denylist: DenylistSettings = DenylistSettings()
    devices: DeviceSettings = DeviceSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    claims: ClaimSettings = ClaimSettings()
    check: CheckSettings = CheckSettings()
    cookies: tuple[CookieSettings, ...] = ()
    """Cookies that people are signed in by."""
    logout: LogoutSettings = LogoutSettings()
    origins: tuple[OriginSettings, ...] = ()
    """Where sessions live."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        unknown = self.policy.keys() - DEFAULT_RULES.keys()
        if unknown:
            raise ValueError(f"[policy]: no such event type: {', '.join(sorted(unknown))}")
        lanes = {(source.topic, source.lane) for source in self.inputs}
        if len(lanes) != len(self.inputs):
            raise ValueError("[[inputs]]: a topic is named twice in one lane")
        if len({(source.topic, source.format) for source in self.inputs}) != len({topic for topic, _ in lanes}):
            raise ValueError("[[inputs]]: a topic has one format, in whatever lane")
        hooks = [hook.name for hook in self.hooks]
        if len(set(hooks)) != len(hooks):
            raise ValueError("[[hooks]]: a name is given twice")
        cookies = [(one.name, one.domain, one.path) for one in self.cookies]
        if len(set(cookies)) != len(cookies):
            raise ValueError("[[cookies]]: a cookie is named twice, with the same domain and path")
        origins = [origin.name for origin in self.origins]
        if len(set(origins)) != len(origins):
            raise ValueError("[[origins]]: a name is given twice")
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

    def inputs_of(self, lane: Lane) -> dict[str, Input]:
        """What that lane reads, by topic as the brokers know it."""
        return {self.topic(source.topic): source for source in of_lane(self.inputs, lane)}

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
            env_settings.env_vars = _spelled_out(
                {key: value for key, value in env_settings.env_vars.items() if key not in files}
            )
        return init_settings, _SecretFiles(settings_cls), env_settings, TomlConfigSettingsSource(settings_cls, path)


def _spelled_out(variables: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """With both underscores where one is allowed."""
    found = dict(variables)
    for name in SHORT_NAMES:
        value = found.pop(f"revoker_{name.lower()}", None)
        if value is not None:
            found.setdefault(f"revoker_{name.lower().replace('_', '__', 1)}", value)
    return found


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
