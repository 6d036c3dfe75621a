"""`gateways` and `gateways retire`: who enforces, and who is not waited for any more."""

import getpass
from datetime import datetime
from typing import Any, Final

from revoker.cli.output import ago, cell, counted, json_out, plain, say, show, table, when
from revoker.cli.running import Exit, complain
from revoker.core.enforcement import Condition
from revoker.core.receipts import Incarnation
from revoker.service import gateways, reach
from revoker.service.gateways import Fleet, GatewayFound
from revoker.settings import Settings
from revoker.storage import reading

_STYLES: Final = {
    Condition.LATE: "yellow",
    Condition.REPLAYING: "yellow",
    Condition.UNKNOWN: "bold red",
    Condition.FENCED: "red",
}


async def show_all(settings: Settings, *, gone: bool, as_json: bool) -> int:
    """The list."""
    async with reach.postgres(settings) as engine:
        fleet = await gateways.fleet(engine, settings, gone=gone)

    if as_json:
        json_out(
            {
                "receipts_read_until": fleet.read_until,
                "missing": list(fleet.missing),
                "gateways": [_as_object(one, fleet.now) for one in fleet.gateways],
            }
        )
    else:
        _tell(fleet)
    return Exit.DONE if fleet.gateways else Exit.NOTHING


def _tell(fleet: Fleet) -> None:
    now = fleet.now
    for name in fleet.missing:
        complain(f"{plain(name)} is required, and nobody of that name is there: nothing is enforced")
    if fleet.read_until is None:
        complain("no receipt was ever read: are the receipts consumers running?")
    elif fleet.is_stale:
        complain(f"receipts are read only until {when(fleet.read_until, now)}: are the receipts consumers running?")
    if not fleet.gateways:
        say("no gateways: nobody was ever heard of, or all have left")
        return
    made = table("gateway", "instance", "state", "mode", "last receipt", "behind", "sees")
    for one in fleet.gateways:
        who = one.who
        kind = f"({plain(who.kind)})" if who.kind != "gateway" else None
        made.add_row(
            cell(plain(who.gateway), kind),
            cell(plain(who.instance)),
            cell(one.condition.value, *_remarks(who), style=_STYLES.get(one.condition, "")),
            cell(who.mode.value, f"{who.max_staleness:g} s"),
            cell(ago(who.heard_at, now)),
            cell(counted(one.behind, "record") if one.behind else ""),
            cell(", ".join(map(plain, who.attributes))),
        )
    show(made)


def _remarks(who: Incarnation) -> list[str]:
    remarks = [plain(who.left_why)] if who.left_why else []
    if who.went_back:
        remarks.append(f"contradicts itself: went back {counted(who.went_back, 'time')}")
    if who.position is None:
        remarks.append("its positions cannot be read")
    return remarks


def _as_object(one: GatewayFound, now: datetime) -> dict[str, Any]:
    who = one.who
    return {
        "gateway": who.gateway,
        "instance": who.instance,
        "incarnation": who.incarnation,
        "kind": who.kind,
        "state": one.condition,
        "said": who.state,
        "mode": who.mode,
        "max_staleness": who.max_staleness,
        "attributes": list(who.attributes),
        "epoch": who.epoch,
        "position": None if who.position is None else list(who.position),
        "behind": one.behind,
        "at": who.at,
        "first_heard_at": who.first_heard_at,
        "heard_at": who.heard_at,
        "seconds_since_heard": (now - who.heard_at).total_seconds(),
        "left_at": who.left_at,
        "left_by": who.left_by,
        "left_why": who.left_why,
        "went_back": who.went_back,
    }


async def retire(
    settings: Settings, gateway: str, instance: str | None, by: str | None, reason: str | None, *, as_json: bool
) -> int:
    """The command of that name."""
    why = f"by {by or _login()}" + (f": {reason}" if reason else "")
    async with reach.postgres(settings) as engine:
        now = await reading.now(engine)
        retired, talking = await gateways.retire(engine, settings, gateway, instance, why=why)

    code = Exit.DONE if retired else Exit.REFUSED if talking else Exit.NOTHING
    if as_json:
        json_out({"retired": [_named(who) for who in retired], "talking": [_named(who) for who in talking]})
        return code
    for who in retired:
        say(f"retired {plain(who.gateway)} {plain(who.instance)}, last heard {when(who.heard_at, now)}")
    for who in talking:
        complain(f"{plain(who.gateway)} {plain(who.instance)} was heard {ago(who.heard_at, now)}: not retired")
    if code is Exit.NOTHING:
        say(f"no instance of {plain(gateway)} is waited for")
    return code


def _named(who: Incarnation) -> dict[str, Any]:
    return {"gateway": who.gateway, "instance": who.instance, "incarnation": who.incarnation, "heard_at": who.heard_at}


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
