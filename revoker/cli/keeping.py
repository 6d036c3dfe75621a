"""`prune` and `erase`: forgetting."""

import sys
from collections import Counter
from typing import Final

from rich.console import Console

from revoker.cli.output import counted, json_out, plain, say
from revoker.cli.running import Exit, complain
from revoker.service import erase as erasing
from revoker.service import prune as pruning
from revoker.service import publish, reach
from revoker.settings import Settings
from revoker.storage.erasing import Held, held
from revoker.storage.pruning import Table

_ALWAYS_TOLD: Final = (Table.TOKENS, Table.SESSIONS, Table.REVOCATIONS, Table.BATCHES)


async def prune(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """The command of that name."""
    totals: Counter[Table] = Counter()
    errors = Console(file=sys.stderr)
    async with reach.postgres(settings) as engine:
        bounds = await pruning.bounds(engine, settings)
        with errors.status("pruning") as status:
            async for totals in pruning.prune(engine, bounds, dry_run=dry_run):
                status.update(f"pruning: {_said(totals)}")

    if as_json:
        json_out({"dry_run": dry_run, "before": bounds.ended, "rows": totals})
    else:
        say(f"{'would forget' if dry_run else 'forgot'} {_said(totals)}")
    return Exit.DONE


def _said(totals: Counter[Table]) -> str:
    told = [table for table in Table if totals[table] or table in _ALWAYS_TOLD]
    return ", ".join(f"{totals[table]:,} {table.value.replace('_', ' ')}" for table in told)


async def erase(settings: Settings, subject: str, tenant: str | None, *, yes: bool, force: bool, as_json: bool) -> int:
    """The command of that name."""
    whose = {"tenant": publish.tenant_of(settings, tenant), "subject": subject}
    async with reach.postgres(settings) as engine:
        if not yes:
            return _ask(subject, await held(engine, **whose))
        before, deleted = await erasing.erase(engine, **whose, force=force)

    if as_json:
        json_out(whose | {"deleted": deleted, "live": before.live})
        return Exit.DONE if deleted else Exit.NOTHING
    if before.is_empty:
        say(f"nothing is known of {plain(subject)}")
        return Exit.NOTHING
    rows = ", ".join(f"{deleted.get(table, 0):,} {table}" for table in ("sessions", "tokens", "revocations"))
    say(f"erased {plain(subject)}: {rows}")
    if before.live:
        complain(f"{counted(before.live, 'live session')} forgotten, not ended: such a session lives until it expires")
    return Exit.DONE


def _ask(subject: str, found: Held) -> int:
    what = (
        f"{found.sessions:,} sessions ({found.live:,} live), {found.tokens:,} tokens, {found.revocations:,} revocations"
    )
    complain(f"this would erase {what} of {plain(subject)} and cannot be undone: say --yes")
    return Exit.MISUSED
