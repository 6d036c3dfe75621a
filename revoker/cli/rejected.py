"""`rejected list` and `rejected replay`."""

from datetime import UTC, datetime
from typing import Any, Final

from revoker.cli.output import ago, cell, counted, json_out, local, plain, say, table
from revoker.cli.output import as_json as jsonable
from revoker.cli.output import show as show_table
from revoker.cli.running import Exit, complain
from revoker.service import rejected as use_case
from revoker.service.rejected import RejectedRecord, preview
from revoker.settings import Settings

_PREVIEW: Final = 80


async def show(settings: Settings, *, limit: int, as_json: bool) -> int:
    """`rejected list`."""
    found = await use_case.newest(settings, limit)

    if as_json:
        json_out([_as_object(one) for one in found])
        return Exit.DONE if found else Exit.NOTHING
    if not found:
        say("nothing was set aside")
        return Exit.NOTHING
    now = datetime.now(UTC)
    made = table("record", "when", "why", "came from", "key and value")
    for one in found:
        made.add_row(
            _name(one),
            cell(local(one.at, now), ago(one.at, now)),
            cell(plain(one.reason) or "not said", plain(one.detail) or None),
            plain(_origin(one)),
            cell(preview(one.key, 40) or "no key", preview(one.value, _PREVIEW) or "no value"),
        )
    show_table(made)
    return Exit.DONE


async def replay(
    settings: Settings, *, reason: str | None, places: frozenset[tuple[int, int]], dry_run: bool, as_json: bool
) -> int:
    """`rejected replay`. Both filters at once mean both."""

    def choose(one: RejectedRecord) -> bool:
        return (reason is None or one.reason == reason) and (not places or (one.partition, one.offset) in places)

    done = await use_case.replay(settings, choose, dry_run=dry_run)

    total = done.sent.total()
    if as_json:
        json_out({"dry_run": dry_run, "sent": total, "by_reason": done.sent, "unknown_origin": done.unknown_origin})
    else:
        verb = "would send" if dry_run else "sent"
        kinds = ", ".join(f"{count:,} {plain(name) or 'without a reason'}" for name, count in done.sent.most_common())
        say(f"{verb} {counted(total, 'record')} once more" + (f": {kinds}" if kinds else ""))
    if done.unknown_origin:
        complain(f"{counted(done.unknown_origin, 'record')} left out: they name no topic that this service reads")
    return Exit.DONE if total else Exit.NOTHING


def _name(one: RejectedRecord) -> str:
    return f"{one.partition}:{one.offset}"


def _origin(one: RejectedRecord) -> str:
    if one.topic is None:
        return "not said"
    return f"{one.topic}/{one.topic_partition}/{one.topic_offset}"


def _as_object(one: RejectedRecord) -> dict[str, Any]:
    return {
        "record": _name(one),
        "at": jsonable(one.at),
        "reason": one.reason,
        "detail": one.detail,
        "type": one.type,
        "topic": one.topic,
        "partition": one.topic_partition,
        "offset": one.topic_offset,
        "key": preview(one.key, 200),
        "value": preview(one.value, 1_000),
        "bytes": len(one.value or b""),
    }
