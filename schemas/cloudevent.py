"""The CloudEvents 1.0 envelope, shared by everything that travels on Kafka.

Inbound, the envelope arrives in structured mode (the value is the whole event) or in binary mode (attributes are
`ce_` headers, the value is `data`); `schemas.codec` reads both. Outbound it is always structured.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.fields import Id, Instant, Message, Tenant

SPECVERSION = "1.0"
CONTENT_TYPE = "application/cloudevents+json"


class CloudEvent(Message):
    """The context attributes (CloudEvents 1.0.2, section 3) and our extension `tenant`."""

    specversion: Literal["1.0"]
    id: Annotated[Id, Field(description="Unique per source; a repeat with equal content changes nothing.")]
    source: Annotated[Id, Field(description="Who says so. Bound to the topic where [[inputs]] names one.")]
    tenant: Annotated[Tenant, Field(description="Empty where there is only one.")] = ""
    time: Annotated[
        Instant | None,
        Field(description="When it happened. Clamped to the time at which Kafka took the record; absent means then."),
    ] = None


class SubjectEvent(CloudEvent):
    """An event of one subject."""

    subject: Annotated[Id, Field(description="Opaque and never reused; never an e-mail address.")]


class MaybeSubjectEvent(CloudEvent):
    """An event that names a session or token, of which the registry knows whose it is."""

    subject: Annotated[Id | None, Field(description="May be absent: the registry knows whose session it is.")] = None
