"""Brings the schema up to date, one process at a time. Expand, then contract: the release before still works on it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

_MIGRATION_LOCK = 0x7265766D6967


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(engine: AsyncEngine) -> tuple[str | None, str | None]:
    """Upgrades to the newest revision in one transaction. Returns the revisions before and after."""
    async with engine.begin() as connection:
        # Waits its turn behind another process that migrates, however long that takes.
        await connection.execute(text("set local lock_timeout = 0"))
        await connection.execute(text("set local statement_timeout = 0"))
        await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        await connection.execute(text("set local lock_timeout = '4s'"))
        return await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    before = _revision(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return before, _revision(connection)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def revisions(engine: AsyncEngine) -> tuple[str | None, str | None]:
    """The schema's revision, and the one that this release needs."""
    async with engine.connect() as connection:
        return await connection.run_sync(_revision), ScriptDirectory.from_config(_config()).get_current_head()


def is_usable(current: str | None) -> bool:
    """Whether this release can work on a schema at `current`: its own, or one of a later release.

    A later release expands the schema before it contracts it, so that the one before goes on working meanwhile.
    """
    scripts = ScriptDirectory.from_config(_config())
    ours = {script.revision for script in scripts.walk_revisions()}
    return current == scripts.get_current_head() or (current is not None and current not in ours)
