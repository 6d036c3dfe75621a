"""What somebody who logs out wants, from a form, the query or JSON."""

from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from revoker.api.bodies import body
from revoker.api.problems import ProblemError

Scope = Literal["one", "others", "everywhere"]

_MOST: Final = 16_384
_FORM: Final = "application/x-www-form-urlencoded"
_PARTS: Final = "multipart/form-data"
_JSON: Final = "application/json"
_FIELDS: Final = 20

_PROPERTIES: Final[dict[str, Any]] = {
    "scope": {
        "type": "string",
        "enum": ["one", "others", "everywhere"],
        "default": "one",
        "description": "This session, all others, or all.",
    },
    "return_to": {"type": "string", "description": "Where to send the browser, if it is allowed."},
}
_SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": _PROPERTIES}
PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": name, "in": "query", "schema": schema, "description": schema["description"]}
    for name, schema in _PROPERTIES.items()
]
BODY: Final[dict[str, Any]] = {
    "required": False,
    "content": {kind: {"schema": _SCHEMA, "example": {"scope": "everywhere"}} for kind in (_FORM, _JSON, _PARTS)},
}
"""What the OpenAPI document says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to end, and where to go then."""

    scope: Scope
    return_to: str | None
    is_page: bool
    """A person's browser asks, which wants to land somewhere."""


async def wish_of(request: Request) -> Wish:
    """Raises `ProblemError` for what makes no sense."""
    told = dict(request.query_params) | await _body(request)
    return_to = told.get("return_to")
    if return_to is not None and not isinstance(return_to, str):
        raise ProblemError(400, "return_to is text")
    return Wish(scope=_scope(told.get("scope", "one")), return_to=return_to, is_page=wants_page(request))


def _scope(text: object) -> Scope:
    match text:
        case "one" | "others" | "everywhere":
            return text
        case _:
            raise ProblemError(400, "scope is one, others or everywhere")


async def _body(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind:
        return {}
    if kind == _PARTS:
        form = await request.form(max_files=0, max_fields=_FIELDS, max_part_size=_MOST)
        return {name: value for name, value in form.items() if isinstance(value, str)}
    raw = await body(request, _MOST, _FORM, _JSON)
    return _form(raw) if kind == _FORM else _json(raw)


def _form(raw: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError as error:
        raise ProblemError(400, "This is no form") from error


def _json(raw: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, "This is no JSON") from error
    if not isinstance(told, dict):
        raise ProblemError(400, "This is no JSON object")
    return told


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, by what it accepts."""
    for one in ",".join(request.headers.getlist("accept")).split(","):
        kind, *parameters = (part.strip().lower() for part in one.split(";"))
        if kind == "text/html":
            quality = next((value for value in parameters if value.startswith("q=")), "q=1")
            return quality.removeprefix("q=").strip("0.") != ""
    return False
