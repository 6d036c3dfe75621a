"""What is published about the contract is the contract."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.catalogue import PUBLISHED
from schemas.codec import encode
from schemas.export import asyncapi, files, json_schemas, main
from schemas.topics import TOPICS, Direction

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
V1 = ROOT / "tests" / "wire" / "v1"
SCHEMAS = json_schemas()
SAMPLES = [
    path for name in SCHEMAS for path in (V1 / name).parent.iterdir() if path.name.partition(".")[0] == Path(name).name
]


def refs(tree: Any) -> Iterator[str]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key == "$ref":
            yield value
        elif isinstance(value, dict | list):
            yield from refs(value)


def resolved(tree: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        tree = tree[part]
    return tree


def test_the_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(REFERENCE)]) == 0, (
        f"run: python -m schemas.export {REFERENCE}\n{capsys.readouterr().out}"
    )


def test_check_names_what_differs_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path)
    assert main(["--check", folder]) == 1
    assert capsys.readouterr().out.split() == sorted(files())
    assert main([folder]) == 0
    assert main(["--check", folder]) == 0
    (tmp_path / "asyncapi.json").write_text("{}", encoding="utf-8")
    (tmp_path / "schemas" / "session-ended" / "retired.json").write_text("{}", encoding="utf-8")
    (tmp_path / "README.md").write_text("kept", encoding="utf-8")
    capsys.readouterr()

    assert main(["--check", folder]) == 1
    assert capsys.readouterr().out.split() == ["asyncapi.json", "schemas/session-ended/retired.json"]
    assert main([folder]) == 0
    assert main(["--check", folder]) == 0
    assert (tmp_path / "README.md").exists()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_names_no_host(name: str) -> None:
    schema = SCHEMAS[name]

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:revoker:{name.replace('/', ':')}"
    assert "://" not in json.dumps(schema | {"$schema": ""})
    for example in schema["examples"]:
        jsonschema.Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("sample", SAMPLES, ids=[path.relative_to(V1).as_posix() for path in SAMPLES])
def test_a_sample_fits_its_schema_and_nothing_less_does(sample: Path) -> None:
    schema = SCHEMAS[f"{sample.parent.name}/{sample.name.partition('.')[0]}"]
    validator = jsonschema.Draft202012Validator(schema)
    tree = json.loads(sample.read_text(encoding="utf-8"))

    validator.validate(tree)
    for name in schema["required"]:
        assert not validator.is_valid({key: value for key, value in tree.items() if key != name}), name
        assert not validator.is_valid(tree | {name: None}), name


def test_absent_is_null_inbound_only() -> None:
    assert '"null"' in json.dumps(SCHEMAS["identity-events/password-changed"])
    outbound = [name for name in SCHEMAS if name.startswith("session-ended")]
    assert len(outbound) == 4
    assert not any('"null"' in json.dumps(SCHEMAS[name]) for name in outbound)


def test_a_selector_with_an_unknown_attribute_fits_no_schema() -> None:
    schema = SCHEMAS["revocation-orders/revocation-ordered"]
    order = copy.deepcopy(schema["examples"][0])
    order["data"]["selector"]["divice_id"] = "d-7"

    assert not jsonschema.Draft202012Validator(schema).is_valid(order)


def test_asyncapi_has_every_topic_with_its_key_direction_and_messages() -> None:
    document = asyncapi()

    for topic, spec in TOPICS.items():
        action = "receive" if spec.direction is Direction.IN else "send"
        operation = document["operations"][f"{action}-{topic}"]
        channel = resolved(document, operation["channel"]["$ref"])
        messages = [resolved(document, resolved(document, ref)["$ref"]) for ref in refs(operation["messages"])]
        published = [message for message in PUBLISHED if message.topic is topic]

        assert (channel["address"], operation["action"]) == (topic, action)
        assert [message["name"] for message in messages] == ([one.type for one in published] or ["rejected-event"])
        assert {message["bindings"]["kafka"]["key"]["description"] for message in messages} == {spec.key}
        assert [example["payload"] for message in messages for example in message.get("examples", ())] == [
            json.loads(encode(one.example)) for one in published
        ]
        assert channel["bindings"]["kafka"].get("partitions") == spec.partitions
    assert len(document["operations"]) == len(document["channels"]) == len(TOPICS)


def test_asyncapi_is_complete_in_itself_and_its_payloads_hold_its_examples() -> None:
    document = asyncapi()

    assert all(resolved(document, ref) for ref in refs(document))
    for key, message in document["components"]["messages"].items():
        assert re.fullmatch(r"[\w.-]+", key)
        for example in message.get("examples", ()):
            schema = {"components": document["components"], **message["payload"]}
            jsonschema.Draft202012Validator(schema).validate(example["payload"])
            assert not jsonschema.Draft202012Validator(schema).is_valid({})
