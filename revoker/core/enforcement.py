"""What "enforced" means: that no gateway can still serve what an announcement ended.

It is computed from positions and never from silence. Every incarnation that was heard of, and has not left before the
announcement, must be past it; or have said goodbye, or been retired by a named person or rule, or be fenced: a strict
gateway that hears nothing refuses and cuts by itself, so time alone proves it. One that is silent and proves nothing is
unknown, and unknown blocks. Nobody at all is "nobody listening", which is not enforced either.

Everything is judged as of one moment: until then, by the database's clock, every receipt that Kafka took is stored. So
a receipt that nobody has read yet, perhaps the first of a gateway that we never heard of, can never be overlooked, and
a consumer of ours that was away makes nobody look silent.

An announcement is judged once and for all: enforced is latched with its evidence. What comes later (a session that was
born ended, told in a notice of its own) is another announcement.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from revoker.core.receipts import Incarnation, Left
from revoker.core.revocation import Selector
from schemas.gateway_receipts import GatewayMode, GatewayState

LATE_AFTER: Final = timedelta(seconds=5)
"""A gateway that applies at once says so well within this."""

_LONGEST_SECONDS: Final = 10_000_000.0
_ALIASES: Final = {"ip": "ip_network", "established_at": "established_after"}
_UNTOLD: Final = frozenset({"subject", "session_id"})
"""What a gateway sees that does not say what it sees: the least that one can work with."""


class Proof(StrEnum):
    """Why an incarnation cannot serve what was ended any more."""

    PAST = "past"
    STOPPED = "stopped"
    RETIRED = "retired"
    REPLACED = "replaced"
    FENCED = "fenced"


class Doubt(StrEnum):
    """Why it still might."""

    REPLAYING = "replaying"
    BEHIND = "behind"  # talks, and has not applied it
    UNKNOWN = "unknown"  # silent
    EPOCH = "another-epoch"  # reads another life of session-ended than the one that it was announced in
    UNREADABLE = "unreadable-position"
    IMPOSSIBLE = "impossible-position"  # beyond the end of session-ended
    BLIND = "blind"  # past it, but sees neither what the selector names nor session ids


class Condition(StrEnum):
    """How an incarnation is, whatever was announced."""

    SERVING = "serving"
    LATE = "late"  # serving, and behind what was announced a while ago
    REPLAYING = "replaying"
    UNKNOWN = "unknown"
    FENCED = "fenced"
    STOPPED = "stopped"
    RETIRED = "retired"
    REPLACED = "replaced"


class State(StrEnum):
    """How far an announcement has come."""

    ENFORCED = "enforced"
    WAITING = "waiting"
    NO_GATEWAYS = "no-gateways"
    UNREAD = "receipts-unread"  # there may be receipts, taken before it was announced, that we have not read yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`[gateways]`."""

    required: tuple[str, ...] = ()
    close_grace: timedelta = timedelta(seconds=1)
    drift: timedelta = timedelta(seconds=2)
    silent_after: timedelta = timedelta(seconds=15)
    retire_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far `gateway-receipts` is read."""

    until: datetime
    """Every receipt that Kafka took before this is stored."""
    steady_since: datetime
    """Since when that has been so without a long gap: silence before this may have been ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Where on `session-ended` a batch was announced: the highest offset in each partition."""

    id: uuid.UUID
    epoch: str
    positions: Mapping[int, int]
    announced_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """One incarnation, held against one announcement."""

    who: Incarnation
    how: Proof | Doubt
    partition: int | None = None
    """The first in which it is behind."""

    @property
    def is_proven(self) -> bool:
        """Whether it need not be waited for."""
        return isinstance(self.how, Proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How far an announcement has come, and who makes it so."""

    state: State
    standings: Sequence[Standing]
    missing: Sequence[str]
    """Required gateways of which nobody is there."""


def judge(
    told: Announcement, everybody: Iterable[Incarnation], reading: Reading, rules: Rules, ends: Mapping[int, int] | None
) -> Judgement:
    """How far `told` has come. `ends`, asked of Kafka after `everybody` was read, is where `session-ended` ends now."""
    expected = [who for who in everybody if who.left_at is None or who.left_at > told.announced_at]
    standings = [_stand(who, told, reading.until, rules, ends) for who in expected]
    present = {who.gateway for who in expected}
    missing = [name for name in rules.required if name not in present]
    if reading.until < told.announced_at:
        state = State.UNREAD
    elif not expected:
        state = State.NO_GATEWAYS
    else:
        state = State.ENFORCED if not missing and all(s.is_proven for s in standings) else State.WAITING
    return Judgement(state=state, standings=standings, missing=missing)


def _stand(
    who: Incarnation, told: Announcement, as_of: datetime, rules: Rules, ends: Mapping[int, int] | None
) -> Standing:
    if who.left_by is not None:
        return Standing(who, Proof(who.left_by.value))
    partition: int | None = None
    if who.position is None:
        doubt = Doubt.UNREADABLE
    elif who.epoch != told.epoch:
        doubt = Doubt.REPLAYING if who.state is GatewayState.REPLAYING else Doubt.EPOCH
    elif ends is not None and is_impossible(who, ends):
        doubt = Doubt.IMPOSSIBLE
    else:
        partition = _behind(who.position, told.positions)
        if partition is None:
            return Standing(who, Proof.PAST)
        doubt = Doubt.REPLAYING if who.state is GatewayState.REPLAYING else Doubt.BEHIND
    if is_fenced(who, as_of, rules, told.announced_at):
        return Standing(who, Proof.FENCED)
    return Standing(who, Doubt.UNKNOWN if is_silent(who, as_of, rules) else doubt, partition)


