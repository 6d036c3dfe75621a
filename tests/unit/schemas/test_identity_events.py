"""Which parts of an identity event must be there, as the contract's table says."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.codec import IDENTITY
from schemas.fields import MAX_IDS
from schemas.identity_events import IdentityEvent, SessionRevoked

EVENT: TypeAdapter[IdentityEvent] = TypeAdapter(IdentityEvent)
REQUIRED: dict[str, tuple[bool, dict[str, object]]] = {
    # type: whether the subject must be named, and the least data
    "password-changed": (True, {}),
    "email-changed": (True, {}),
    "logged-out": (False, {"session_id": "s-1"}),
    "logged-out-everywhere": (True, {}),
    "session-revoked": (False, {"session_ids": ["s-1"]}),
    "security-concern-reported": (True, {}),
    "account-disabled": (True, {}),
    "account-deleted": (True, {}),
    "refresh-token-reused": (False, {"session_id": "s-1"}),
    "token-revoked": (False, {"token_id": "t-1"}),
}


def read(type_: str, data: dict[str, object] | None, subject: str | None = "alice") -> IdentityEvent:
    event = {"specversion": "1.0", "id": "e-1", "source": "login", "type": type_, "subject": subject, "data": data}
    return EVENT.validate_json(json.dumps({name: value for name, value in event.items() if value is not None}))


def test_the_table_is_complete() -> None:
    assert set(REQUIRED) == IDENTITY.types


@pytest.mark.parametrize("type_", REQUIRED)
def test_what_must_be_there(type_: str) -> None:
    needs_subject, least = REQUIRED[type_]

    assert read(type_, least).type == type_
    for missing in least:
        with pytest.raises(ValidationError, match=missing):
            read(type_, {name: value for name, value in least.items() if name != missing})
    if needs_subject:
        assert read(type_, None).type == type_
        with pytest.raises(ValidationError, match="subject"):
            read(type_, least, subject=None)
    else:
        assert read(type_, least, subject=None).subject is None
        with pytest.raises(ValidationError, match="data"):
            read(type_, None)


def test_session_revoked_names_1_to_500_sessions() -> None:
    most = read("session-revoked", {"session_ids": [f"s-{number}" for number in range(MAX_IDS)]})

    assert isinstance(most, SessionRevoked)
    assert len(most.data.session_ids) == MAX_IDS
    for ids in ([], [f"s-{number}" for number in range(MAX_IDS + 1)]):
        with pytest.raises(ValidationError, match="session_ids"):
            read("session-revoked", {"session_ids": ids})


@pytest.mark.parametrize("wrong", [{"initiator": "root"}, {"severity": "apocalyptic"}, {"reason_user": {}}])
def test_closed_sets_are_closed(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        read("security-concern-reported", wrong)
