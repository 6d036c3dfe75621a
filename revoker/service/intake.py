"""Events that come over HTTP, on their way to Kafka: which input takes them, and what it will read.

Nothing is decided here. What the consumers would set aside is refused at once, with their own words; what they take is
written as they read it, under the subject's key, to the topic of the input. The same event twice is the same event.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import from_json, to_json

from revoker.core.policy import decide
from revoker.settings import Settings
from schemas import codec
from schemas.codec import ACTIVITY, IDENTITY, Ignored, Reason, Rejected
from schemas.inputs import Format, Input, Lane, Mode
from schemas.lanes import lane_of

_VOCABULARIES: Final[Any] = {Lane.REVOCATION: IDENTITY, Lane.REGISTRATION: ACTIVITY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An event that the consumers will take."""

    id: str
    type: str
    topic: str
    """As the brokers know it."""
    key: bytes
    value: bytes
    revocation_id: uuid.UUID | None
    """The id that it will be stored under; None for activity, which ends nothing."""


class Intake:
    """Where events go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Who enforces comes first.
        ours = [source for source in settings.inputs if source.format is Format.CLOUDEVENTS]
        self._inputs = sorted(ours, key=lambda source: source.mode is Mode.REPORT_ONLY)

    def take(self, event: bytes, tenant: str | None, *, translated: bool = False) -> Taken:
        """`event` (a whole CloudEvent) of somebody who may speak for `tenant`. Raises `Rejected`.

        `tenant` None: for all of them; "": for the one that there is. Where an event was `translated` from a platform's
        record, nobody has chosen its source: it is the input's, where that is bound to one.
        """
        tree = _tree(event)
        lane = lane_of(_bare_type(tree))
        if lane is None:
            raise Rejected(Reason.UNKNOWN_TYPE, "type: none that is published here")
        refusal: Rejected | None = None
        for source in self._inputs:
            if source.lane is not lane:
                continue
            try:
                return self._taken(source, _spoken(tree, source, tenant, translated=translated))
            except Rejected as error:
                refusal = refusal or error
        raise refusal or Rejected(Reason.TYPE_NOT_ALLOWED, "no input takes it")

    def _taken(self, source: Input, value: bytes) -> Taken:
        read: Any = codec.decode(_VOCABULARIES[source.lane], source, value)
        if isinstance(read, Ignored):
            raise Rejected(Reason.TYPE_NOT_ALLOWED, f"{read.type} is ignored on {source.topic}")
        revocation_id = None
        if source.lane is Lane.REVOCATION:
            revocation_id = decide(read, self._settings.rules, datetime.now(UTC)).revocation.id
        return Taken(
            id=read.id,
            type=read.type,
            topic=self._settings.topic(source.topic),
            key=(read.subject or "").encode(),
            value=codec.encode(read),
            revocation_id=revocation_id,
        )


def by_topic(taken: Sequence[Taken]) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """What goes to each topic, in order."""
    for topic in dict.fromkeys(one.topic for one in taken):
        yield topic, [(one.key, one.value) for one in taken if one.topic == topic]


def _tree(event: bytes) -> dict[str, Any]:
    if len(event) > codec.MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{len(event)} bytes, {codec.MAX_BYTES} are read")
    try:
        tree = from_json(event, allow_inf_nan=False)
    except ValueError:
        raise Rejected(Reason.NOT_JSON, "holds no JSON, or a number that JSON does not know") from None
    if not isinstance(tree, dict):
        raise Rejected(Reason.INVALID, "event: is no object")
    return tree


def _bare_type(tree: dict[str, Any]) -> str:
    name = tree.get("type")
    if not isinstance(name, str):
        raise Rejected(Reason.INVALID, "type: is absent, or is not text")
    return name.rpartition(".")[2]


def _spoken(tree: dict[str, Any], source: Input, tenant: str | None, *, translated: bool) -> bytes:
    """The event as its publisher may say it on `source`. Raises `Rejected`."""
    said = dict(tree)
    if said.get("tenant") is None:
        said.pop("tenant", None)
        if tenant:
            said["tenant"] = tenant
    elif tenant is not None and said["tenant"] != tenant and (tenant or said["tenant"] != source.tenant):
        raise Rejected(Reason.WRONG_TENANT, "tenant: none that the publisher may speak for")
    if translated and source.source is not None:
        said["source"] = source.source
    return to_json(said)
