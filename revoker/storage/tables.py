"""The rows, as SQLModel sees them; the migrations are their twin, and a test holds the two together.

Keys begin with (tenant, subject), so that the tables distribute over a sharded PostgreSQL. The database refuses
nonsense by itself: an ended row cannot be un-ended, a stored revocation cannot be changed (triggers in the migrations).

Indexes were measured (a million rows): one that names `ended_at` or `ended_by`, also as a partial predicate, makes
every revocation three times slower, because no update is then heap-only. So there is none, and there must be none.

`SQLModel(table=True)` validates nothing on construction: these rows are made by set-based SQL and only read as objects.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, DateTime, Double, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import CIDR, INET, JSONB
from sqlmodel import Field, SQLModel


def _instant(*, null: bool = True) -> Any:  # noqa: ANN401 - SQLAlchemy's column factories are untyped here
    return Column(DateTime(timezone=True), nullable=null)


def _text(*, key: bool = False, null: bool = False, default: str | None = None) -> Any:  # noqa: ANN401 - as above
    server = None if default is None else text(f"'{default}'")
    return Column(Text, primary_key=key, nullable=null, server_default=server)


def _texts() -> Any:  # noqa: ANN401 - as above
    return Column(ARRAY(Text), nullable=False, server_default=text("'{}'"))


_ENDED_TOGETHER = "(ended_at is null) = (ended_by is null) and (ended_at is not null or not born_ended)"


class SessionRow(SQLModel, table=True):
    """One client's part of one sign-in. `client_id` is empty where the sign-in knows no client."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint(_ENDED_TOGETHER, name="sessions_ended_together"),
        CheckConstraint("subject <> '' and session_id <> ''", name="sessions_named"),
        Index("sessions_session_id", "session_id", postgresql_using="hash"),
        Index(
            "sessions_device_id", "device_id", postgresql_using="hash", postgresql_where=text("device_id is not null")
        ),
    )

    tenant: str = Field(sa_column=_text(key=True))
    subject: str = Field(sa_column=_text(key=True))
    session_id: str = Field(sa_column=_text(key=True))
    client_id: str = Field(sa_column=_text(key=True))
    established_at: datetime = Field(sa_column=_instant(null=False))
    registered_at: datetime = Field(sa_column=_instant(null=False))
    expires_at: datetime | None = Field(default=None, sa_column=_instant())
    device_id: str | None = Field(default=None, sa_column=_text(null=True))
    device_name: str | None = Field(default=None, sa_column=_text(null=True))
    ip: str | None = Field(default=None, sa_column=Column(INET, nullable=True))
    key_id: str | None = Field(default=None, sa_column=_text(null=True))
    labels: dict[str, str] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))
    last_active_at: datetime | None = Field(default=None, sa_column=_instant())
    last_ip: str | None = Field(default=None, sa_column=Column(INET, nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=_instant())
    ended_by: UUID | None = None
    born_ended: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})


class TokenRow(SQLModel, table=True):
    """A token that was issued. Without a session it stands for itself, established when it was issued."""

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint(_ENDED_TOGETHER, name="tokens_ended_together"),
        CheckConstraint("subject <> '' and token_id <> ''", name="tokens_named"),
        CheckConstraint("kind in ('refresh', 'remember-me', 'access')", name="tokens_kind"),
        Index("tokens_token_id", "token_id", postgresql_using="hash"),
    )

    tenant: str = Field(sa_column=_text(key=True))
    subject: str = Field(sa_column=_text(key=True))
    token_id: str = Field(sa_column=_text(key=True))
    session_id: str | None = Field(default=None, sa_column=_text(null=True))
    client_id: str | None = Field(default=None, sa_column=_text(null=True))
    kind: str = Field(sa_column=_text())
    issued_at: datetime = Field(sa_column=_instant(null=False))
    expires_at: datetime | None = Field(default=None, sa_column=_instant())
    ended_at: datetime | None = Field(default=None, sa_column=_instant())
    ended_by: UUID | None = None
    born_ended: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})


