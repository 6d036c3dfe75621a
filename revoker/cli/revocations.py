"""`revocations [ID]`: what was decided, by whom, and how far it has come.

`committed` is in the database, `announced` is acknowledged by Kafka, `enforced` is proven: nobody serves it any more.
"""

import uuid
from datetime import datetime
from typing import Any

from revoker.cli.enforcement import at_instance, enforced_line, instances_table, served_lines
from revoker.cli.output import (
    ago,
    cell,
    console,
    counted,
    json_out,
    listed,
    local,
    milliseconds,
    plain,
    say,
    table,
    when,
)
from revoker.cli.output import show as show_table
from revoker.cli.running import Exit
from revoker.cli.sessions import as_object, sessions_table
from revoker.core.notices import selector_on_wire
from revoker.core.revocation import Revocation
from revoker.service import gateways, publish, reach
from revoker.service.gateways import Enforcement, Stage
from revoker.service.publish import SHOWN_SESSIONS, MisusedError
from revoker.settings import Settings
from revoker.storage import reading
from revoker.storage.reading import RevocationFound, SessionFound


async def show(settings: Settings, subject: str | None, tenant: str | None, *, limit: int, as_json: bool) -> int:
    """The list."""
    async with reach.postgres(settings) as engine:
        now = await reading.now(engine)
        if subject is None:
            found = await reading.newest(engine, limit)
        else:
            whose = publish.tenant_of(settings, tenant)
            found = await reading.newest_of(engine, tenant=whose, subject=subject, limit=limit)
        enforced = await gateways.enforced_among(engine, found)

    if as_json:
        json_out([_as_object(one, enforced=one.revocation.id in enforced) for one in found])
        return Exit.DONE if found else Exit.NOTHING
    if not found:
        say("no revocations")
        return Exit.NOTHING
    made = table("committed", "what", "subject", "ended", "state")
    for one in found:
        wanted = one.revocation
        made.add_row(
            cell(local(one.committed_at, now), ago(one.committed_at, now)),
            cell(f"{wanted.cause} by {wanted.initiator}", str(wanted.id)),
            plain(wanted.selector.subject) or _named(wanted),
            cell(
                counted(one.sessions_ended, "session"),
                counted(one.tokens_ended, "token") if one.tokens_ended else None,
            ),
            cell(*_states(one, enforced=wanted.id in enforced)),
        )
    show_table(made)
    return Exit.DONE


async def show_one(settings: Settings, id_: str, *, as_json: bool) -> int:
    """All of one."""
    try:
        wanted = uuid.UUID(id_)
    except ValueError:
        raise MisusedError("the id of a revocation is a UUID, as `revoker revocations` shows it") from None
    async with reach.postgres(settings) as engine:
        now = await reading.now(engine)
        found = await reading.revocation(engine, wanted)
        lifetime = settings.sessions.lifetime
        ended = await reading.ended_by(engine, found, lifetime=lifetime, limit=SHOWN_SESSIONS) if found else []
        enforcement = await gateways.enforcement_of(engine, settings, found) if found else None

    if found is None or enforcement is None:
        if as_json:
            json_out(None)
        else:
            say(f"no revocation {wanted}: it is not committed (yet), or was pruned")
        return Exit.NOTHING
    if as_json:
        enforced = enforcement.stage is Stage.ENFORCED
        json_out(
            _as_object(found, enforced=enforced)
            | {"enforcement": _enforcement(enforcement), "sessions": [as_object(one) for one in ended]}
        )
    else:
        _tell(found, enforcement, ended, now)
    return Exit.DONE


