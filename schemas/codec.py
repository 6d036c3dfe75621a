"""Bytes and headers in, an event out, or `Rejected`, and nothing else ever. And the way back: `encode`.

A record may be anything: no value, no text, a bomb. Everything that a publisher can do wrong ends here with a reason
that names the place and never the value, because reasons travel in headers and logs and values may be secrets. Keys of
a publisher's own are values, too: of a place only the parts that we named are repeated.

An event that pydantic takes at once is the fast path. One that it refuses gets a second look, because CloudEvents
allows two spellings that the models do not: null for absent, and a type behind a reverse-DNS prefix.

A record of an identity platform is translated first (`schemas.formats`), and then judged by the same models.
"""

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, TypeVar, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.cloudevent import CONTENT_TYPE, CloudEvent
from schemas.fields import MAX_ID_BYTES, Message
from schemas.formats import registry
from schemas.formats.native import Native, UnknownRecordError
from schemas.gateway_receipts import GatewayReceipt
from schemas.identity_events import IdentityEvent
from schemas.inputs import Format, Input, Publisher
from schemas.revocation_orders import HoldOrdered, RevocationOrder, RevocationOrdered
from schemas.session_activity import SessionActivity

MAX_BYTES: Final = 64_000
"""The largest event that is read. Thousands of `keep` ids are refused by count long before."""

MAX_FOREIGN_BYTES: Final = 1_000_000
"""The largest record of a platform that is read: theirs hold whole realms."""

Headers = Sequence[tuple[str, bytes | None]]

_ATTRIBUTES: Final = frozenset({"specversion", "id", "source", "type", "subject", "time", "tenant"})
_STRUCTURED: Final = CONTENT_TYPE.partition("+")[0].encode()


class Reason(StrEnum):
    """Why a record was set aside: `revoker-reason` starts with one of these words."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_JSON = "not-json"
    BAD_HEADER = "bad-header"
    UNKNOWN_TYPE = "unknown-type"
    TYPE_NOT_ALLOWED = "type-not-allowed"
    WRONG_TENANT = "wrong-tenant"
    WRONG_SOURCE = "wrong-source"
    INVALID = "invalid"
    TOO_OLD = "older-than-max-lifetime"
    REFUSED_BY_DATABASE = "refused-by-database"
    ORIGIN_GAVE_UP = "origin-gave-up"


UNTOLD: Final = frozenset({Reason.EMPTY, Reason.TOO_LARGE, Reason.NOT_JSON, Reason.BAD_HEADER, Reason.UNKNOWN_TYPE})
"""The reasons that leave open what a record was about: of a topic that two lanes read, one of them sets it aside."""


class Rejected(Exception):  # noqa: N818 - the field's word, as DESIGN says it
    """This record will never work. `reason` is for machines, `detail` names the place, never the value."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Ignored:
    """The input says that events of this type are none of our business."""

    type: str


EventT = TypeVar("EventT", bound=CloudEvent)


@dataclass(frozen=True, slots=True)
class Vocabulary(Generic[EventT]):
    """A closed union of events, ready to decode."""

    adapter: TypeAdapter[EventT]
    types: frozenset[str]


def _vocabulary(union: Any) -> Any:  # noqa: ANN401 - typing has no name for a union as a value
    types = frozenset(str(get_args(model.model_fields["type"].annotation)[0]) for model in get_args(union))
    return Vocabulary(TypeAdapter(Annotated[union, Field(discriminator="type")]), types)


IDENTITY: Final[Vocabulary[IdentityEvent]] = _vocabulary(IdentityEvent)
ACTIVITY: Final[Vocabulary[SessionActivity]] = _vocabulary(SessionActivity)
ORDERS: Final[Vocabulary[RevocationOrder]] = _vocabulary(RevocationOrder)
RECEIPTS: Final[Vocabulary[GatewayReceipt]] = Vocabulary(TypeAdapter(GatewayReceipt), frozenset({"gateway-receipt"}))


def encode(message: Message) -> bytes:
    """The record value of `message`: what it was given, and nothing that it was not."""
    return message.model_dump_json(exclude_unset=True, exclude_none=True).encode()


