"""What leaves us: the notifications of `session-ended` and the heartbeats beside them.

A notification carries the predicate and, as ids, what it has ended so far; a receiver applies both. Equal id means
equal content, and applying twice changes nothing. Admin reasons, tickets and device names stay in the database.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from schemas.cloudevent import CloudEvent
from schemas.fields import Id, Initiator, Instant, Message, Reasons
from schemas.selectors import Selector


class Kind(StrEnum):
    """Why a notification was sent."""

    ENDED = "ended"  # by the event itself
    LATE = "late"  # registered after the revocation that covers it: born ended
    ROWS = "rows"  # a chunk of a wide revocation, with many subjects


class EndedSession(Message):
    """One session that is over. `subject` is given where the notification speaks of many."""

    session_id: Id
    client_id: Annotated[str, Field(description="Empty where the sign-in knows no client.")] = ""
    subject: Id | None = None
    expires_at: Instant | None = None


class EndedToken(Message):
    """One token that is over though no session of it was named."""

    token_id: Id
    expires_at: Instant | None = None


class SessionEndedData(Message):
    """The predicate, and what it ended."""

    revocation_id: Id
    cause: Annotated[str, Field(description="The type of the event that asked for it.")]
    initiator: Initiator
    reason_user: Reasons
    kind: Kind
    selector: Selector
    not_before: Instant
    keep: tuple[Id, ...] = ()
    keep_clients: tuple[Id, ...] = ()
    requested_at: Instant
    committed_at: Instant
    sessions: tuple[EndedSession, ...] = ()
    tokens: tuple[EndedToken, ...] = ()
    covers_until: Instant


class SessionEnded(CloudEvent):
    """Sessions are over."""

    type: Literal["session-ended"]
    subject: Id | None = None
    data: SessionEndedData


class HoldPlacedNoticeData(Message):
    """A hold in force."""

    hold_id: Id
    selector: Selector
    until: Instant
    reason_user: Reasons


class HoldPlacedNotice(CloudEvent):
    """Refuse and cut what this matches, until then."""

    type: Literal["hold-placed"]
    subject: Id | None = None
    data: HoldPlacedNoticeData


class HoldLiftedNoticeData(Message):
    """The end of a hold."""

    hold_id: Id
    at: Instant


class HoldLiftedNotice(CloudEvent):
    """Stop refusing what this hold matches."""

    type: Literal["hold-lifted"]
    subject: Id | None = None
    data: HoldLiftedNoticeData


Notification = SessionEnded | HoldPlacedNotice | HoldLiftedNotice


class Heartbeat(Message):
    """Once a second from each revocation consumer: how far the service itself has come."""

    consumer: Id
    at: Instant
    epoch: Annotated[Id, Field(description="Changes when session-ended was recreated: replay everything.")]
    partitions: Annotated[int, Field(description="How many partitions session-ended has now.")]
    applied: Annotated[dict[str, dict[str, int]], Field(description="Input topic, partition: next offset to apply.")]
    lag: Annotated[int, Field(description="Input records not applied yet, over this consumer's partitions.")]
