"""Every message that travels, by topic and type, with one example: what `schemas.export` publishes.

An example is a model, so it cannot be wrong. A new event type is a line here, and then a file in
`docs/reference/schemas` and one in `tests/wire`.
"""

from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json

from schemas import gateway_receipts, identity_events, revocation_orders, session_activity, session_ended
from schemas.cloudevent import SPECVERSION, CloudEvent
from schemas.fields import Message
from schemas.topics import Topic

_ID: Final = "5f0c3a52-8d0b-4a83-9a3e-2f6f5f1f7c11"
_REVOCATION: Final = "0b0f6d1e-6a0f-5f0e-8a55-3d1c0a4f1d42"
_HOLD: Final = "c1a7a6de-1b0a-5c9b-9f5c-7a1f0e2b8d90"
_THEN: Final = "2026-11-21T09:00:00.000000Z"
_SOON: Final = "2026-11-21T09:00:00.041000Z"
_LATER: Final = "2026-11-21T21:00:00.000000Z"
_LAST: Final = "2026-12-21T09:00:00.000000Z"
_ALICE: Final = {"source": "login", "subject": "alice"}
_API: Final = {"source": "revoker-api"}
_OURS: Final = {"source": "revoker", "tenant": ""}
_HASH: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@dataclass(frozen=True, slots=True)
class Published:
    """One message on one topic. Two topics may use one type for two messages."""

    topic: Topic
    type: str
    example: Message


def _event(topic: Topic, type_: str, model: type[CloudEvent], about: dict[str, str], **data: Any) -> Published:  # noqa: ANN401 - whatever JSON can say
    event = {"specversion": SPECVERSION, "type": type_, "id": _ID, **about, "time": _THEN}
    return Published(topic, type_, model.model_validate_json(to_json(event | {"data": data} if data else event)))


_SAID: Final = {"initiator": "admin", "reason_user": {"en": "We noticed a sign-in that may not be yours"}}
_ORDERED: Final = _SAID | {"reason_admin": "stolen cookies of build 4711", "ticket": "SEC-2041"}

