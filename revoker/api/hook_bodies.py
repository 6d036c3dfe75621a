"""What identity platforms post, cut into single records. Pure: bytes in, trees out.

Auth0    an array, lines of JSON, or {"logs": […]}, as the stream's content format says
Okta     {"data": {"events": […]}}
others   one record, or an array of them
"""

from typing import Any

from pydantic_core import from_json

from schemas.inputs import Format


def records(format_: Format, body: bytes) -> list[Any]:
    """The records of `body`. A line that is no JSON comes out as it is, to be refused by itself.

    Raises `ValueError` where nothing can be told.
    """
    try:
        tree = from_json(body, allow_inf_nan=False)
    except ValueError:
        if format_ is not Format.AUTH0:
            raise
        return [_line(line) for line in body.splitlines() if line.strip()]
    return _listed(format_, tree)


def _listed(format_: Format, tree: Any) -> list[Any]:  # noqa: ANN401 - whatever JSON can say
    found = tree
    if isinstance(tree, dict) and format_ is Format.AUTH0:
        found = tree.get("logs", tree)
    if isinstance(tree, dict) and format_ is Format.OKTA:
        data = tree.get("data")
        found = data.get("events", tree) if isinstance(data, dict) else tree
    return found if isinstance(found, list) else [found]


def _line(line: bytes) -> Any:  # noqa: ANN401 - as above
    try:
        return from_json(line, allow_inf_nan=False)
    except ValueError:
        return line