def _behind(position: Sequence[int], positions: Mapping[int, int]) -> int | None:
    """The first partition in which `position` is not beyond `positions`. A missing one is not."""
    return min(
        (number for number, offset in positions.items() if number >= len(position) or position[number] <= offset),
        default=None,
    )


def is_impossible(who: Incarnation, ends: Mapping[int, int]) -> bool:
    """Whether it claims to have applied what was not written yet, or lies."""
    return any(offset > ends.get(number, 0) for number, offset in enumerate(who.position or ()))


def is_silent(who: Incarnation, as_of: datetime, rules: Rules) -> bool:
    """Whether several of its receipts are missing."""
    return as_of - who.heard_at > rules.silent_after


def is_fenced(who: Incarnation, as_of: datetime, rules: Rules, announced_at: datetime | None = None) -> bool:
    """Whether it refuses everything by itself, for want of a fresh view, or else has applied what was announced."""
    if who.mode is not GatewayMode.STRICT or who.max_staleness > _LONGEST_SECONDS:
        return False
    since = who.heard_at if announced_at is None else max(announced_at, who.heard_at)
    return as_of > since + timedelta(seconds=who.max_staleness) + rules.close_grace + rules.drift


def condition(who: Incarnation, as_of: datetime, rules: Rules, waiting: Announcement | None) -> Condition:
    """How `who` is by itself. `waiting`: the newest that is not enforced although it was announced a while ago."""
    if who.left_by is not None:
        return Condition(who.left_by.value)
    if is_fenced(who, as_of, rules):
        return Condition.FENCED
    if is_silent(who, as_of, rules):
        return Condition.UNKNOWN
    if who.state is GatewayState.REPLAYING:
        return Condition.REPLAYING
    return Condition.SERVING if waiting is None or is_past(who, waiting) else Condition.LATE


def is_past(who: Incarnation, told: Announcement) -> bool:
    """Whether it says that it has applied all of `told`."""
    return who.position is not None and who.epoch == told.epoch and _behind(who.position, told.positions) is None


def records_behind(who: Incarnation, epoch: str, ends: Mapping[int, int]) -> int:
    """How many records of `session-ended` it has not applied, as of its latest receipt: all of another life."""
    position = who.position if who.position is not None and who.epoch == epoch else ()
    return sum(
        max(0, end - (position[number] if number < len(position) else 0)) for number, end in sorted(ends.items())
    )


def floor(everybody: Iterable[Incarnation], as_of: datetime, rules: Rules, epoch: str) -> Sequence[int] | None:
    """What all are past who can be excused by nothing else; None: there is nobody like that.

    Only what lies below it can be enforced, so `judge` need not be asked about the rest.
    """
    least: list[int] | None = None
    for who in everybody:
        if who.left_by is not None or is_fenced(who, as_of, rules):
            continue
        if who.position is None or who.epoch != epoch:
            return ()
        least = list(who.position) if least is None else [min(pair) for pair in zip(least, who.position, strict=False)]
    return least


def is_below(told: Announcement, least: Sequence[int] | None) -> bool:
    """Whether everybody is past `told`, as far as `floor` knows."""
    return least is None or _behind(least, told.positions) is None


def leaving(
    everybody: Sequence[Incarnation], reading: Reading, rules: Rules
) -> Iterator[tuple[Incarnation, Left, str]]:
    """Who is not waited for any more, by which rule. Silence counts only while we were listening."""
    began: dict[tuple[str, str], datetime] = {}
    for who in everybody:
        slot = who.gateway, who.instance
        began[slot] = max(who.first_heard_at, began.get(slot, who.first_heard_at))
    for who in everybody:
        if who.left_by is not None:
            continue
        silent = reading.until - max(who.heard_at, reading.steady_since)
        # Two processes that wrongly share a name both go on talking, and so neither replaces the other.
        if silent > rules.silent_after and began[who.gateway, who.instance] > who.heard_at:
            yield who, Left.REPLACED, "another life of the same instance"
        elif rules.retire_after is not None and silent > rules.retire_after:
            yield who, Left.RETIRED, "rule: [gateways] retire_after"


def unseen(selector: Selector, attributes: Iterable[str]) -> list[str]:
    """What `selector` names that a gateway with these attributes cannot see. Its tenant everybody knows."""
    told = list(attributes)
    seen = {_ALIASES.get(name, name) for name in told} if told else _UNTOLD
    return [name for name in _named(selector) if name not in seen]


def is_blind(selector: Selector, attributes: Iterable[str]) -> bool:
    """Whether a gateway with these attributes can enforce `selector` neither by itself nor by the ids that it is told.

    Session ids help against everything but a token that is ended alone: no session of it is named.
    """
    missing = unseen(selector, attributes)
    seen = set(attributes) or _UNTOLD
    return bool(missing) and ("token_id" in missing or "session_id" not in seen)


def sees_all(selector: Selector, attributes: Iterable[str]) -> bool:
    """Whether a gateway with these attributes knows of every session, also one that no notice names, if it is over."""
    told = set(attributes)
    return not unseen(selector, told) and (not selector.bounded or "established_at" in told)


def _named(selector: Selector) -> Iterator[str]:
    if selector.session_ids:
        yield "session_id"
    for name in ("subject", "token_id", "client_id", "key_id", "device_id", "ip_network", "established_after"):
        if getattr(selector, name) is not None:
            yield name
    if selector.labels:
        yield "labels"
