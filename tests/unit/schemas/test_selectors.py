"""A selector says what it means, or is refused: an accident must not end everything."""

import json

import pytest
from pydantic import ValidationError

from schemas.fields import MAX_IDS
from schemas.selectors import Selector


def read(**named: object) -> Selector:
    return Selector.model_validate_json(json.dumps(named))


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"tenant": "acme"},
        {"subject": None},
        {"labels": {}},
        {"tenant": "acme", "labels": {}, "everyone": False},
        {"everyone": False},
        {"everyone": None},
        {"everyone": "true"},
        {"everyone": 1},
        {"subject": "alice", "everyone": True},
        {"labels": {"build": "1"}, "everyone": True},
        {"subject": ""},
        {"session_id": ""},
        {"session_id": []},
        {"session_id": ["s-1", ""]},
        {"session_id": [f"s-{number}" for number in range(MAX_IDS + 1)]},
        {"session_id": {"any": "s-1"}},
        {"subject": "alice", "divice_id": "d-7"},
        {"ip_network": "everywhere"},
    ],
)
def test_refused(named: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        read(**named)


@pytest.mark.parametrize(
    "named",
    [
        {"everyone": True},
        {"everyone": True, "tenant": ""},
        {"everyone": True, "tenant": "acme", "labels": {}},
        {"subject": "alice"},
        {"subject": "alice", "everyone": False},
        {"session_id": "s-1"},
        {"token_id": "t-1"},
        {"client_id": "web"},
        {"key_id": "k-1"},
        {"device_id": "d-7"},
        {"ip_network": "203.0.113.0/24"},
        {"labels": {"build": "4711"}},
        {"established_after": "2026-11-21T09:00:00.000000Z"},
    ],
)
def test_taken(named: dict[str, object]) -> None:
    assert json.loads(read(**named).model_dump_json(exclude_none=True)) == named


def test_one_session_is_text_and_several_are_a_list() -> None:
    assert read(session_id="s-1").session_id == "s-1"
    assert read(session_id=["s-1"]).session_id == ("s-1",)
    assert len(read(session_id=[f"s-{number}" for number in range(MAX_IDS)]).session_id or ()) == MAX_IDS
