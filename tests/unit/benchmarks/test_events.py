"""What is measured is what the product reads."""

from benchmarks.events import password_changes, sessions_established
from schemas.codec import ACTIVITY, IDENTITY, decode
from schemas.identity_events import PasswordChanged
from schemas.inputs import IDENTITY_EVENTS, SESSION_ACTIVITY
from schemas.session_activity import SessionEstablished


def test_password_changes_are_events_of_one_subject_each() -> None:
    events = [decode(IDENTITY, IDENTITY_EVENTS, value) for _, value in password_changes("t", 10)]

    assert all(isinstance(event, PasswordChanged) and event.tenant == "t" for event in events)
    assert len({event.subject for event in events if isinstance(event, PasswordChanged)}) == 10


def test_sessions_established_are_four_of_a_subject() -> None:
    records = sessions_established("t", 40)
    events = [decode(ACTIVITY, SESSION_ACTIVITY, value) for _, value in records]

    assert all(isinstance(event, SessionEstablished) for event in events)
    assert len({key for key, _ in records}) == 10
    assert len({event.data.session_id for event in events if isinstance(event, SessionEstablished)}) == 40
