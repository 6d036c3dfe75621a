"""The contract in the forms that other teams' tools read, built from the models: JSON Schemas and an AsyncAPI document.

`python -m schemas.export DIR` writes them, `--check` compares. One JSON Schema (draft 2020-12) a message,
`DIR/schemas/<topic>/<type>.json`, and `DIR/asyncapi.json` (AsyncAPI 3.0). Each is complete in itself and names no host.

What comes in may say null for absent; what we send leaves absent fields out, so its schemas do not speak of null.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema, from_json, to_json

from schemas.catalogue import PUBLISHED, Published
from schemas.cloudevent import CONTENT_TYPE, CloudEvent
from schemas.codec import Reason, encode
from schemas.topics import REJECTED_HEADERS, TOPICS, Direction, Topic, TopicSpec

VERSION: Final = "1.0.0"
"""Of the contract: the major is the folder of samples in tests/wire, the minor grows with each addition."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_KAFKA_BINDING: Final = "0.5.0"
_ABOUT: Final = """\
Events in, notifications out. Topics carry the prefix of the installation (`REVOKER_TOPIC_PREFIX`); operations are the
service's own: what it receives, you send. Events are CloudEvents 1.0 in JSON, structured or, inbound, binary mode;
inbound types may carry a reverse-DNS prefix. Unknown fields are ignored, except in a selector."""

_REJECTED: Final = "rejected-event"


class _Schemas(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - as inherited
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        default = schema.get("default")
        if default is None or isinstance(default, BaseModel):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def json_schemas() -> dict[str, dict[str, Any]]:
    """`<topic>/<type>` to the JSON Schema of that message."""
    return {f"{message.topic}/{message.type}": json_schema(message) for message in PUBLISHED}


def json_schema(message: Published) -> dict[str, Any]:
    """The JSON Schema of one message."""
    head = {"$schema": DIALECT, "$id": f"urn:revoker:{message.topic}:{message.type}"}
    body = type(message.example).model_json_schema(schema_generator=_Schemas, mode=_mode(message))
    return head | body | {"examples": [_plain(message)]}


def asyncapi() -> dict[str, Any]:
    """Every topic with its key, direction, messages and an example of each."""
    models = [(type(message.example), _mode(message)) for message in PUBLISHED]
    payloads, shared = models_json_schema(
        models, schema_generator=_Schemas, ref_template="#/components/schemas/{model}"
    )
    messages = {
        _key(message.topic, message.type): _message(message, payloads[type(message.example), _mode(message)])
        for message in PUBLISHED
    }
    messages[_key(Topic.REJECTED_EVENTS, _REJECTED)] = _rejected_message()
    return {
        "asyncapi": "3.0.0",
        "id": "urn:revoker",
        "info": {"title": "Session revocation", "version": VERSION, "description": _ABOUT.replace("\n", " ")},
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.value: _channel(topic, spec) for topic, spec in TOPICS.items()},
        "operations": dict(_operation(topic, spec) for topic, spec in TOPICS.items()),
        "components": {"messages": messages, "schemas": shared["$defs"]},
    }


def files() -> dict[str, str]:
    """Path below the folder to text, of everything that is published."""
    trees = {f"schemas/{name}.json": tree for name, tree in json_schemas().items()} | {"asyncapi.json": asyncapi()}
    return {path: to_json(tree, indent=2).decode() + "\n" for path, tree in sorted(trees.items())}


def differences(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """The paths that are missing in `folder`, or say something else, or are left over from a retired message."""
    found = {path.relative_to(folder).as_posix() for path in (folder / "schemas").rglob("*.json")}
    changed = {
        path
        for path, text in wanted.items()
        if not (folder / path).is_file() or (folder / path).read_text(encoding="utf-8") != text
    }
    return sorted(changed | (found - wanted.keys()))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when the folder is as it should be, 1 when `--check` found what differs."""
    parser = argparse.ArgumentParser(prog="python -m schemas.export", description="Writes the contract's reference.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that differ, exit 1 if any")
    options = parser.parse_args(arguments)

    wanted = files()
    changed = differences(options.folder, wanted)

    if not options.check:
        _write(options.folder, wanted, changed)
    sys.stdout.writelines(f"{path}\n" for path in changed)
    return 1 if options.check and changed else 0


def _write(folder: Path, wanted: Mapping[str, str], changed: Sequence[str]) -> None:
    for path in changed:
        if path in wanted:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(wanted[path], encoding="utf-8")
        else:
            (folder / path).unlink()


def _mode(message: Published) -> Literal["validation", "serialization"]:
    return "validation" if TOPICS[message.topic].direction is Direction.IN else "serialization"


def _plain(message: Published) -> Any:  # noqa: ANN401 - JSON
    return from_json(encode(message.example))


def _key(topic: Topic, type_: str) -> str:
    return f"{topic}.{type_}"


def _types(topic: Topic) -> list[str]:
    return [message.type for message in PUBLISHED if message.topic is topic] or [_REJECTED]


def _message(message: Published, payload: JsonSchemaValue) -> dict[str, Any]:
    model = type(message.example)
    return {
        "name": message.type,
        "summary": (model.__doc__ or "").partition("\n")[0],
        "contentType": CONTENT_TYPE if issubclass(model, CloudEvent) else "application/json",
        "payload": payload,
        "examples": [{"name": message.type, "payload": _plain(message)}],
        "bindings": _key_binding(message.topic),
    }


def _rejected_message() -> dict[str, Any]:
    words = {
        "revoker-reason": f"Begins with one of: {', '.join(Reason)}.",
        "revoker-topic": "Where it arrived: the topic,",
        "revoker-partition": "the partition,",
        "revoker-offset": "and the offset.",
    }
    return {
        "name": _REJECTED,
        "summary": "A record as it arrived: its bytes, its key, its headers and these.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "required": list(REJECTED_HEADERS),
            "properties": {name: {"type": "string", "description": words[name]} for name in REJECTED_HEADERS},
        },
        "bindings": _key_binding(Topic.REJECTED_EVENTS),
    }


def _key_binding(topic: Topic) -> dict[str, Any]:
    key = {"type": "string", "description": TOPICS[topic].key}
    return {"kafka": {"key": key, "bindingVersion": _KAFKA_BINDING}}


def _channel(topic: Topic, spec: TopicSpec) -> dict[str, Any]:
    kept = {"cleanup.policy": ["delete"], "retention.ms": spec.retention_ms, **spec.configs}
    kafka: dict[str, Any] = {"topic": topic.value, "topicConfiguration": kept, "bindingVersion": _KAFKA_BINDING}
    if spec.partitions is not None:
        kafka["partitions"] = spec.partitions
    return {
        "address": topic.value,
        "summary": spec.summary,
        "description": f"Key: {spec.key}. Written by: {spec.writers}. Read by: {spec.readers}.",
        "messages": {type_: {"$ref": f"#/components/messages/{_key(topic, type_)}"} for type_ in _types(topic)},
        "bindings": {"kafka": kafka},
    }


def _operation(topic: Topic, spec: TopicSpec) -> tuple[str, dict[str, Any]]:
    action = "receive" if spec.direction is Direction.IN else "send"
    return f"{action}-{topic}", {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": spec.summary,
        "messages": [{"$ref": f"#/channels/{topic}/messages/{type_}"} for type_ in _types(topic)],
    }


if __name__ == "__main__":  # pragma: no cover - the command line, and nothing else
    raise SystemExit(main())
