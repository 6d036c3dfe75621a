"""Wide revocations and holds, ordered through the API alone: the events of `revocation-orders`."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.cloudevent import CloudEvent
from schemas.fields import Id, Initiator, Instant, Keep, Message, Reasons, Text
from schemas.selectors import Selector


class RevocationOrderedData(Message):
    """A revocation by any selector."""

    selector: Selector
    not_before: Instant | None = None
    keep: Keep = ()
    initiator: Initiator = Initiator.ADMIN
    reason_user: Reasons | None = None
    reason_admin: Text | None = None
    ticket: Text | None = None
    approved_by: Id | None = None


class HoldPlacedData(Message):
    """A reversible freeze of all that the selector matches."""

    selector: Selector
    until: Instant
    initiator: Initiator = Initiator.ADMIN
    reason_user: Reasons | None = None
    reason_admin: Text | None = None
    ticket: Text | None = None


class HoldLiftedData(Message):
    """The end of a hold before its time; may arrive before the hold."""

    hold_id: Annotated[Id, Field(description="The id that the hold was announced under.")]
    reason_admin: Text | None = None


class RevocationOrdered(CloudEvent):
    """A responder ordered a revocation."""

    type: Literal["revocation-ordered"]
    subject: Id | None = None
    data: RevocationOrderedData


class HoldOrdered(CloudEvent):
    """A responder placed a hold."""

    type: Literal["hold-placed"]
    subject: Id | None = None
    data: HoldPlacedData


class HoldLiftOrdered(CloudEvent):
    """A responder lifted a hold."""

    type: Literal["hold-lifted"]
    subject: Id | None = None
    data: HoldLiftedData


RevocationOrder = RevocationOrdered | HoldOrdered | HoldLiftOrdered
