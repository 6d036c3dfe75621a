"""The gateways: who they are, how far they have come, what they did, and which batches are proven to be enforced."""

from alembic import op

revision = "0002"
down_revision = "0001"

_TABLES = """
create table gateways (
    id uuid primary key,
    gateway text not null,
    instance text not null,
    incarnation text not null,
    kind text not null,
    epoch text not null,
    state text not null,
    mode text not null,
    max_staleness double precision not null,
    attributes text[] not null default '{}',
    position bigint[],
    at timestamptz not null,
    receipt_offset bigint not null,
    first_heard_at timestamptz not null,
    heard_at timestamptz not null,
    left_at timestamptz,
    left_by text,
    left_why text,
    went_back integer not null default 0,
    constraint gateways_state check (state in ('replaying', 'serving', 'stopped')),
    constraint gateways_mode check (mode in ('strict', 'best_effort')),
    constraint gateways_left check ((left_at is null) = (left_by is null))
) with (fillfactor = 50);
create index gateways_left_at on gateways (left_at);

create table gateway_effects (
    revocation_id uuid not null,
    gateway_id uuid not null,
    heard_at timestamptz not null,
    connections bigint not null,
    cached bigint not null,
    first_applied_at timestamptz,
    last_applied_at timestamptz,
    refused bigint not null,
    refused_verified bigint not null,
    last_refused_at timestamptz,
    last_ip inet,
    primary key (revocation_id, gateway_id)
) with (fillfactor = 90);

create table proofs (
    id uuid primary key,
    participants jsonb not null,
    used_at timestamptz not null
);

create table receipts_read (
    topic text primary key,
    until timestamptz not null,
    steady_since timestamptz not null
) with (fillfactor = 50);

alter table batches add column enforced_at timestamptz, add column proof_id uuid;
alter table batches
    add constraint batches_enforced check ((enforced_at is null) = (proof_id is null)) not valid;
alter table batches validate constraint batches_enforced;
create index batches_proof_id on batches using hash (proof_id) where proof_id is not null;
create index batches_unproven on batches (announced_at, id)
    where announced_at is not null and epoch is not null and enforced_at is null;
"""

# What was proven once stays proven: a gateway that forgets later makes no revocation unproven.
_STAY_ENFORCED = """
create trigger batches_stay_enforced before update on batches for each row
    when (old.enforced_at is not null and (old.enforced_at, old.proof_id)
          is distinct from (new.enforced_at, new.proof_id))
    execute function revoker_refuse_v1()
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(_STAY_ENFORCED)
