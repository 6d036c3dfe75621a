"""One `[[inputs]]` entry: a topic that we read, and what its publisher may say there."""

from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.fields import Id, Message, Tenant


class Lane(StrEnum):
    """A consumer group that works off batches. Inputs are read by the first two; the last reads `gateway-receipts`."""

    REVOCATION = "revocation"
    REGISTRATION = "registration"
    RECEIPTS = "receipts"


class Format(StrEnum):
    """How the records of an input are written."""

    CLOUDEVENTS = "cloudevents"
    KEYCLOAK = "keycloak"
    AUTH0 = "auth0"
    OKTA = "okta"
    KRATOS = "kratos"
    GOTRUE = "gotrue"


WITH_REALMS: Final = (Format.KEYCLOAK, Format.AUTH0)
"""The formats whose records say of which realm (Auth0: tenant) they are."""


class Mode(StrEnum):
    """Whether an input's events act, or are only recorded with what they would have ended."""

    ENFORCE = "enforce"
    REPORT_ONLY = "report-only"


class Publisher(Message):
    """What somebody who publishes may say, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Format = Format.CLOUDEVENTS
    """How its records are written: `cloudevents`, or as a platform writes them; see docs/formats.md."""
    tenant: Tenant | None = None
    """The only tenant it may speak for; absent: the event says."""
    source: Id | None = None
    """The only source it may speak as; absent: the event says."""
    realms: dict[Id, Tenant] = Field(default_factory=dict)
    """Keycloak's realms (ids or names) or Auth0's tenants, each with the tenant here; others are set aside."""
    types: tuple[str, ...] = ()
    """The only event types it may send, ours and without prefix; empty: all of its lane."""
    ignore: tuple[str, ...] = ()
    """Patterns (`*` matches anything) of event types, ours or the platform's, that are skipped silently."""

    @model_validator(mode="after")
    def _knows_whose_they_are(self) -> Self:
        if self.realms and self.format not in WITH_REALMS:
            raise ValueError(f"realms: records of format {self.format} do not say of which they are")
        if self.realms and self.tenant is not None:
            raise ValueError("realms: each has its tenant, there is none for all")
        return self


class Input(Publisher):
    """A topic with the tenant and source that it is bound to: its publisher cannot speak for another."""

    topic: Id
    """Without the prefix, which is added to every topic alike."""
    lane: Literal[Lane.REVOCATION, Lane.REGISTRATION] = Lane.REVOCATION
    """Who reads it: the revocation or the registration consumers. A topic that holds both stands here twice."""
    mode: Mode = Mode.ENFORCE
    """`report-only` records what an event would end and ends nothing."""


IDENTITY_EVENTS = Input(topic="identity-events", lane=Lane.REVOCATION)
SESSION_ACTIVITY = Input(topic="session-activity", lane=Lane.REGISTRATION)
DEFAULT_INPUTS = (IDENTITY_EVENTS, SESSION_ACTIVITY)
