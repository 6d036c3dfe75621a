"""CloudEvents over HTTP (HTTP protocol binding 1.0.2): whatever mode a request is in, structured events come out.

structured   application/cloudevents+json        one event
batched      application/cloudevents-batch+json  an array of them
binary       ce-* headers                        attributes there, the body is `data`
plain        application/json                    one event or an array, for whoever has never heard of modes
"""

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json

from revoker.api.problems import ProblemError
from schemas.cloudevent import CONTENT_TYPE

BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = "application/json"

_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "subject", "time", "tenant")
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)

RawHeaders = Iterable[tuple[bytes, bytes]]


def is_binary(headers: RawHeaders, kind: str) -> bool:
    """Whether attributes are headers. Structured mode may repeat them there, and says so in its content type."""
    return not kind.startswith("application/cloudevents") and any(name == b"ce-specversion" for name, _ in headers)


def is_json(kind: str) -> bool:
    """Whether a media type (lower-case, without parameters) is JSON; no type at all is taken for it."""
    return not kind or kind.endswith(("/json", "+json"))


def events(kind: str, body: bytes, headers: RawHeaders) -> list[Any]:
    """What a request holds: JSON trees that should be events. Raises `ProblemError` where it cannot be told."""
    if is_binary(headers, kind):
        return [binary(body, headers)]
    tree = _parsed(body)
    if kind == CONTENT_TYPE:
        return [tree]
    if kind == BATCH and not isinstance(tree, list):
        raise ProblemError(400, "A batch is an array")
    return tree if isinstance(tree, list) else [tree]


def binary(body: bytes, headers: RawHeaders) -> dict[str, Any]:
    """An event in binary mode as a structured one. No body is no data. Raises `ProblemError`."""
    event: dict[str, Any] = {}
    for name, raw in headers:
        attribute = name.decode("latin-1").lower()
        if attribute.startswith("ce-") and attribute[3:] in _ATTRIBUTES:
            if attribute[3:] in event:
                raise ProblemError(400, f"{attribute} is given twice")
            event[attribute[3:]] = header_text(attribute, raw)
    return event | ({"data": _parsed(body)} if body else {})


def header_text(name: str, raw: bytes) -> str:
    """The value of a header (section 3.1.3.2): quotes undone, then percent-decoded once, as UTF-8."""
    quoted = _QUOTED.fullmatch(raw.strip())
    plain = _ESCAPE.sub(rb"\1", quoted[1]) if quoted else raw.strip()
    try:
        return unquote_to_bytes(plain).decode()
    except UnicodeDecodeError as error:
        raise ProblemError(400, f"{name} is not UTF-8") from error


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON can say
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError(400, "The body holds no JSON, or a number that JSON does not know") from error
