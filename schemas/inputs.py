"""One `[[inputs]]` entry: a topic that we read, and what its publisher may say there."""

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict

from schemas.fields import Id, Message, Tenant


class Lane(StrEnum):
    """A consumer group that works off batches. Inputs are read by the first two; the last reads `gateway-receipts`."""

    REVOCATION = "revocation"
    REGISTRATION = "registration"
    RECEIPTS = "receipts"


class Format(StrEnum):
    """How the records of an input are written."""

    CLOUDEVENTS = "cloudevents"


class Mode(StrEnum):
    """Whether an input's events act, or are only recorded with what they would have ended."""

    ENFORCE = "enforce"
    REPORT_ONLY = "report-only"


class Input(Message):
    """A topic with the tenant and source that it is bound to: its publisher cannot speak for another."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    topic: Id
    """Without the prefix, which is added to every topic alike."""
    lane: Literal[Lane.REVOCATION, Lane.REGISTRATION] = Lane.REVOCATION
    """Who reads it: the revocation or the registration consumers."""
    format: Format = Format.CLOUDEVENTS
    """How its records are written."""
    tenant: Tenant | None = None
    """The only tenant it may speak for; absent: the event says."""
    source: Id | None = None
    """The only source it may speak as; absent: the event says."""
    types: tuple[str, ...] = ()
    """The only event types it may send, without prefix; empty: all of its lane."""
    ignore: tuple[str, ...] = ()
    """Patterns (`*` matches anything) of event types that are skipped silently."""
    mode: Mode = Mode.ENFORCE
    """`report-only` records what an event would end and ends nothing."""


IDENTITY_EVENTS = Input(topic="identity-events", lane=Lane.REVOCATION)
SESSION_ACTIVITY = Input(topic="session-activity", lane=Lane.REGISTRATION)
DEFAULT_INPUTS = (IDENTITY_EVENTS, SESSION_ACTIVITY)
