"""A JSON Schema as people read it: what kind of value, which members, what about them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

_DEEPEST: Final = 6
_KINDS: Final[Mapping[str, str]] = {"string": "text", "integer": "whole number", "boolean": "true or false"}
_LIMITS: Final = (
    ("minLength", "at least {} long"),
    ("maxLength", "at most {} long"),
    ("minItems", "at least {}"),
    ("maxItems", "at most {}"),
    ("minimum", "from {}"),
    ("maximum", "up to {}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value."""

    kind: str
    about: str = ""
    members: tuple["Member", ...] = ()
    variants: tuple["Node", ...] = ()
    """One of these, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member of an object."""

    name: str
    node: Node
    required: bool = field(default=False)


def described(schema: Mapping[str, Any], root: Mapping[str, Any], *, depth: int = 0) -> Node:
    """`schema`, whose references lead into `root`."""
    schema = _resolved(schema, root)
    about = str(schema.get("description", ""))
    if depth >= _DEEPEST:
        return Node(kind=str(schema.get("title", "object")), about=about)
    choices = [
        described(one, root, depth=depth + 1)
        for one in (schema.get("oneOf") or schema.get("anyOf") or ())
        if one.get("type") != "null"
    ]
    if len(choices) == 1:
        (only,) = choices
        return Node(kind=only.kind, about=about or only.about, members=only.members, variants=only.variants)
    if choices:
        if any(one.members for one in choices):
            return Node(kind="one of", about=about, variants=tuple(choices))
        kinds = dict.fromkeys(one.kind for one in choices)
        return Node(kind=" or ".join(kinds), about=about)
    if schema.get("type") == "array":
        item = described(schema.get("items", {}), root, depth=depth + 1)
        kind = f"list of {item.kind}"
        return Node(kind=_with_limits(kind, schema), about=about, members=item.members, variants=item.variants)
    required = frozenset(schema.get("required", ()))
    members = tuple(
        Member(name=name, node=described(member, root, depth=depth + 1), required=name in required)
        for name, member in schema.get("properties", {}).items()
    )
    return Node(kind=_with_limits(_kind(schema), schema), about=about, members=members)


def pretty(value: object) -> str:
    """As indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        found: Any = root
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def _kind(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " | ".join(f'"{one}"' for one in schema["enum"])
    if "format" in schema:
        return str(schema["format"])
    kinds = schema.get("type", "object" if "properties" in schema else "anything")
    return " or ".join(_KINDS.get(one, one) for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null")


def _with_limits(kind: str, schema: Mapping[str, Any]) -> str:
    told = [text.format(schema[name]) for name, text in _LIMITS if schema.get(name, 1) != 1]
    return f"{kind} ({', '.join(told)})" if told else kind
