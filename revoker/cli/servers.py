"""`migrate`, `topics`, `doctor`: the servers that the service stands on."""

from collections import defaultdict

from revoker.cli.output import cell, console, counted, json_out, say, show, table
from revoker.cli.running import Exit
from revoker.service import doctor as doctors
from revoker.service import reach
from revoker.service import topics as use_case
from revoker.service.topics import Level
from revoker.settings import Settings
from revoker.storage import migrate as migrations

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


async def migrate(settings: Settings) -> int:
    """The command of that name."""
    async with reach.postgres(settings) as engine:
        before, after = await migrations.migrate(engine)
    say(
        f"nothing to do: the schema is at {after}"
        if before == after
        else f"migrated from {before or 'nothing'} to {after}"
    )
    return Exit.DONE


async def topics(settings: Settings, *, create: bool, as_json: bool) -> int:
    """The command of that name."""
    created = await use_case.create_missing(settings) if create else []
    findings = await use_case.check(settings)
    failed = any(finding.level is Level.FAIL for finding in findings)

    if as_json:
        json_out({"created": created, "findings": findings})
        return Exit.FAILED if failed else Exit.DONE
    for name in created:
        say(f"created {name}")
    by_topic: dict[str, list[use_case.Finding]] = defaultdict(list)
    for finding in findings:
        by_topic[finding.topic].append(finding)
    made = table("topic", "", "partitions", "copies", "kept", "what is wrong")
    for name, some in by_topic.items():
        wrong = [finding for finding in some if finding.level is not Level.OK]
        worst = max((finding.level for finding in some), key=list(Level).index)
        made.add_row(
            name,
            cell(worst.value, style=_STYLES[worst]),
            *(_found(some, setting) for setting in ("partitions", "replication", "retention.ms")),
            cell(*(_said(finding) for finding in wrong)),
        )
    show(made)
    return Exit.FAILED if failed else Exit.DONE


def _found(findings: list[use_case.Finding], setting: str) -> str:
    return next((finding.found for finding in findings if finding.setting == setting), "")


def _said(finding: use_case.Finding) -> str:
    if finding.setting == "exists":
        return f"missing: {finding.why}"
    why = f": {finding.why}" if finding.why else ""
    return f"{finding.setting} is {finding.found}, wanted {finding.wanted}{why}"


async def print_acls(settings: Settings) -> int:
    """`topics --print-acls`."""
    out = console()
    for role, commands in use_case.acls(settings).items():
        out.print(f"# {role}", soft_wrap=True)
        for command in commands:
            out.print(command, soft_wrap=True)
    return Exit.DONE


async def doctor(settings: Settings, *, as_json: bool) -> int:
    """The command of that name."""
    findings = await doctors.examine(settings)
    failed = [finding for finding in findings if finding.level is Level.FAIL]
    warned = [finding for finding in findings if finding.level is Level.WARN]

    if as_json:
        json_out(findings)
        return Exit.FAILED if failed else Exit.DONE
    made = table("", "", "")
    made.show_header = False
    for finding in findings:
        hint = f"→ {finding.hint}" if finding.hint else None
        made.add_row(cell(finding.level.value, style=_STYLES[finding.level]), finding.about, cell(finding.text, hint))
    show(made)
    say("", f"{counted(len(failed), 'failure')}, {counted(len(warned), 'warning')}, {len(findings)} looked at")
    return Exit.FAILED if failed else Exit.DONE
