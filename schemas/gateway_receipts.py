"""What a gateway applied and refused: the events of `gateway-receipts`."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.cloudevent import CloudEvent
from schemas.fields import MAX_IDS, Address, Count, Id, Instant, Message, Position


class GatewayState(StrEnum):
    """Where an instance is in its life."""

    REPLAYING = "replaying"
    SERVING = "serving"
    STOPPED = "stopped"


class GatewayMode(StrEnum):
    """What an instance does when its view is too old: refuse and cut, or serve and say so."""

    STRICT = "strict"
    BEST_EFFORT = "best_effort"


class Applied(Message):
    """What one revocation cut. Sent only where something was cut; the position proves the rest."""

    revocation_id: Id
    applied_at: Instant
    connections_dropped: Count = 0
    cached_sessions_dropped: Count = 0


class Refused(Message):
    """Tries with the dead since the last receipt."""

    revocation_id: Id
    count: Annotated[Count, Field(ge=1)]
    last_ip: Address | None = None
    verified: bool = False


class GatewayReceiptData(Message):
    """One report of one instance. At most four a second, at least one every 5 s, each of at most 64 kB."""

    gateway: Id
    kind: Annotated[Id, Field(description="gateway, origin, or the name of a projection.")] = "gateway"
    instance: Id
    incarnation: Annotated[Id, Field(description="A uuid of the process.")]
    epoch: Id
    state: GatewayState
    mode: GatewayMode
    max_staleness: Annotated[float, Field(gt=0, allow_inf_nan=False, description="Seconds.")]
    attributes: Annotated[
        tuple[Id, ...], Field(max_length=MAX_IDS, description="Which attributes of a selector it can see.")
    ] = ()
    at: Instant
    position: Annotated[Position, Field(description="The feed's own; opaque to everybody else.")]
    applied: Annotated[tuple[Applied, ...], Field(max_length=MAX_IDS)] = ()
    refused: Annotated[tuple[Refused, ...], Field(max_length=MAX_IDS)] = ()


class GatewayReceipt(CloudEvent):
    """What an instance has applied so far."""

    type: Literal["gateway-receipt"]
    subject: Id | None = None
    data: GatewayReceiptData
