"""What we say of ourselves: complete, true to the contract, and shown by pages that load nothing and run nothing."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest

from revoker.api.documents import views
from revoker.api.documents.access import ACCESS
from revoker.api.documents.described import Member, Node, described
from revoker.api.documents.openapi import name_of, openapi, operations
from revoker.settings import HttpSettings
from schemas import export
from tests.api.serving import Served, serving
from tests.servers import make_settings

PAGES = ("/docs", "/asyncapi")


@pytest.fixture
async def alone() -> AsyncIterator[Served]:
    """Nothing that it might ask for is there."""
    settings = make_settings(kafka_bootstrap_servers="127.0.0.1:1", database_url="postgresql://127.0.0.1:1/nothing")
    async with serving(settings, http=HttpSettings(public_url="https://sessions.example")) as made:
        yield made


async def test_both_documents_are_there_for_everybody(alone: Served) -> None:
    http, kafka = await alone.ask("GET", "/openapi.json"), await alone.ask("GET", "/asyncapi.json")

    assert (http.status_code, http.json()) == (200, openapi(alone.routed))
    assert (kafka.status_code, kafka.json()) == (200, export.asyncapi())


async def test_it_tells_who_may_ask_what(alone: Served) -> None:
    document = openapi(alone.routed)
    told = {(method.upper(), path) for path, method, _ in operations(document)}
    pages = {route for route in ACCESS if route[1].startswith(("/devices", "/static", "/docs", "/asyncapi"))}

    assert told == set(ACCESS) - pages | {("GET", "/check"), ("GET", "/asyncapi.json")}
    for path, method, operation in operations(document):
        assert operation["security"], path
        assert operation["summary"], path
        assert operation["tags"], path
        assert "HTTPValidationError" not in str(operation), path
        assert operation["operationId"] == name_of(method, path)
    assert operations_by_name(document) == len(told)
    assert document["components"]["securitySchemes"].keys() >= {"bearer", "cookie"}


def operations_by_name(document: dict[str, Any]) -> int:
    return len({operation["operationId"] for _, _, operation in operations(document)})


async def test_references_lead_somewhere(alone: Served) -> None:
    document = openapi(alone.routed)
    for reference in set(re.findall(r"'\$ref': '([^']+)'", str(document))):
        place: Any = document
        assert reference.startswith("#/")
        for step in reference[2:].split("/"):
            place = place[step]


@pytest.mark.parametrize("path", PAGES)
async def test_pages_load_and_run_nothing(alone: Served, path: str) -> None:
    answer = await alone.ask("GET", path)
    page = answer.text
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.startswith("<!doctype html>\n<html lang=")
    policy = answer.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"<(script|img|iframe|object|embed|form)|\son[a-z]+=|\sstyle=|javascript:", page)
    links = set(re.findall(r'(?:href|src)="([^"]*)"', page))
    assert links <= {"data:,", "docs", "asyncapi", "openapi.json", "asyncapi.json"} | {
        f"#{one}" for one in re.findall(r'id="([^"]+)"', page)
    }
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


async def test_pages_show_everything(alone: Served) -> None:
    page = unescape((await alone.ask("GET", "/docs")).text)
    for path, method, operation in operations(openapi(alone.routed)):
        assert f'id="{name_of(method, path)}"' in page
        assert operation["summary"] in page
        assert f'"https://sessions.example{path}"' in page
    page = unescape((await alone.ask("GET", "/asyncapi")).text)
    for message in export.asyncapi()["components"]["messages"].values():
        assert f"<code>{message['name']}</code>" in page


async def test_a_host_that_somebody_sends_is_shown_to_nobody() -> None:
    settings = make_settings(kafka_bootstrap_servers="127.0.0.1:1")
    async with serving(settings) as served:
        page = (await served.ask("GET", "/docs", headers={"Host": "evil.example"})).text
        assert "evil.example" not in page
        assert "$REVOKER_API_URL/v1/introspect" in page


async def test_hostile_text_is_text(alone: Served) -> None:
    alone.routed.title = "<script>alert(1)</script>"

    @alone.routed.get("/hostile", tags=["<b>"], description="`<i>` & `", summary='"><img src=x>')
    async def hostile(name: str = "<u>") -> str:
        return name

    page = (await alone.ask("GET", "/docs")).text
    assert not re.search(r"<(script|img|i|b|u)>|<img", page)
    assert "<code>&lt;i&gt;</code> &amp; <code></code>" in page


def test_a_schema_is_read_as_people_do() -> None:
    root = {"$defs": {"Id": {"type": "string", "minLength": 1, "maxLength": 5, "description": "A name."}}}
    node = described(
        {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"$ref": "#/$defs/Id"},
                "more": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
                "either": {"oneOf": [{"const": "a"}, {"enum": ["b", "c"]}]},
                "when": {"type": "string", "format": "date-time"},
            },
        },
        root,
    )
    assert node.members == (
        Member(name="id", node=Node(kind="text (at most 5 long)", about="A name."), required=True),
        Member(name="more", node=Node(kind="list of whole number")),
        Member(name="either", node=Node(kind='"a" or "b" | "c"')),
        Member(name="when", node=Node(kind="date-time")),
    )


def test_a_schema_that_holds_itself_has_an_end() -> None:
    root = {"$defs": {"Tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}}}}
    assert described({"$ref": "#/$defs/Tree"}, root).members


async def test_commands_can_be_pasted(alone: Served) -> None:
    groups = views.of_openapi(openapi(alone.routed), "https://sessions.example")
    commands = {one.path: one.curl for group in groups.values() for one in group if one.method == "POST"}

    assert commands["/v1/introspect"] == (
        'curl -H "Authorization: Bearer $TOKEN" \\\n'
        "  -d 'token=mF_9.B5f-4.1JqM&token_type_hint=refresh_token' \\\n"
        '  "https://sessions.example/v1/introspect"'
    )
    assert "-H 'Content-Type: application/json'" in commands["/v1/global-token-revocation"]
    assert commands["/v1/hooks/{name}"].startswith('curl -X POST \\\n  -H "Authorization: $SECRET"')
