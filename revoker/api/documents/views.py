"""The documents as their pages show them. Pure."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from revoker.api.documents.access import ACCESS, Access
from revoker.api.documents.described import Member, Node, described, pretty
from revoker.api.documents.openapi import name_of, operations

FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is sent, either way."""

    kind: str
    node: Node
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer."""

    status: str
    about: str
    contents: tuple[Content, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the HTTP API."""

    anchor: str
    method: str
    path: str
    summary: str
    about: str
    who: tuple[str, ...]
    parameters: tuple[tuple[str, Member], ...]
    """Each with its place: path, query, header."""
    contents: tuple[Content, ...]
    answers: tuple[Answer, ...]
    curl: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a topic."""

    name: str
    summary: str
    content: Content
    headers: Node | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One topic."""

    name: str
    summary: str
    about: str
    is_ours: bool
    """We write it; you read it."""
    messages: tuple[Message, ...]


def of_openapi(document: Mapping[str, Any], base_url: str) -> dict[str, list[Operation]]:
    """Operations by tag, in the document's order."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, method, operation in operations(dict(document)):
        tag = next(iter(operation.get("tags", ())), "others")
        found.setdefault(tag, []).append(_operation(document, path, method.upper(), operation, base_url))
    return found


def of_asyncapi(document: Mapping[str, Any]) -> list[Channel]:
    """Topics, in the document's order."""
    ours = {one["channel"]["$ref"] for one in document["operations"].values() if one["action"] == "send"}
    return [
        Channel(
            name=name,
            summary=channel["summary"],
            about=channel["description"],
            is_ours=f"#/channels/{name}" in ours,
            messages=tuple(_messages(document, channel)),
        )
        for name, channel in document["channels"].items()
    ]


def _operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any], base_url: str
) -> Operation:
    access = ACCESS.get((method, path))
    contents = _contents(document, operation.get("requestBody", {}))
    return Operation(
        anchor=name_of(method, path),
        method=method,
        path=path,
        summary=operation.get("summary", ""),
        about=operation.get("description", ""),
        who=tuple(access.words()) if access is not None else (),
        parameters=tuple(_parameters(document, operation)),
        contents=contents,
        answers=tuple(
            Answer(status=status, about=answer.get("description", ""), contents=_contents(document, answer))
            for status, answer in operation["responses"].items()
        ),
        curl=_curl(method, base_url.rstrip("/") + path, contents, access),
    )


def _parameters(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[tuple[str, Member]]:
    for one in operation.get("parameters", ()):
        node = described({"description": one.get("description", "")} | one.get("schema", {}), document)
        yield one["in"], Member(name=one["name"], node=node, required=one.get("required", False))


def _contents(document: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[Content, ...]:
    return tuple(
        Content(
            kind=kind,
            node=described(content.get("schema", {}), document),
            examples=tuple(_shown(kind, one) for one in _examples(content, document)),
        )
        for kind, content in body.get("content", {}).items()
    )


def _examples(content: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Any]:
    schema = content.get("schema", {})
    reference = schema.get("$ref")
    if isinstance(reference, str):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    for holder in (content, schema):
        named = holder.get("examples", ())
        found = [holder["example"]] if "example" in holder else []
        found += [one["value"] for one in named.values()] if isinstance(named, Mapping) else list(named)
        if found:
            yield from found
            return


def _shown(kind: str, example: Any) -> str:  # noqa: ANN401 - JSON
    if kind == FORM and isinstance(example, dict):
        return urlencode(example)
    return example if isinstance(example, str) else pretty(example)


def _curl(method: str, url: str, contents: tuple[Content, ...], access: Access | None) -> str:
    sent = next(((one.kind, one.examples[0]) for one in contents if one.examples), None)
    words = ["curl"]
    if method != ("GET" if sent is None else "POST"):
        words.append(f"-X {method}")
    if access is None or not access.anyone:
        words.append(
            '-H "Authorization: $SECRET"' if access and access.platform else '-H "Authorization: Bearer $TOKEN"'
        )
    if sent is not None:
        kind, example = sent
        words += [f"-H {shlex.quote(f'Content-Type: {kind}')}"] if kind != FORM else []
        words.append(f"-d {shlex.quote(' '.join(example.split()))}")
    return " \\\n  ".join([" ".join(words[:2]), *words[2:], f'"{url}"'])


def _messages(document: Mapping[str, Any], channel: Mapping[str, Any]) -> Iterator[Message]:
    for reference in channel["messages"].values():
        message = document["components"]["messages"][reference["$ref"].rpartition("/")[2]]
        headers = message.get("headers")
        yield Message(
            name=message["name"],
            summary=message["summary"],
            content=Content(
                kind=message["contentType"],
                node=described(message.get("payload", {"type": "the bytes as they arrived"}), document),
                examples=tuple(pretty(one["payload"]) for one in message.get("examples", ())),
            ),
            headers=described(headers, document) if headers is not None else None,
        )
