"""Settings: one commented `revoker.toml`, every key also `REVOKER_…` (`__` nests), `…_FILE` for secrets.

The environment wins over the file. `REVOKER_CONFIG` names another file than `./revoker.toml`.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from revoker.core.copies import check_template
from revoker.core.policy import DEFAULT_RULES, Ends, KeepRule, Policy, Rule
from schemas.fields import Id, Initiator, Network
from schemas.inputs import DEFAULT_INPUTS, Input

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]

SHORT_NAMES: Final = ("AUTH_ISSUER", "AUTH_JWKS_URL", "AUTH_AUDIENCE", "HTTP_HOST", "HTTP_PORT")
"""Keys of a section that may be set with one underscore, too: REVOKER_AUTH_ISSUER."""

_SECRETS = ("DATABASE_URL", "REDIS_URL", "KAFKA__PASSWORD")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_protected(url: str) -> bool:
    """Whether nobody can change on the way what comes from there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


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


class GatewaySettings(_Section):
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


class HttpSettings(_Section):
    """Where `revoker serve` listens."""

    host: str = "127.0.0.1"
    """The address; put TLS in front of it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port."""


class AuthSettings(_Section):
    """Who may ask: bearer JWTs of one issuer. Without it `revoker serve` answers nobody who has to prove something."""

    issuer: str | None = None
    """The `iss` of every token, exactly. Its keys are found by discovery."""
    jwks_url: str | None = None
    """Where its keys are, for an issuer without discovery."""
    audience: str | None = None
    """One of these (apart by spaces) must be in the `aud` of a token; unset: it is not looked at."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = get_args(Algorithm)
    """How a token may be signed. A key narrows it to what fits the key."""
    types: tuple[str, ...] = ("at+jwt", "JWT", "")
    """The `typ` that a token may have; an empty one: none at all."""
    skew: Annotated[timedelta, Field(ge=timedelta(), le=timedelta(minutes=5))] = timedelta(seconds=30)
    """How far our clock and the issuer's may be apart."""
    refresh: Annotated[timedelta, Field(ge=timedelta(seconds=10), le=timedelta(hours=12))] = timedelta(minutes=10)
    """How often the issuer's keys are fetched again. An unknown key id is looked for at once."""
    allow_http: bool = False
    """Fetch keys without TLS from another machine, too: whoever is in between can then sign tokens."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.jwks_url is not None and self.issuer is None:
            raise ValueError("jwks_url needs issuer")
        for name in ("issuer", "jwks_url"):
            url = getattr(self, name)
            if url is not None and not (self.allow_http or is_protected(url)):
                raise ValueError(f"{name} must begin with https://, see allow_http")
        return self


class ClaimSettings(_Section):
    """Which claims of a token mean what."""

    subject: str = "sub"
    """Whose it is."""
    tenant: str | None = None
    """In which tenant; unset: there is only one. Machines without it need the scope `all-tenants`."""
    session_id: str = "sid"
    """The session."""
    client_id: tuple[str, ...] = ("client_id", "azp")
    """The client; the first that is there."""
    token_id: str = "jti"  # noqa: S105 - the name of a claim
    """The token itself."""
    established_at: str = "auth_time"
    """When the person signed in."""
    device_id: str | None = None
    """The device."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels, each with the claim that holds its value."""
    scope: tuple[str, ...] = ("scope", "scp")
    """What a machine may do; the first that is there."""


class CheckSettings(_Section):
    """`/check`, for gateways that ask a question a request."""

    name: str = "check"
    """The name of this gateway in receipts and lists."""
    mode: Literal["strict", "best_effort"] = "best_effort"
    """When the view is older than max_staleness: answer 503, or go on and say so."""
    max_staleness: Annotated[timedelta, Field(gt=timedelta())] = timedelta(seconds=10)
    """How old the view of what has ended may be."""
    identify: Literal["token", "headers"] = "token"
    """Who is meant: a JWT that is verified here, or headers of a proxy that has verified it and overwrites them."""
    cookies: tuple[str, ...] = ()
    """Cookies that may hold the JWT, where there is no Authorization header."""
    trusted_networks: tuple[Network, ...] = ()
    """From where `headers` are believed; nobody else is."""
    header_prefix: str = "x-revoker-"
    """What those headers begin with: x-revoker-subject, x-revoker-session and so on."""
    anonymous: Literal["refuse", "pass"] = "refuse"
    """The answer where there is nothing to check: 401 or 200."""
    tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """Verified tokens that are remembered until they expire."""
    presented: bool | None = None
    """Publish that sessions are in use, once a minute each. Unset: where `session-activity` is ours to write."""


class DenylistSettings(_Section):
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
    gateways: GatewaySettings = GatewaySettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    denylist: DenylistSettings = DenylistSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    claims: ClaimSettings = ClaimSettings()
    check: CheckSettings = CheckSettings()

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
