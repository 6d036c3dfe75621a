"""What must be known of a session or token for it to be registered."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.session_activity import SessionActivity, SessionEstablished

EVENT: TypeAdapter[SessionActivity] = TypeAdapter(SessionActivity)
LEAST: dict[str, dict[str, object]] = {
    "session-established": {"session_id": "s-1"},
    "session-presented": {"session_id": "s-1"},
    "token-issued": {"token_id": "t-1", "kind": "refresh"},
}


def read(type_: str, **data: object) -> SessionActivity:
    envelope = {"specversion": "1.0", "id": "e-1", "source": "login", "type": type_, "subject": "alice"}
    return EVENT.validate_json(json.dumps(envelope | {"data": data}))


@pytest.mark.parametrize("type_", LEAST)
def test_what_must_be_there(type_: str) -> None:
    assert read(type_, **LEAST[type_]).subject == "alice"
    for missing in LEAST[type_]:
        with pytest.raises(ValidationError, match=missing):
            read(type_, **{name: value for name, value in LEAST[type_].items() if name != missing})


def test_nobody_stays_unregistered_by_a_strange_user_agent() -> None:
    session = read("session-established", session_id="s-1", user_agent="\x00" * 5_000)

    assert isinstance(session, SessionEstablished)
    assert session.data.user_agent == "?" * 2_000


def test_the_kinds_of_token_are_closed() -> None:
    with pytest.raises(ValidationError, match="kind"):
        read("token-issued", token_id="t-1", kind="id")
