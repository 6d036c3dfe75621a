"""The command: `python -m benchmarks [--json] [--quick] [--only NAME] [--rounds N]`, and more (`--help`).

Exits with 0 whether goals are met or not, and with 1 if nothing could be measured.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil
import uvloop

from benchmarks import check, index, receipts, registration, revocations, sockets
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Note, Result, Row
from benchmarks.ground import Ground, ground
from benchmarks.plan import ROWS, Plan
from benchmarks.race import SCRATCH
from revoker.embedded import EmbeddedError
from revoker.embedded.place import locked_file

_LIBRARIES: Final = ("aiokafka", "asyncpg", "faststream", "sqlalchemy", "sqlmodel", "uvloop")


def main(arguments: list[str] | None = None) -> int:
    """Measures what `arguments` ask for, and prints it."""
    given = _parser().parse_args(arguments)
    # The developer's own revoker.toml is none of ours.
    os.environ["REVOKER_CONFIG"] = os.devnull
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(_measured(_plan(given)))
    except (BenchmarkError, EmbeddedError) as error:
        print(f"This run is void: {error}", file=sys.stderr)
        return 1
    print(result.as_json() if given.json else result.as_text())
    return 0


async def _measured(plan: Plan) -> Result:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    rows: list[Row] = []
    notes: list[Note] = []
    profiles: list[str] = []
    async with _turn(say), ground() as prepared:
        machine = await _machine(prepared)
        await prepared.kafka.create(SCRATCH)
        for measure in _wanted(plan):
            more_rows, more_notes, profile = await measure(prepared, plan, say)
            rows += more_rows
            notes += more_notes
            profiles += [profile] if profile else []
    say("done")
    return Result(machine, asdict(plan), rows, notes, "\n\n".join(profiles))


@asynccontextmanager
async def _turn(say: Callable[[str], None]) -> AsyncIterator[None]:
    """Two runs at once would measure each other."""
    path = Path(tempfile.gettempdir()) / f"revoker-bench-{os.getuid()}.lock"
    async with locked_file(path, lambda: say("waiting for another run to end")):
        yield


def _wanted(plan: Plan) -> list[Any]:
    wanted = set(plan.rows)
    others = {
        "receipts": receipts.measure,
        "registration": registration.measure,
        "index": index.measure,
        "sockets": sockets.measure,
        "check": check.measure,
    }
    measures: list[Any] = [revocations.measure] if wanted - others.keys() else []
    return measures + [measure for name, measure in others.items() if name in wanted]


async def _machine(prepared: Ground) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "PostgreSQL": str(await prepared.sql.fetchval("show server_version")).split()[0],
        **{name: version(name) for name in _LIBRARIES},
    }


def _plan(given: argparse.Namespace) -> Plan:
    plan = Plan(rows=(given.only,) if given.only else ROWS, fresh=given.fresh, profile=given.profile)
    if given.quick:
        plan = plan.quick()
    if given.profile:
        plan = replace(plan, rounds=1)
    if given.rounds:
        plan = replace(plan, rounds=given.rounds)
    if given.processes:
        plan = replace(plan, processes=given.processes)
    if given.patience is not None:
        plan = replace(plan, patience=given.patience)
    if given.events:
        plan = replace(plan, events=given.events, sessions=given.events)
    return plan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description="Measures the product against the bare servers.")
    parser.add_argument("--json", action="store_true", help="for programs, with everything measured")
    parser.add_argument("--quick", action="store_true", help="less of everything: below a minute")
    parser.add_argument("--only", choices=ROWS, metavar="NAME", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each side has its turn")
    parser.add_argument("--processes", type=int, metavar="N", help="consumers processes that share the backlog")
    parser.add_argument("--events", type=int, metavar="N", help="records in a backlog")
    parser.add_argument("--patience", type=float, metavar="SECONDS", help="to wait for others on this machine")
    parser.add_argument("--fresh", action="store_true", help="begin with tables that hold nothing else")
    parser.add_argument("--profile", action="store_true", help="where the product's time goes; one round by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