class RevocationRow(SQLModel, table=True):
    """A decided predicate. It is filed under `tenant` and `subject`, empty where the selector names none."""

    __tablename__ = "revocations"
    __table_args__ = (
        CheckConstraint("initiator in ('admin', 'user', 'policy', 'system')", name="revocations_initiator"),
        CheckConstraint("covers_until >= not_before", name="revocations_covers_until"),
        CheckConstraint("session_ids is null or cardinality(session_ids) > 0", name="revocations_session_ids"),
        CheckConstraint("enforced or not redundant", name="revocations_report_only"),
        Index("revocations_id", "id", postgresql_using="hash"),
        Index("revocations_event_id", "event_id", postgresql_using="hash"),
        Index("revocations_committed_at", "committed_at"),
        Index(
            "revocations_subjectless_session_ids",
            "session_ids",
            postgresql_using="gin",
            postgresql_where=text("subject = ''"),
        ),
        Index(
            "revocations_subjectless_token_id",
            "token_id",
            postgresql_using="hash",
            postgresql_where=text("subject = '' and token_id is not null"),
        ),
        Index(
            "revocations_wide",
            "committed_at",
            postgresql_where=text("subject = '' and session_ids is null and token_id is null"),
        ),
    )

    tenant: str = Field(sa_column=_text(key=True))
    subject: str = Field(sa_column=_text(key=True))
    id: UUID = Field(primary_key=True)
    any_tenant: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    session_ids: list[str] | None = Field(default=None, sa_column=Column(ARRAY(Text), nullable=True))
    token_id: str | None = Field(default=None, sa_column=_text(null=True))
    client_id: str | None = Field(default=None, sa_column=_text(null=True))
    key_id: str | None = Field(default=None, sa_column=_text(null=True))
    device_id: str | None = Field(default=None, sa_column=_text(null=True))
    ip_network: str | None = Field(default=None, sa_column=Column(CIDR, nullable=True))
    labels: dict[str, str] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))
    established_after: datetime | None = Field(default=None, sa_column=_instant())
    not_before: datetime = Field(sa_column=_instant(null=False))
    keep: list[str] = Field(sa_column=_texts())
    keep_clients: list[str] = Field(sa_column=_texts())
    covers_until: datetime = Field(sa_column=_instant(null=False))
    cause: str = Field(sa_column=_text())
    initiator: str = Field(sa_column=_text())
    reason_user: dict[str, str] = Field(sa_column=Column(JSONB, nullable=False))
    reason_admin: str | None = Field(default=None, sa_column=_text(null=True))
    source: str = Field(sa_column=_text())
    event_id: str = Field(sa_column=_text())
    requested_at: datetime = Field(sa_column=_instant(null=False))
    committed_at: datetime = Field(sa_column=_instant(null=False))
    batch_id: UUID
    enforced: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    redundant: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    sessions_ended: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))
    tokens_ended: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))