def decode(
    vocabulary: Vocabulary[EventT], source: Input, value: bytes | None, headers: Headers = ()
) -> EventT | Ignored:
    """The event of a record as `source` allows it, tenant and source bound.

    Raises `Rejected`, and nothing else, for whatever bytes and headers.
    """
    if source.format is not Format.CLOUDEVENTS:
        return _foreign(vocabulary, source, value)
    if value and len(value) > MAX_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{len(value)} bytes, {MAX_BYTES} are read")
    if headers and _is_binary(headers):
        value = _structured(value, headers)
    if not value:
        raise Rejected(Reason.EMPTY)
    if b"NaN" in value or b"Infinity" in value:
        _refuse_non_numbers(value)
    try:
        event = vocabulary.adapter.validate_json(value)
    except ValidationError as error:
        refusal = _rejected(error)
    else:
        return _as_allowed(event, source, value)
    return _second_look(vocabulary, source, value, refusal)


def _foreign(vocabulary: Vocabulary[EventT], source: Input, value: bytes | None) -> EventT | Ignored:
    """A platform's record. What it says is meant for one lane, or for none: `Ignored` in all others."""
    if not value:
        raise Rejected(Reason.EMPTY)
    if len(value) > MAX_FOREIGN_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"{len(value)} bytes, {MAX_FOREIGN_BYTES} are read")
    told = translated(source, value, vocabulary.types)
    if isinstance(told, Ignored):
        return told
    translation = to_json(told)
    try:
        event = vocabulary.adapter.validate_json(translation)
    except ValidationError as error:
        raise _rejected(error) from None
    return _as_allowed(event, source, translation)


def translated(
    source: Publisher, value: bytes, types: frozenset[str] = IDENTITY.types | ACTIVITY.types
) -> dict[str, Any] | Ignored:
    """What a platform's record says, as an event of one of `types` that no model has judged yet. Raises `Rejected`."""
    try:
        record = from_json(value, allow_inf_nan=False)
    except ValueError:
        raise Rejected(Reason.NOT_JSON, "holds no JSON, or a number that JSON does not know") from None
    if not isinstance(record, dict):
        raise Rejected(Reason.INVALID, "event: is no object")
    try:
        native = registry.TRANSLATORS[source.format](record)
    except UnknownRecordError as error:
        if error.name is not None and skips(source, error.name):
            return Ignored(_shown(error.name))
        raise Rejected(Reason.UNKNOWN_TYPE, str(error)) from None
    if native.meaning is None or skips(source, native.name):
        return Ignored(_shown(native.name))
    if native.meaning.type not in types:
        return Ignored(native.meaning.type)
    tenant = _tenant_of(source, native)
    speaker = source.source or registry.spokesman(source.format, native)
    return registry.as_event(native, native.meaning, source=speaker, tenant=tenant)


def _tenant_of(source: Publisher, native: Native) -> str:
    if not source.realms:
        return source.tenant or ""
    tenant = next((source.realms[realm] for realm in native.realms if realm in source.realms), None)
    if tenant is None:
        raise Rejected(Reason.WRONG_TENANT, "realm: none that is read here")
    return tenant


def _second_look(vocabulary: Vocabulary[EventT], source: Input, value: bytes, refusal: Rejected) -> EventT | Ignored:
    """What was refused as it stands: skipped by pattern, unknown, otherwise spelled, or as invalid as it looked."""
    if refusal.reason is Reason.NOT_JSON:
        raise refusal
    tree = from_json(value)
    if not isinstance(tree, dict):
        raise refusal
    name = tree.get("type")
    if not isinstance(name, str):
        raise Rejected(Reason.INVALID, "type: is absent, or is not text")
    if skips(source, name):
        return Ignored(_shown(name))
    bare = name.rpartition(".")[2]
    if bare not in vocabulary.types:
        raise Rejected(Reason.UNKNOWN_TYPE, f"type: none that {source.topic} is read for")
    plain = _without_nulls(tree) | {"type": bare}
    if plain == tree:
        raise refusal
    value = to_json(plain)
    try:
        event = vocabulary.adapter.validate_json(value)
    except ValidationError as error:
        raise _rejected(error) from None
    return _as_allowed(event, source, value)


def _without_nulls(tree: dict[str, Any]) -> dict[str, Any]:
    """`tree` with null meant as absent (CloudEvents JSON format 1.0.2, section 2.2), in `data` likewise."""
    plain = {name: value for name, value in tree.items() if value is not None}
    if isinstance(plain.get("data"), dict):
        plain["data"] = {name: value for name, value in plain["data"].items() if value is not None}
    return plain


