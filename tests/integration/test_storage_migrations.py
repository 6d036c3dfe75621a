"""The schema: one way up, however often and by however many at once, and what it must never grow."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.storage import database, migrate, tables
from tests.factories import decision, established
from tests.servers import make_settings
from tests.stored import apply, execute, register, rows

ROOT = Path(__file__).parents[2]
MIGRATE = """
import asyncio, sys
from revoker.storage import database, migrate, tables
from tests.servers import make_settings
async def main():
    engine = database.reader(make_settings(database_url=sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    print(*await migrate.migrate(engine))
    await engine.dispose()
asyncio.run(main())
"""


# The rows as SQLModel sees them, and the migrations.


def differences(connection: Connection) -> Sequence[Any]:
    def ours(_object: Any, name: str | None, type_: str, _reflected: bool, _twin: Any) -> bool:  # noqa: FBT001 - alembic's
        return not (type_ == "table" and name == "alembic_version")

    options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
    context = MigrationContext.configure(connection, opts=options)
    found: Sequence[Any] = compare_metadata(context, tables.SessionRow.metadata)
    return found


async def test_the_migrated_schema_is_what_the_rows_say(reader: AsyncEngine) -> None:
    async with reader.connect() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(
    "change",
    [
        "alter table sessions add column color text",
        "alter table sessions alter column device_id type varchar(9)",
        "alter table sessions alter column expires_at set not null",
        "drop index revocations_wide",
        "alter table revocations alter column enforced set default false",
    ],
)
async def test_a_difference_is_seen(engine: AsyncEngine, reader: AsyncEngine, change: str) -> None:
    await execute(engine, change)

    async with reader.connect() as connection:
        assert await connection.run_sync(differences) != []


async def test_constraints_and_indexes_are_word_for_word_those_of_the_rows(
    reader: AsyncEngine, empty_database_url: str
) -> None:
    """What `compare_metadata` does not look at: conditions, methods, expressions and orders."""
    other = database.reader(make_settings(database_url=empty_database_url))
    try:
        async with other.begin() as connection:
            await connection.run_sync(tables.SessionRow.metadata.create_all)
        assert await _defined(reader) == await _defined(other)
    finally:
        await other.dispose()


async def _defined(engine: AsyncEngine) -> set[tuple[Any, ...]]:
    constraints = """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = 'public'::regnamespace and contype <> 'n' and conname not like 'alembic%'"""
    indexes = """
        select tablename, indexname, indexdef from pg_indexes
        where schemaname = 'public' and tablename not like 'alembic%'"""
    found = [*await rows(engine, constraints.replace("::", "\\:\\:")), *await rows(engine, indexes)]
    assert len(found) > 20
    return {tuple(row) for row in found}


# The way up.


async def test_migrating_again_does_nothing(engine: AsyncEngine, reader: AsyncEngine) -> None:
    await register(engine, established())
    before = await rows(reader, "select * from sessions")

    head = await migrate.revisions(reader)

    assert head[0] == head[1] is not None
    assert await migrate.migrate(reader) == head
    assert await rows(reader, "select * from sessions") == before


async def test_an_empty_database_has_no_revision_until_it_is_migrated(empty_database_url: str) -> None:
    engine = database.reader(make_settings(database_url=empty_database_url))
    try:
        assert (await migrate.revisions(engine))[0] is None
        before, after = await migrate.migrate(engine)
        assert (before, after) == (None, (await migrate.revisions(engine))[1])
    finally:
        await engine.dispose()


def test_processes_that_migrate_at_once_take_turns(empty_database_url: str) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_database_url],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        # Both are about to; neither waits for the other to have finished.
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60) for process in running]
    finally:
        for process in running:
            process.kill()

    assert [process.returncode for process in running] == [0, 0], said
    assert sorted(out.split()[0] for out, _ in said) == ["0003", "None"]


async def test_a_migration_that_fails_leaves_nothing(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = database.reader(make_settings(database_url=empty_database_url))

    def upgrade(*arguments: Any) -> None:
        real(*arguments)
        raise ConnectionResetError

    real = command.upgrade
    monkeypatch.setattr(command, "upgrade", upgrade)
    try:
        with pytest.raises(ConnectionResetError):
            await migrate.migrate(engine)
        assert await rows(engine, "select tablename from pg_tables where schemaname = 'public'") == []
    finally:
        await engine.dispose()


# What makes revocations fast, measured once and easily lost.


async def test_no_index_names_what_an_end_changes(reader: AsyncEngine) -> None:
    """An update of an indexed column, also of a partial index's condition, is not heap-only: a third of the speed."""
    found = await rows(reader, "select indexname, indexdef from pg_indexes where schemaname = 'public'")

    assert len(found) > 10
    assert [name for name, definition in found if "ended_at" in definition or "ended_by" in definition] == []
    assert [name for name, definition in found if "born_ended" in definition] == []


async def test_ending_sessions_is_heap_only(engine: AsyncEngine, reader: AsyncEngine) -> None:
    subjects = [f"u-{number}" for number in range(3000)]
    for start in range(0, len(subjects), 500):
        await register(engine, *(established(f"s-{n}", n, device_id="d") for n in subjects[start : start + 500]))
    random.Random(1).shuffle(subjects)

    # Half of them: what is ended stays, so that a table of nothing but ended rows has no room left.
    for start in range(0, len(subjects) // 2, 150):
        await apply(engine, *(decision("password-changed", subject) for subject in subjects[start : start + 150]))
    await engine.dispose()

    updated, heap_only = await _updates(reader, len(subjects) // 2)
    assert updated == len(subjects) // 2
    assert heap_only / updated > 0.9


async def _updates(reader: AsyncEngine, expected: int) -> tuple[int, int]:
    """The statistics of `sessions`, which a backend writes at its end."""
    deadline = time.monotonic() + 10
    while True:
        [row] = await rows(
            reader, "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'sessions'"
        )
        if row[0] >= expected or time.monotonic() > deadline:
            return row[0], row[1]
        await asyncio.sleep(0.05)
