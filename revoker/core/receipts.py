"""What is known of a gateway's process, by its receipts alone.

An incarnation is one life of one process. Its latest receipt counts, by the gateway's own time (clamped to the time at
which Kafka took the record) and then by its place in the log; an older one, or the same one delivered again, changes
nothing and counts nothing twice. So a position may also go back: a gateway that lost its view replays, and what it had
proven before stays proven elsewhere (`revoker.core.enforcement` is latched). Nothing that a receipt says can raise.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from revoker.core.ids import derive
from schemas.gateway_receipts import GatewayMode, GatewayReceiptData, GatewayState

MAX_OFFSET: Final = 2**63 - 1
_DIGITS: Final = len(str(MAX_OFFSET))


class Oddity(StrEnum):
    """What is strange about a receipt that was taken all the same, or about an entry that was not."""

    POSITION = "position"  # cannot be read: its sender is behind everything
    BACKWARDS = "backwards"  # a serving gateway that knows less than it said
    REVIVED = "revived"  # heard again after it had left
    UNKNOWN_REVOCATION = "unknown_revocation"  # speaks of what nobody decided


class Left(StrEnum):
    """Why an incarnation is not waited for any more."""

    STOPPED = "stopped"  # said goodbye after its last socket
    RETIRED = "retired"  # by a named person, or by the rule that the settings name
    REPLACED = "replaced"  # another life under the same instance name


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt as it was read. `at` is clamped already."""

    data: GatewayReceiptData
    at: datetime
    appended_at: datetime
    offset: int
    """In its partition of `gateway-receipts`: tells equal times apart."""

    @property
    def incarnation_id(self) -> uuid.UUID:
        """Whose it is. All three names go in: a name that somebody else uses, too, is another's."""
        return derive(["gateway", self.data.gateway, self.data.instance, self.data.incarnation])


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One life of one process, as it last described itself."""

    id: uuid.UUID
    gateway: str
    instance: str
    incarnation: str
    kind: str
    epoch: str
    state: GatewayState
    mode: GatewayMode
    max_staleness: float
    attributes: tuple[str, ...]
    position: tuple[int, ...] | None
    """The next offset of each partition of `session-ended`; None: what it sent cannot be read."""
    at: datetime
    """Of its latest receipt, by its own clock."""
    receipt_offset: int
    first_heard_at: datetime
    heard_at: datetime
    """When its latest receipt was stored, by the database's clock, as all times below."""
    left_at: datetime | None = None
    left_by: Left | None = None
    left_why: str | None = None
    """Who retired it and why, or by which rule."""
    went_back: int = 0
    """How often it knew less than before while it was serving."""


def read_position(epoch: str, text: str) -> tuple[int, ...] | None:
    """The vector of `epoch.n0.n1…`; of nothing at all, an empty one. None: no such vector, or of another epoch."""
    if not text:
        return ()
    said, *numbers = text.split(".")
    if said != epoch:
        return None
    if not all(number.isascii() and number.isdecimal() and len(number) <= _DIGITS for number in numbers):
        return None
    offsets = tuple(map(int, numbers))
    return offsets if all(offset <= MAX_OFFSET for offset in offsets) else None


def is_newer(receipt: Receipt, known: Incarnation | None) -> bool:
    """Whether `receipt` says something that is not known yet."""
    return known is None or (receipt.at, receipt.offset) > (known.at, known.receipt_offset)


def fold(known: Incarnation | None, receipt: Receipt, now: datetime) -> Incarnation:
    """What is known once `receipt`, a newer one, was heard."""
    data = receipt.data
    heard = Incarnation(
        id=receipt.incarnation_id,
        gateway=data.gateway,
        instance=data.instance,
        incarnation=data.incarnation,
        kind=data.kind,
        epoch=data.epoch,
        state=data.state,
        mode=data.mode,
        max_staleness=data.max_staleness,
        attributes=data.attributes,
        position=read_position(data.epoch, data.position),
        at=receipt.at,
        receipt_offset=receipt.offset,
        first_heard_at=known.first_heard_at if known else now,
        heard_at=now,
        went_back=(known.went_back if known else 0) + (Oddity.BACKWARDS in oddities(known, receipt)),
    )
    if known is not None and known.left_at is not None and not _is_back(known, receipt):
        return replace(heard, left_at=known.left_at, left_by=known.left_by, left_why=known.left_why)
    if data.state is GatewayState.STOPPED:
        return replace(heard, left_at=now, left_by=Left.STOPPED)
    return heard


def _is_back(known: Incarnation, receipt: Receipt) -> bool:
    """Whether one who had left talks on after all."""
    if known.left_at is None or receipt.data.state is GatewayState.STOPPED:
        return False
    # A receipt that was on its way when somebody retired the sender says nothing about afterwards.
    return known.left_by is Left.STOPPED or receipt.appended_at > known.left_at


def oddities(known: Incarnation | None, receipt: Receipt) -> Iterator[Oddity]:
    """What is strange about `receipt`, a newer one."""
    data = receipt.data
    position = read_position(data.epoch, data.position)
    if position is None:
        yield Oddity.POSITION
    if known is None:
        return
    if _is_back(known, receipt):
        yield Oddity.REVIVED
    same_view = known.epoch == data.epoch and known.position is not None and position is not None
    if same_view and known.state is data.state is GatewayState.SERVING and _is_behind(position or (), known.position):
        yield Oddity.BACKWARDS


def _is_behind(position: tuple[int, ...], before: tuple[int, ...] | None) -> bool:
    before = before or ()
    return len(position) < len(before) or any(new < old for new, old in zip(position, before, strict=False))
