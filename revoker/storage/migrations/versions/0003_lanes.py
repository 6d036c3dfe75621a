"""A topic may be read by two lanes, each with positions of its own.

`input_positions` stays for the release before, which goes on writing there; its successor takes over from it partition
by partition, where that lane had read it before. The migration after the next release drops it.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

_TABLE = """
create table lane_positions (
    lane text not null,
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    moved_at timestamptz not null,
    primary key (lane, topic, partition)
) with (fillfactor = 50)
"""


def upgrade() -> None:
    op.execute(_TABLE)
