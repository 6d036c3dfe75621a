"""How far a revocation has come at each gateway, in words, as rows and as objects."""

from datetime import datetime
from typing import Any, Final

from rich.table import Table

from revoker.cli.output import ago, cell, counted, local, milliseconds, plain, table, when
from revoker.core.enforcement import Doubt, Proof
from revoker.service.gateways import AtInstance, Enforcement, Stage
from revoker.storage.reading import RevocationFound

_NAMED: Final = 3
_DOUBTS: Final = {
    Doubt.REPLAYING: "replaying",
    Doubt.EPOCH: "reads another life of session-ended",
    Doubt.UNREADABLE: "its positions cannot be read",
    Doubt.IMPOSSIBLE: "claims what is not on session-ended",
}
_PROOFS: Final = {
    Proof.PAST: "past it",
    Proof.STOPPED: "left: stopped",
    Proof.RETIRED: "left: retired",
    Proof.REPLACED: "left: replaced",
    Proof.FENCED: "fenced",
}


_STAGES: Final = {
    Stage.UNANNOUNCED: "not yet: not announced",
    Stage.NOTHING: "nothing to enforce",
    Stage.NO_GATEWAYS: "no: no-gateways, nobody was listening when it was announced, or is now",
    Stage.PENDING: "not yet: all is proven; the receipts consumers (are they running?) have not said so",
}


def enforced_line(found: Enforcement, revocation: RevocationFound, now: datetime) -> str:
    """When, or why not yet."""
    match found.stage:
        case Stage.ENFORCED:
            at, announced = found.enforced_at, revocation.announced_at
            later = f": {milliseconds(at - announced)} later" if at and announced else ""
            return f"{when(at, now)}{later}"
        case Stage.UNREAD:
            read = f"only until {when(found.read_until, now)}" if found.read_until else "by nobody"
            return f"not yet: receipts are read {read}; are the receipts consumers running?"
        case Stage.WAITING:
            return f"not yet: waiting for {_whom(found, now)}"
        case _:
            return _STAGES[found.stage]


def _whom(found: Enforcement, now: datetime) -> str:
    named = [f"{plain(name)} (required, and nobody of that name is there)" for name in found.missing]
    named += [f"{plain(one.gateway)} {plain(one.instance)} ({_how(one, now)})" for one in found.waiting_for]
    rest = len(named) - _NAMED
    return "; ".join(named[:_NAMED]) + (f"; and {counted(rest, 'other')}" if rest > 0 else "")


def _how(one: AtInstance, now: datetime) -> str:
    match one.how:
        case None:
            return "came later"
        case Doubt.BEHIND:
            return f"behind in partition {one.partition}"
        case Doubt.UNKNOWN:
            return f"unknown: silent since {when(one.heard_at, now)}"
        case Doubt.BLIND:
            return f"cannot see {', '.join(one.unseen)}"
        case Doubt():
            return _DOUBTS[one.how]
        case Proof():
            return _PROOFS[one.how]


def instances_table(found: Enforcement, now: datetime) -> Table:
    """What became of the revocation at each instance."""
    made = table("gateway", "instance", "how", "applied", "cut", "cached", "still tried")
    for one in found.instances:
        effect = one.effect
        cut = effect is not None and effect.first_applied_at is not None
        made.add_row(
            cell(plain(one.gateway)),
            cell(plain(one.instance)),
            cell(
                _how(one, now),
                "contradicts itself: cut connections after it said that all were" if one.contradicts else None,
                style="bold red" if one.is_waited_for or one.contradicts else "",
            ),
            cell(local(effect.first_applied_at, now) if effect and effect.first_applied_at else ""),
            cell(str(effect.connections) if effect and cut else ""),
            cell(str(effect.cached) if effect and cut else ""),
            cell(*_tried(one, now)),
        )
    return made


def served_lines(found: Enforcement, now: datetime) -> list[str]:
    """Who was let in although it was proven that nobody lets them in any more."""
    return ["contradicts the receipts: somebody still lets in"] + [
        f"{plain(one.session_id)}"
        + (f" at client {plain(one.client_id)}" if one.client_id else "")
        + (f" from {one.ip}" if one.ip else "")
        + f", last {when(one.at, now)}"
        for one in found.served
    ]


def _tried(one: AtInstance, now: datetime) -> list[str]:
    effect = one.effect
    if effect is None or not effect.refused:
        return [""]
    verified = f", {effect.refused_verified} with a verified token" if effect.refused_verified else ""
    where = f"from {effect.last_ip}, " if effect.last_ip else ""
    last = ago(effect.last_refused_at, now) if effect.last_refused_at else ""
    return [f"{counted(effect.refused, 'time')}{verified}", f"{where}{last}"]


def at_instance(one: AtInstance) -> dict[str, Any]:
    """The same for programs."""
    effect = one.effect
    return {
        "gateway": one.gateway,
        "instance": one.instance,
        "incarnation": one.incarnation,
        "how": one.how,
        "proven": isinstance(one.how, Proof),
        "partition": one.partition,
        "cannot_see": list(one.unseen),
        "heard_at": one.heard_at,
        "contradicts": one.contradicts,
        "applied_at": effect.first_applied_at if effect else None,
        "connections_dropped": effect.connections if effect else 0,
        "cached_sessions_dropped": effect.cached if effect else 0,
        "refused": effect.refused if effect else 0,
        "refused_verified": effect.refused_verified if effect else 0,
        "last_refused_at": effect.last_refused_at if effect else None,
        "last_ip": effect.last_ip if effect else None,
    }
