"""Who enforces: every gateway's process with how it is, and how far a revocation has come at each.

Only what the receipts consumers have latched counts as enforced; what is judged here says whom it waits for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core import enforcement
from revoker.core.enforcement import LATE_AFTER, Announcement, Condition, Doubt, Proof, Reading, Rules
from revoker.core.receipts import Incarnation, Left
from revoker.core.revocation import Revocation
from revoker.service.receipts import rules_of
from revoker.settings import Settings
from revoker.storage import enforcing, reading, visits
from revoker.storage.enforcing import Effect, Participant
from revoker.storage.reading import RevocationFound
from revoker.storage.visits import LastServed
from schemas.topics import Topic

_NEVER: Final = Reading(until=datetime.fromtimestamp(0, UTC), steady_since=datetime.fromtimestamp(0, UTC))
SHOWN_SERVED: Final = 20
_STALE_AFTER: Final = timedelta(seconds=10)
_SETTLED_AFTER: Final = timedelta(seconds=10)
"""By then somebody has looked again where session-ended ends."""


class Stage(StrEnum):
    """How far a revocation has come."""

    ENFORCED = "enforced"
    WAITING = "waiting"
    NO_GATEWAYS = "no-gateways"
    UNREAD = "receipts-unread"
    PENDING = "pending"  # proven, and not said so yet
    UNANNOUNCED = "not-announced"
    NOTHING = "nothing-to-announce"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFound:
    """One life of one process."""

    who: Incarnation
    condition: Condition
    behind: int
    """Records of session-ended that it had not applied by its latest receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everybody who is remembered."""

    gateways: Sequence[GatewayFound]
    missing: Sequence[str]
    """Required, and nobody of that name is there."""
    read_until: datetime | None
    """All receipts that Kafka took before this are known; None: none was ever read."""
    now: datetime

    @property
    def is_stale(self) -> bool:
        """Whether receipts are not read as they come, so that this says little of now."""
        return self.read_until is None or self.now - self.read_until > _STALE_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class AtInstance:
    """How far a revocation has come at one incarnation, and what it did there."""

    id: UUID
    gateway: str
    instance: str
    incarnation: str
    how: Proof | Doubt | None
    """None: it came when all was proven already."""
    partition: int | None = None
    unseen: Sequence[str] = ()
    """What the selector names and it cannot see, where it is blind."""
    heard_at: datetime | None = None
    effect: Effect | None = None
    contradicts: bool = False
    """It cut connections of this revocation after it had reported that none was left."""

    @property
    def is_waited_for(self) -> bool:
        """Whether it keeps the revocation from being enforced."""
        return isinstance(self.how, Doubt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """How far a revocation has come, everywhere."""

    stage: Stage
    enforced_at: datetime | None
    missing: Sequence[str]
    instances: Sequence[AtInstance]
    read_until: datetime | None
    served: Sequence[LastServed] = ()
    """Sessions that it ended and that were in use after it was enforced: somebody contradicts its receipts."""

    @property
    def waiting_for(self) -> Sequence[AtInstance]:
        """Who keeps it from being enforced."""
        return [one for one in self.instances if one.is_waited_for]


async def fleet(engine: AsyncEngine, settings: Settings, *, gone: bool) -> Fleet:
    """Everybody who is waited for; with `gone`, those who have left, too."""
    rules = rules_of(settings)
    everybody = await enforcing.everybody(engine)
    epoch, ends = await enforcing.feed(engine, settings.topic(Topic.SESSION_ENDED)) or ("", {})
    async with engine.connect() as connection:
        read = await enforcing.reading(connection, settings.topic(Topic.GATEWAY_RECEIPTS))
        waiting = await enforcing.newest_unproven(connection, LATE_AFTER)
    as_of = (read or _NEVER).until
    present = {who.gateway for who in everybody if who.left_at is None}
    return Fleet(
        gateways=[
            GatewayFound(
                who=who,
                condition=enforcement.condition(who, as_of, rules, waiting),
                behind=enforcement.records_behind(who, epoch, ends),
            )
            for who in everybody
            if gone or who.left_at is None
        ],
        missing=[name for name in rules.required if name not in present],
        read_until=read.until if read else None,
        now=await reading.now(engine),
    )


async def retire(
    engine: AsyncEngine, settings: Settings, gateway: str, instance: str | None, *, why: str
) -> tuple[list[Incarnation], list[Incarnation]]:
    """Waits no more for the silent ones of that name. Returns those, and who still talks: nobody retires them."""
    rules = rules_of(settings)
    named = [
        who
        for who in await enforcing.everybody(engine)
        if who.left_at is None and who.gateway == gateway and instance in {None, who.instance}
    ]
    async with engine.begin() as connection:
        read = await enforcing.reading(connection, settings.topic(Topic.GATEWAY_RECEIPTS)) or _NEVER
        silent = [who for who in named if enforcement.is_silent(who, read.until, rules)]
        left = await enforcing.leave(connection, [(who, Left.RETIRED, why) for who in silent])
    return [who for who in named if who.id in left], [who for who in named if who.id not in left]


async def enforced_among(engine: AsyncEngine, found: Sequence[RevocationFound]) -> set[UUID]:
    """Which of these are proven to be enforced."""
    proven = [one for one in found if one.proof_id is not None]
    if not proven:
        return set()
    proofs = await enforcing.proofs(engine, {one.proof_id for one in proven if one.proof_id is not None})
    here = {who.id for who in await enforcing.everybody(engine) if who.left_at is None}
    return {
        one.revocation.id
        for one in proven
        for participants in [proofs.get(one.proof_id, ()) if one.proof_id else ()]
        if not any(who.id in here and _is_blind(one.revocation, who) for who in participants)
    }


def _is_blind(revocation: Revocation, who: Participant) -> bool:
    """Whether that it was past the announcement does not help. Who was fenced or gone need not see anything."""
    return who.how == Proof.PAST and enforcement.is_blind(revocation.selector, who.attributes)


async def enforcement_of(engine: AsyncEngine, settings: Settings, found: RevocationFound) -> Enforcement:
    """How far `found` has come, and what it did where."""
    told = await enforcing.told_of(engine, found.revocation.id)
    effects = await enforcing.effects_of(engine, found.revocation.id)
    everybody = {who.id: who for who in await enforcing.everybody(engine)}
    rules = rules_of(settings)
    async with engine.connect() as connection:
        read = await enforcing.reading(connection, settings.topic(Topic.GATEWAY_RECEIPTS))
    missing: Sequence[str] = ()
    instances: list[AtInstance] = []
    if told is None or told.announcement is None:
        stage = Stage.UNANNOUNCED if found.announced_at is None else Stage.NOTHING
    elif told.enforced_at is not None:
        surely = told.enforced_at + rules.drift
        instances = [
            _proven(found.revocation, who, everybody.get(who.id), effects.get(who.id), surely)
            for who in told.participants
        ]
        stage = Stage.WAITING if any(one.is_waited_for for one in instances) else Stage.ENFORCED
    else:
        feed = await enforcing.feed(engine, settings.topic(Topic.SESSION_ENDED))
        stage, missing, instances = _judged(
            told.announcement, everybody.values(), read or _NEVER, rules, feed[1] if feed else None
        )
        instances = [replace(one, effect=effects.get(one.id)) for one in instances]
    known = {one.id for one in instances}
    instances += [_later(everybody[id_], effect) for id_, effect in effects.items() if id_ in everybody.keys() - known]
    enforced_at = told.enforced_at if told and stage is Stage.ENFORCED else None
    return Enforcement(
        stage=stage,
        enforced_at=enforced_at,
        missing=missing,
        instances=sorted(instances, key=lambda one: (not one.is_waited_for, one.gateway, one.instance)),
        read_until=read.until if read else None,
        served=await _served(engine, found.revocation, enforced_at + rules.drift) if enforced_at else (),
    )


async def _served(engine: AsyncEngine, revocation: Revocation, since: datetime) -> Sequence[LastServed]:
    selector = revocation.selector
    return await visits.served_since(
        engine,
        revocation.id,
        tenant=selector.tenant or "",
        subject=selector.subject,
        session_ids=selector.session_ids,
        since=since,
        limit=SHOWN_SERVED,
    )


def _judged(
    told: Announcement,
    everybody: Collection[Incarnation],
    read: Reading,
    rules: Rules,
    ends: Mapping[int, int] | None,
) -> tuple[Stage, Sequence[str], list[AtInstance]]:
    judged = enforcement.judge(told, everybody, read, rules, None)
    if judged.state is enforcement.State.ENFORCED and read.until - told.announced_at > _SETTLED_AFTER:
        # Whoever proves asks Kafka itself where session-ended ends; this is what was seen seconds ago.
        judged = enforcement.judge(told, everybody, read, rules, ends)
    stage = Stage.PENDING if judged.state is enforcement.State.ENFORCED else Stage(judged.state.value)
    instances = [
        AtInstance(
            id=standing.who.id,
            gateway=standing.who.gateway,
            instance=standing.who.instance,
            incarnation=standing.who.incarnation,
            how=standing.how,
            partition=standing.partition,
            heard_at=standing.who.heard_at,
        )
        for standing in judged.standings
    ]
    return stage, judged.missing, instances


def _proven(
    revocation: Revocation, who: Participant, now: Incarnation | None, effect: Effect | None, surely: datetime
) -> AtInstance:
    """A participant of the proof. A blind one blocks until it has left. By `surely` all its drops were finished."""
    blind = _is_blind(revocation, who) and now is not None and now.left_at is None
    cut_later = effect is not None and effect.connections > 0 and (effect.last_applied_at or surely) > surely
    return AtInstance(
        id=who.id,
        gateway=who.gateway,
        instance=who.instance,
        incarnation=who.incarnation,
        how=Doubt.BLIND if blind else Proof(who.how),
        unseen=enforcement.unseen(revocation.selector, who.attributes) if blind else (),
        heard_at=now.heard_at if now else None,
        effect=effect,
        contradicts=who.how == Proof.PAST and cut_later and enforcement.sees_all(revocation.selector, who.attributes),
    )


def _later(who: Incarnation, effect: Effect) -> AtInstance:
    return AtInstance(
        id=who.id,
        gateway=who.gateway,
        instance=who.instance,
        incarnation=who.incarnation,
        how=None,
        heard_at=who.heard_at,
        effect=effect,
    )