def _refuse_non_numbers(value: bytes) -> None:
    """Text may say NaN; a number may not, not even in a field that nobody reads."""
    try:
        from_json(value, allow_inf_nan=False)
    except ValueError:
        raise Rejected(Reason.NOT_JSON, "holds no JSON, or a number that JSON does not know") from None


def _as_allowed(event: EventT, source: Input, value: bytes) -> EventT | Ignored:
    name: str = event.type  # type: ignore[attr-defined]  # every member of a vocabulary has a literal type
    if source.ignore and skips(source, name):
        return Ignored(name)
    if source.types and name not in source.types:
        raise Rejected(Reason.TYPE_NOT_ALLOWED, f"{name} on {source.topic}")
    if "data" not in event.model_fields_set and b'"data_base64"' in value:
        raise Rejected(Reason.INVALID, "data_base64: data must be JSON")
    if source.source is not None and event.source != source.source:
        raise Rejected(Reason.WRONG_SOURCE, f"{source.topic} speaks as one source alone")
    return event if source.tenant is None else _of_tenant(event, source.tenant, source.topic)


def skips(source: Publisher, name: str) -> bool:
    """Whether events of that name, ours or a platform's, are none of our business."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in source.ignore)


def _of_tenant(event: EventT, tenant: str, topic: str) -> EventT:
    """`event` with the tenant of its topic where it names none, in the selector of an order likewise."""
    changes: dict[str, object] = {}
    if event.tenant != tenant:
        if "tenant" in event.model_fields_set:
            raise Rejected(Reason.WRONG_TENANT, f"{topic} speaks for one tenant alone")
        changes["tenant"] = tenant
    if isinstance(event, RevocationOrdered | HoldOrdered) and event.data.selector.tenant != tenant:
        if event.data.selector.tenant is not None:
            raise Rejected(Reason.WRONG_TENANT, f"data.selector.tenant: {topic} speaks for one tenant alone")
        selector = event.data.selector.model_copy(update={"tenant": tenant})
        changes["data"] = event.data.model_copy(update={"selector": selector})
    return event.model_copy(update=changes) if changes else event


def _is_binary(headers: Headers) -> bool:
    """Whether attributes are headers. Structured mode may repeat them there, and says so in its content type."""
    binary = False
    for name, raw in headers:
        attribute = name.lower()
        if attribute == "ce_specversion":
            binary = True
        elif attribute == "content-type" and raw is not None and raw.strip().lower().startswith(_STRUCTURED):
            return False
    return binary


def _structured(value: bytes | None, headers: Headers) -> bytes:
    """Binary mode (CloudEvents Kafka binding 1.0.2, section 3.2) as structured mode. No value is no data."""
    event: dict[str, Any] = {}
    for name, raw in headers:
        attribute = name.lower()
        if attribute == "content-type" and not _is_json(raw):
            raise Rejected(Reason.BAD_HEADER, "content-type: data must be JSON")
        if attribute.startswith("ce_") and attribute[3:] in _ATTRIBUTES:
            if attribute[3:] in event:
                raise Rejected(Reason.BAD_HEADER, f"{attribute}: given twice")
            event[attribute[3:]] = _text(attribute, raw)
    try:
        return to_json(event | {"data": from_json(value)} if value else event)
    except ValueError:
        raise Rejected(Reason.NOT_JSON, "data") from None


def _text(attribute: str, raw: bytes | None) -> str:
    if raw is None:
        raise Rejected(Reason.BAD_HEADER, f"{attribute}: null")
    if len(raw) > MAX_ID_BYTES:
        raise Rejected(Reason.BAD_HEADER, f"{attribute}: longer than {MAX_ID_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Rejected(Reason.BAD_HEADER, f"{attribute}: not UTF-8") from None


def _is_json(content_type: bytes | None) -> bool:
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    return not media_type or media_type.endswith((b"/json", b"+json"))


def _rejected(error: ValidationError) -> Rejected:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Rejected(Reason.NOT_JSON, _shown(first["msg"]))
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in _NAMES)
    return Rejected(Reason.INVALID, _shown(f"{place or 'event'}: {first['msg']}"))


def _shown(text: str) -> str:
    """`text` fit for one header and one log line."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _fields(model: type[BaseModel]) -> Iterator[str]:
    yield from model.model_fields
    for child in model.__subclasses__():
        yield from _fields(child)


_NAMES: Final = frozenset(_fields(Message))