class BatchRow(SQLModel, table=True):
    """What one transaction announced, and where on `session-ended`: what "enforced" is computed from."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint("announced_at is null or positions is not null", name="batches_announced"),
        CheckConstraint("(enforced_at is null) = (proof_id is null)", name="batches_enforced"),
        Index("batches_unannounced", "committed_at", postgresql_where=text("announced_at is null")),
        Index("batches_proof_id", "proof_id", postgresql_using="hash", postgresql_where=text("proof_id is not null")),
        Index(
            "batches_unproven",
            "announced_at",
            "id",
            postgresql_where=text("announced_at is not null and epoch is not null and enforced_at is null"),
        ),
    )

    id: UUID = Field(primary_key=True)
    lane: str = Field(sa_column=_text())
    committed_at: datetime = Field(sa_column=_instant(null=False))
    late: list[Any] | None = Field(default=None, sa_column=Column(JSONB, nullable=True))
    announced_at: datetime | None = Field(default=None, sa_column=_instant())
    epoch: UUID | None = None
    positions: dict[str, int] | None = Field(default=None, sa_column=Column(JSONB, nullable=True))
    enforced_at: datetime | None = Field(default=None, sa_column=_instant())
    proof_id: UUID | None = None


class LanePositionRow(SQLModel, table=True):
    """The next offset to apply, moved in the transaction that applies: a restored database rewinds itself."""

    __tablename__ = "lane_positions"

    lane: str = Field(sa_column=_text(key=True))
    topic: str = Field(sa_column=_text(key=True))
    partition: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    next_offset: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = Field(sa_column=_instant(null=False))


class InputPositionRow(SQLModel, table=True):
    """The same before a topic could be read by two lanes: what the release before writes, and this one takes over."""

    __tablename__ = "input_positions"

    topic: str = Field(sa_column=_text(key=True))
    partition: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    next_offset: int = Field(sa_column=Column(BigInteger, nullable=False))
    moved_at: datetime = Field(sa_column=_instant(null=False))


class FeedRow(SQLModel, table=True):
    """Which life of the topic `session-ended` the positions speak of."""

    __tablename__ = "feeds"

    topic: str = Field(sa_column=_text(key=True))
    epoch: UUID
    high: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))
    began_at: datetime = Field(sa_column=_instant(null=False))


class GatewayRow(SQLModel, table=True):
    """One life of one process that reads `session-ended`, as its latest receipt described it."""

    __tablename__ = "gateways"
    __table_args__ = (
        CheckConstraint("state in ('replaying', 'serving', 'stopped')", name="gateways_state"),
        CheckConstraint("mode in ('strict', 'best_effort')", name="gateways_mode"),
        CheckConstraint("(left_at is null) = (left_by is null)", name="gateways_left"),
        Index("gateways_left_at", "left_at"),
    )

    id: UUID = Field(primary_key=True)
    gateway: str = Field(sa_column=_text())
    instance: str = Field(sa_column=_text())
    incarnation: str = Field(sa_column=_text())
    kind: str = Field(sa_column=_text())
    epoch: str = Field(sa_column=_text())
    state: str = Field(sa_column=_text())
    mode: str = Field(sa_column=_text())
    max_staleness: float = Field(sa_column=Column(Double, nullable=False))
    attributes: list[str] = Field(sa_column=_texts())
    position: list[int] | None = Field(default=None, sa_column=Column(ARRAY(BigInteger), nullable=True))
    at: datetime = Field(sa_column=_instant(null=False))
    receipt_offset: int = Field(sa_column=Column(BigInteger, nullable=False))
    first_heard_at: datetime = Field(sa_column=_instant(null=False))
    heard_at: datetime = Field(sa_column=_instant(null=False))
    left_at: datetime | None = Field(default=None, sa_column=_instant())
    left_by: str | None = Field(default=None, sa_column=_text(null=True))
    left_why: str | None = Field(default=None, sa_column=_text(null=True))
    went_back: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default=text("0")))


class GatewayEffectRow(SQLModel, table=True):
    """What one revocation did at one incarnation: connections cut, cache entries dropped, the dead still tried."""

    __tablename__ = "gateway_effects"

    revocation_id: UUID = Field(primary_key=True)
    gateway_id: UUID = Field(primary_key=True)
    heard_at: datetime = Field(sa_column=_instant(null=False))
    connections: int = Field(sa_column=Column(BigInteger, nullable=False))
    cached: int = Field(sa_column=Column(BigInteger, nullable=False))
    first_applied_at: datetime | None = Field(default=None, sa_column=_instant())
    last_applied_at: datetime | None = Field(default=None, sa_column=_instant())
    refused: int = Field(sa_column=Column(BigInteger, nullable=False))
    refused_verified: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_refused_at: datetime | None = Field(default=None, sa_column=_instant())
    last_ip: str | None = Field(default=None, sa_column=Column(INET, nullable=True))


class ProofRow(SQLModel, table=True):
    """Why batches count as enforced: who was there, and how each was proven. Named by its content, shared by many."""

    __tablename__ = "proofs"

    id: UUID = Field(primary_key=True)
    participants: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    used_at: datetime = Field(sa_column=_instant(null=False))


class ReadingRow(SQLModel, table=True):
    """How far `gateway-receipts` is read: every receipt that Kafka took before `until` is stored."""

    __tablename__ = "receipts_read"

    topic: str = Field(sa_column=_text(key=True))
    until: datetime = Field(sa_column=_instant(null=False))
    steady_since: datetime = Field(sa_column=_instant(null=False))
