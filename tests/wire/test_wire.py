"""Every sample of every published version decodes to the same typed message, for ever."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from schemas import gateway_receipts, identity_events, revocation_orders, session_activity, session_ended
from schemas.catalogue import PUBLISHED
from schemas.codec import ACTIVITY, IDENTITY, ORDERS, RECEIPTS, Vocabulary, decode, encode
from schemas.fields import Message
from schemas.inputs import Input
from schemas.topics import Topic

V1 = Path(__file__).parent / "v1"
INBOUND: dict[str, Vocabulary[Any]] = {
    Topic.IDENTITY_EVENTS: IDENTITY,
    Topic.SESSION_ACTIVITY: ACTIVITY,
    Topic.REVOCATION_ORDERS: ORDERS,
    Topic.GATEWAY_RECEIPTS: RECEIPTS,
}
OUTBOUND: dict[str, TypeAdapter[Any]] = {
    Topic.SESSION_ENDED: TypeAdapter(session_ended.Notification),
    Topic.HEARTBEATS: TypeAdapter(session_ended.Heartbeat),
}
# Written out, not taken from the catalogue: a renamed or retyped message must fail here.
TYPES: dict[str, type[Message]] = {
    "identity-events/password-changed": identity_events.PasswordChanged,
    "identity-events/email-changed": identity_events.EmailChanged,
    "identity-events/logged-out": identity_events.LoggedOut,
    "identity-events/logged-out-everywhere": identity_events.LoggedOutEverywhere,
    "identity-events/session-revoked": identity_events.SessionRevoked,
    "identity-events/security-concern-reported": identity_events.SecurityConcernReported,
    "identity-events/account-disabled": identity_events.AccountDisabled,
    "identity-events/account-deleted": identity_events.AccountDeleted,
    "identity-events/refresh-token-reused": identity_events.RefreshTokenReused,
    "identity-events/token-revoked": identity_events.TokenRevoked,
    "session-activity/session-established": session_activity.SessionEstablished,
    "session-activity/session-presented": session_activity.SessionPresented,
    "session-activity/token-issued": session_activity.TokenIssued,
    "revocation-orders/revocation-ordered": revocation_orders.RevocationOrdered,
    "revocation-orders/hold-placed": revocation_orders.HoldOrdered,
    "revocation-orders/hold-lifted": revocation_orders.HoldLiftOrdered,
    "session-ended/session-ended": session_ended.SessionEnded,
    "session-ended/hold-placed": session_ended.HoldPlacedNotice,
    "session-ended/hold-lifted": session_ended.HoldLiftedNotice,
    "session-ended-heartbeats/heartbeat": session_ended.Heartbeat,
    "gateway-receipts/gateway-receipt": gateway_receipts.GatewayReceipt,
}
SAMPLES = sorted(path.relative_to(V1).as_posix() for topic in INBOUND | OUTBOUND for path in (V1 / topic).iterdir())
OTHERWISE = sorted(
    path.relative_to(V1).as_posix() for folder in ("binary", "spellings") for path in (V1 / folder).iterdir()
)


def read(sample: str) -> Message:
    topic, value = sample.partition("/")[0], (V1 / sample).read_bytes()
    if topic in OUTBOUND:
        message = OUTBOUND[topic].validate_json(value)
    else:
        message = decode(INBOUND[topic], Input(topic=topic), value)
    assert isinstance(message, Message)
    return message


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_the_message_that_it_was_with_nothing_lost(sample: str) -> None:
    message = read(sample)

    assert type(message) is TYPES[sample.partition(".")[0]]
    assert json.loads(encode(message)) == json.loads((V1 / sample).read_text(encoding="utf-8"))


@pytest.mark.parametrize("sample", OTHERWISE)
def test_other_spellings_mean_the_same(sample: str) -> None:
    record = json.loads((V1 / sample).read_text(encoding="utf-8"))
    topic = record["same_as"].partition("/")[0]
    headers = [(name, text.encode()) for name, text in record["headers"]]
    value = None if record["value"] is None else record["value"].encode()

    assert decode(INBOUND[topic], Input(topic=topic), value, headers) == read(record["same_as"])


def test_every_published_message_has_a_sample_and_every_sample_is_published() -> None:
    published = {f"{message.topic}/{message.type}" for message in PUBLISHED}

    assert {sample.partition(".")[0] for sample in SAMPLES} == published == set(TYPES)
