"""The ground: sessions, tokens, revocations, batches, positions, and the triggers that keep them honest."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
create table sessions (
    tenant text not null,
    subject text not null,
    session_id text not null,
    client_id text not null,
    established_at timestamptz not null,
    registered_at timestamptz not null,
    expires_at timestamptz,
    device_id text,
    device_name text,
    ip inet,
    key_id text,
    labels jsonb not null default '{}',
    last_active_at timestamptz,
    last_ip inet,
    ended_at timestamptz,
    ended_by uuid,
    born_ended boolean not null default false,
    primary key (tenant, subject, session_id, client_id),
    constraint sessions_named check (subject <> '' and session_id <> ''),
    constraint sessions_ended_together
        check ((ended_at is null) = (ended_by is null) and (ended_at is not null or not born_ended))
) with (fillfactor = 80);
create index sessions_session_id on sessions using hash (session_id);
create index sessions_device_id on sessions using hash (device_id) where device_id is not null;

create table tokens (
    tenant text not null,
    subject text not null,
    token_id text not null,
    session_id text,
    client_id text,
    kind text not null,
    issued_at timestamptz not null,
    expires_at timestamptz,
    ended_at timestamptz,
    ended_by uuid,
    born_ended boolean not null default false,
    primary key (tenant, subject, token_id),
    constraint tokens_named check (subject <> '' and token_id <> ''),
    constraint tokens_kind check (kind in ('refresh', 'remember-me', 'access')),
    constraint tokens_ended_together
        check ((ended_at is null) = (ended_by is null) and (ended_at is not null or not born_ended))
) with (fillfactor = 80);
create index tokens_token_id on tokens using hash (token_id);

create table revocations (
    tenant text not null,
    subject text not null,
    id uuid not null,
    any_tenant boolean not null default false,
    session_ids text[],
    token_id text,
    client_id text,
    key_id text,
    device_id text,
    ip_network cidr,
    labels jsonb not null default '{}',
    established_after timestamptz,
    not_before timestamptz not null,
    keep text[] not null default '{}',
    keep_clients text[] not null default '{}',
    covers_until timestamptz not null,
    cause text not null,
    initiator text not null,
    reason_user jsonb not null,
    reason_admin text,
    source text not null,
    event_id text not null,
    requested_at timestamptz not null,
    committed_at timestamptz not null,
    batch_id uuid not null,
    enforced boolean not null default true,
    redundant boolean not null default false,
    sessions_ended integer not null default 0,
    tokens_ended integer not null default 0,
    primary key (tenant, subject, id),
    constraint revocations_initiator check (initiator in ('admin', 'user', 'policy', 'system')),
    constraint revocations_covers_until check (covers_until >= not_before),
    constraint revocations_session_ids check (session_ids is null or cardinality(session_ids) > 0),
    constraint revocations_report_only check (enforced or not redundant)
);
create index revocations_id on revocations using hash (id);
create index revocations_event_id on revocations using hash (event_id);
create index revocations_committed_at on revocations (committed_at);
create index revocations_subjectless_session_ids on revocations using gin (session_ids) where subject = '';
create index revocations_subjectless_token_id on revocations using hash (token_id)
    where subject = '' and token_id is not null;
create index revocations_wide on revocations (committed_at)
    where subject = '' and session_ids is null and token_id is null;

create table batches (
    id uuid primary key,
    lane text not null,
    committed_at timestamptz not null,
    late jsonb,
    announced_at timestamptz,
    epoch uuid,
    positions jsonb,
    constraint batches_announced check (announced_at is null or positions is not null)
) with (fillfactor = 80);
create index batches_unannounced on batches (committed_at) where announced_at is null;

create table input_positions (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    moved_at timestamptz not null,
    primary key (topic, partition)
) with (fillfactor = 50);

create table feeds (
    topic text primary key,
    epoch uuid not null,
    high jsonb not null default '{}',
    began_at timestamptz not null
);
"""

# `when` is evaluated without calling the function, so a live row pays nothing for it.
_REFUSE = """
create function revoker_refuse_v1() returns trigger language plpgsql as $$
begin
    raise exception 'revoker: % of %: what is ended stays ended, what is decided stays decided', tg_op, tg_table_name
        using errcode = 'integrity_constraint_violation';
end $$
"""
_STAY_ENDED = """
create trigger {table}_stay_ended before update on {table} for each row
    when (old.ended_at is not null and (old.ended_at, old.ended_by, old.born_ended)
          is distinct from (new.ended_at, new.ended_by, new.born_ended))
    execute function revoker_refuse_v1()
"""
_STAY_DECIDED = """
create trigger revocations_stay_decided before update on revocations for each row
    execute function revoker_refuse_v1()
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(_REFUSE)
    op.execute(_STAY_ENDED.format(table="sessions"))
    op.execute(_STAY_ENDED.format(table="tokens"))
    op.execute(_STAY_DECIDED)