PUBLISHED: Final = (
    _event(
        Topic.IDENTITY_EVENTS,
        "password-changed",
        identity_events.PasswordChanged,
        _ALICE,
        initiator="user",
        keep=["s-1"],
        reason_user={"en": "Your password was changed", "de": "Dein Passwort wurde geändert"},
    ),
    _event(Topic.IDENTITY_EVENTS, "email-changed", identity_events.EmailChanged, _ALICE, keep=["s-1"]),
    _event(Topic.IDENTITY_EVENTS, "logged-out", identity_events.LoggedOut, _ALICE, session_id="s-2", client_id="web"),
    _event(Topic.IDENTITY_EVENTS, "logged-out-everywhere", identity_events.LoggedOutEverywhere, _ALICE, keep=["s-1"]),
    _event(
        Topic.IDENTITY_EVENTS,
        "session-revoked",
        identity_events.SessionRevoked,
        _ALICE,
        session_ids=["s-2", "s-3"],
        initiator="user",
    ),
    _event(
        Topic.IDENTITY_EVENTS,
        "security-concern-reported",
        identity_events.SecurityConcernReported,
        _ALICE,
        severity="high",
        keep=["s-1"],
        reason_admin="phone stolen",
    ),
    _event(
        Topic.IDENTITY_EVENTS, "account-disabled", identity_events.AccountDisabled, _ALICE, reason_admin="left the firm"
    ),
    _event(Topic.IDENTITY_EVENTS, "account-deleted", identity_events.AccountDeleted, _ALICE),
    _event(Topic.IDENTITY_EVENTS, "refresh-token-reused", identity_events.RefreshTokenReused, _ALICE, session_id="s-2"),
    _event(
        Topic.IDENTITY_EVENTS,
        "token-revoked",
        identity_events.TokenRevoked,
        _ALICE,
        token_id=_HASH,
        expires_at=_LATER,
    ),
    _event(
        Topic.SESSION_ACTIVITY,
        "session-established",
        session_activity.SessionEstablished,
        _ALICE,
        session_id="s-2",
        established_at=_THEN,
        client_id="web",
        device_id="d-7",
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ip="203.0.113.9",
        expires_at=_LATER,
        key_id="2026-11",
        labels={"build": "4711"},
    ),
    _event(
        Topic.SESSION_ACTIVITY,
        "session-presented",
        session_activity.SessionPresented,
        _ALICE,
        session_id="s-2",
        ip="203.0.113.9",
        expires_at=_LATER,
    ),
    _event(
        Topic.SESSION_ACTIVITY,
        "token-issued",
        session_activity.TokenIssued,
        _ALICE,
        token_id=_HASH,
        session_id="s-2",
        client_id="web",
        kind="refresh",
        expires_at=_LAST,
    ),
    _event(
        Topic.REVOCATION_ORDERS,
        "revocation-ordered",
        revocation_orders.RevocationOrdered,
        _API,
        selector={"labels": {"build": "4711"}},
        not_before=_THEN,
        keep=["s-9"],
        approved_by="bob",
        **_ORDERED,
    ),
    _event(
        Topic.REVOCATION_ORDERS,
        "hold-placed",
        revocation_orders.HoldOrdered,
        _API,
        selector={"ip_network": "203.0.113.0/24"},
        until=_LATER,
        **_ORDERED,
    ),
    _event(
        Topic.REVOCATION_ORDERS,
        "hold-lifted",
        revocation_orders.HoldLiftOrdered,
        _API,
        hold_id=_HOLD,
        reason_admin="false alarm",
    ),
    _event(
        Topic.SESSION_ENDED,
        "session-ended",
        session_ended.SessionEnded,
        _OURS | {"subject": "alice"},
        revocation_id=_REVOCATION,
        cause="password-changed",
        initiator="user",
        reason_user={"en": "Your password was changed"},
        kind="ended",
        selector={"tenant": "", "subject": "alice"},
        not_before=_THEN,
        keep=["s-1"],
        requested_at=_THEN,
        committed_at=_SOON,
        sessions=[{"session_id": "s-2", "client_id": "web", "expires_at": _LATER}],
        covers_until=_LAST,
    ),
    _event(
        Topic.SESSION_ENDED,
        "hold-placed",
        session_ended.HoldPlacedNotice,
        _OURS,
        hold_id=_HOLD,
        selector={"ip_network": "203.0.113.0/24"},
        until=_LATER,
        reason_user=_SAID["reason_user"],
    ),
    _event(Topic.SESSION_ENDED, "hold-lifted", session_ended.HoldLiftedNotice, _OURS, hold_id=_HOLD, at=_LATER),
    Published(
        Topic.HEARTBEATS,
        "heartbeat",
        session_ended.Heartbeat.model_validate_json(
            to_json(
                {
                    "consumer": "host-1",
                    "at": _THEN,
                    "epoch": "e-1",
                    "partitions": 12,
                    "applied": {"identity-events": {"0": 1042, "1": 998}},
                    "lag": 0,
                }
            )
        ),
    ),
    _event(
        Topic.GATEWAY_RECEIPTS,
        "gateway-receipt",
        gateway_receipts.GatewayReceipt,
        {"source": "chat"},
        gateway="chat",
        instance="host-2-4711",
        incarnation="7a8f2f0e-1df1-4c8a-9d53-0a3f3f0d5c77",
        epoch="e-1",
        state="serving",
        mode="strict",
        max_staleness=10.0,
        attributes=["subject", "session_id"],
        at=_SOON,
        position="0:1042",
        applied=[{"revocation_id": _REVOCATION, "applied_at": _SOON, "connections_dropped": 2}],
        refused=[{"revocation_id": _REVOCATION, "count": 3, "last_ip": "203.0.113.9"}],
    ),
)
"""All of them. `rejected-events` holds no message of ours: what it carries is what arrived."""