def _tell(found: RevocationFound, enforcement: Enforcement, ended: list[SessionFound], now: datetime) -> None:
    wanted = found.revocation
    made = table("", "")
    made.show_header = False
    for name, text in (
        ("revocation", str(wanted.id)),
        (
            "why",
            f"{plain(wanted.cause)} by {wanted.initiator}, event {plain(wanted.event_id)} of {plain(wanted.source)}",
        ),
        ("reason", "; ".join(f"{plain(tongue)}: {plain(text)}" for tongue, text in wanted.reason_user.items())),
        ("internal", plain(wanted.reason_admin)),
        (
            "selector",
            _selected(wanted),
        ),
        (
            "not before",
            f"{when(wanted.not_before, now)} (began by then: ended)" if wanted.selector.bounded else "no bound",
        ),
        ("keep", listed(wanted.keep)),
        ("keep clients", listed(wanted.keep_clients)),
        ("covers until", when(wanted.covers_until, now)),
        ("requested", when(wanted.requested_at, now)),
        (
            "committed",
            f"{when(found.committed_at, now)}: {milliseconds(found.committed_at - wanted.requested_at)} later",
        ),
        ("announced", _announced(found, now)),
        ("enforced", enforced_line(enforcement, found, now)),
        ("served since", cell(*served_lines(enforcement, now), style="bold red") if enforcement.served else ""),
        ("state", ", ".join(_states(found, enforced=enforcement.stage is Stage.ENFORCED))),
        ("ended", f"{counted(found.sessions_ended, 'session')}, {counted(found.tokens_ended, 'token')}"),
    ):
        if text:
            made.add_row(cell(name, style="bold"), text)
    show_table(made)
    if enforcement.instances:
        console().print()
        show_table(instances_table(enforcement, now))
    if ended:
        console().print()
        show_table(sessions_table(ended, now))
    if len(ended) == SHOWN_SESSIONS:
        say(f"the first {SHOWN_SESSIONS}")


def _selected(wanted: Revocation) -> str:
    named = {name: value for name, value in selector_on_wire(wanted.selector).items() if value != ""}
    return ", ".join(
        f"{name} {listed([value] if isinstance(value, str) else list(value))}" for name, value in named.items()
    )


def _announced(found: RevocationFound, now: datetime) -> str:
    if found.announced_at is None:
        return "not yet"
    if not found.revocation.enforced or found.redundant:
        return "nothing to announce"
    return f"{when(found.announced_at, now)}: {milliseconds(found.announced_at - found.committed_at)} later"


def _states(found: RevocationFound, *, enforced: bool) -> list[str]:
    if not found.revocation.enforced:
        return ["report-only", "ended nothing"]
    if found.redundant:
        return ["committed", "redundant"]
    return ["enforced"] if enforced else ["committed", "announced" if found.announced_at else "not announced"]


def _enforcement(found: Enforcement) -> dict[str, Any]:
    return {
        "stage": found.stage,
        "enforced_at": found.enforced_at,
        "receipts_read_until": found.read_until,
        "missing": list(found.missing),
        "served_since": list(found.served),
        "waiting_for": [at_instance(one) for one in found.waiting_for],
        "instances": [at_instance(one) for one in found.instances],
    }


def _named(wanted: Revocation) -> str:
    ids = wanted.selector.session_ids or ((wanted.selector.token_id,) if wanted.selector.token_id else ())
    return f"({listed(ids, 1)})" if ids else "(wide)"


def _as_object(found: RevocationFound, *, enforced: bool) -> dict[str, Any]:
    wanted = found.revocation
    return {
        "revocation_id": wanted.id,
        "state": "enforced" if enforced else "committed",
        "announced": found.announced_at is not None,
        "redundant": found.redundant,
        "report_only": not wanted.enforced,
        "cause": wanted.cause,
        "initiator": wanted.initiator,
        "source": wanted.source,
        "event_id": wanted.event_id,
        "reason_user": dict(wanted.reason_user),
        "reason_admin": wanted.reason_admin,
        "selector": selector_on_wire(wanted.selector),
        "not_before": wanted.not_before,
        "keep": wanted.keep,
        "keep_clients": wanted.keep_clients,
        "covers_until": wanted.covers_until,
        "requested_at": wanted.requested_at,
        "committed_at": found.committed_at,
        "announced_at": found.announced_at,
        "enforced_at": found.enforced_at if enforced else None,
        "milliseconds_to_committed": found.committed_at - wanted.requested_at,
        "milliseconds_to_announced": found.announced_at and found.announced_at - wanted.requested_at,
        "sessions_ended": found.sessions_ended,
        "tokens_ended": found.tokens_ended,
    }
