"""The OpenAPI document: FastAPI's own of the routes, with who may ask, and with `/check`, which is no route."""

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from revoker.api.documents.access import ACCESS, ANYONE, BEARER, COOKIE, SCHEMES
from revoker.api.problems import documented

_WORD: Final = re.compile(r"[a-z0-9_.]+")
_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_ABOUT: Final = """\
Everything that changes state becomes an event on Kafka; an answer says how far it has come: requested, committed, or
enforced. A request that revokes takes `Prefer: wait=N` and `until=committed` or `until=enforced`. Refusals are problem
details (RFC 9457). Who asks too often waits for a turn; only then 429. The `introspection_endpoint`, the
`revocation_endpoint` and the `global_token_revocation_endpoint` of an authorization server's metadata (RFC 8414) may be
the three of OAuth here."""
_CHECK: Final = {
    "tags": ["gateways"],
    "summary": "May whoever shows this pass?",
    "description": (
        "For nginx's auth_request, forward auth and ext_authz: shows what its client has shown. Every method and every "
        "path below are the same question."
    ),
    "security": [{BEARER: []}, {COOKIE: []}],
    "responses": {
        "200": {
            "description": "Live.",
            "headers": {
                "X-Revoker-Subject": {"schema": {"type": "string"}},
                "X-Revoker-Session": {"schema": {"type": "string"}},
            },
        },
    },
}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document of `app`."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        openapi_version="3.1.0",
        description=_ABOUT.replace("\n", " "),
        routes=app.routes,
    )
    document["paths"]["/check"] = {"get": _check()}
    for path, method, operation in operations(document):
        responses = operation["responses"]
        if "HTTPValidationError" in str(responses.get("422")):
            del responses["422"]  # a 400 here, and a problem
        responses.setdefault("default", documented(500)[500] | {"description": "A refusal."})
        operation["operationId"] = name_of(method, path)
        access = ACCESS.get((method.upper(), path))
        if access is not None:
            operation["security"] = access.security()
        if access is ANYONE and method == "get":
            for status in ("401", "403"):  # said of all routes, but nobody has to prove anything here
                responses.pop(status, None)
    components = document.setdefault("components", {})
    components["securitySchemes"] = dict(SCHEMES)
    for unused in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(unused, None)
    told = [tag["name"] for tag in app.openapi_tags or ()]
    used = {tag for _, _, operation in operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [tag for tag in app.openapi_tags or () if tag["name"] in used]
    document["tags"] += [{"name": tag} for tag in sorted(used.difference(told))]
    return document


def name_of(method: str, path: str) -> str:
    """What an operation is called, in documents and links."""
    return "-".join([method.lower(), *_WORD.findall(path)])


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _check() -> dict[str, Any]:
    told = {str(status): response for status, response in documented(401, 403, 503).items()}
    return {**_CHECK, "responses": {**_CHECK["responses"], **told}}  # type: ignore[dict-item]
