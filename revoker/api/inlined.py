"""Schemas of messages for the OpenAPI document, for routes that read the bytes themselves."""

from typing import Any

from pydantic import BaseModel


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of `model` in one piece: inside a document, what it refers to would be looked for at the root."""
    schema = model.model_json_schema()
    definitions: dict[str, Any] = schema.pop("$defs", {})
    whole: dict[str, Any] = _whole(schema, definitions)
    return whole


def _whole(part: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(part, list):
        return [_whole(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    name = part.get("$ref")
    if isinstance(name, str):
        rest = {key: value for key, value in part.items() if key != "$ref"}
        merged: dict[str, Any] = _whole(definitions[name.rpartition("/")[2]] | rest, definitions)
        return merged
    # A discriminator would name definitions that are not there any more; what it tells, each choice tells itself.
    return {key: _whole(value, definitions) for key, value in part.items() if key != "discriminator"}
