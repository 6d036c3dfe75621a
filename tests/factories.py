"""Values that are valid as they come; a test overrides the one field that it is about."""

import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from revoker.core.ids import RevocationId
from revoker.core.policy import DEFAULT_RULES, Decision, Policy, decide
from revoker.core.receipts import Receipt
from revoker.core.registration import Registration, Seen, merge, seen
from revoker.core.revocation import Revocation, Selector
from schemas import codec, inputs
from schemas.fields import wire_time
from schemas.gateway_receipts import GatewayReceiptData
from schemas.identity_events import IdentityEvent
from schemas.session_activity import SessionActivity

NOW: Final = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
POLICY: Final = Policy(rules=DEFAULT_RULES, lifetime=timedelta(days=30), fresh=timedelta(minutes=10))

_numbers = itertools.count(1)


def after(**parts: float) -> datetime:
    """`NOW` and so much later (or, with negative parts, earlier)."""
    return NOW + timedelta(**parts)


def identity_event(type_: str, subject: str | None = "alice", **attributes: Any) -> IdentityEvent:
    """An identity event, as it comes out of the codec; `time` and `data` as on the wire or as datetimes."""
    event = codec.decode(codec.IDENTITY, inputs.IDENTITY_EVENTS, _wire(type_, subject, attributes))
    assert not isinstance(event, codec.Ignored)
    return event


def activity(type_: str, subject: str = "alice", **attributes: Any) -> SessionActivity:
    """A session activity, as it comes out of the codec."""
    event = codec.decode(codec.ACTIVITY, inputs.SESSION_ACTIVITY, _wire(type_, subject, attributes))
    assert not isinstance(event, codec.Ignored)
    return event


def established(session_id: str = "s-1", subject: str = "alice", tenant: str = "", **data: Any) -> SessionActivity:
    """A sign-in, an hour ago."""
    return activity(
        "session-established",
        subject,
        tenant=tenant,
        data={"session_id": session_id, "established_at": after(hours=-1)} | data,
    )


def issued(id_: str = "t-1", subject: str = "alice", tenant: str = "", **data: Any) -> SessionActivity:
    """A refresh token, issued an hour ago."""
    return activity(
        "token-issued",
        subject,
        tenant=tenant,
        time=data.pop("time", after(hours=-1)),
        data={"token_id": id_, "kind": "refresh"} | data,
    )


def presented(session_id: str = "s-1", subject: str = "alice", tenant: str = "", **data: Any) -> SessionActivity:
    """A visit, now."""
    return activity(
        "session-presented",
        subject,
        tenant=tenant,
        time=data.pop("time", NOW),
        data={"session_id": session_id} | data,
    )


def decision(
    type_: str = "password-changed",
    subject: str | None = "alice",
    *,
    policy: Policy = POLICY,
    appended_at: datetime = NOW,
    report_only: bool = False,
    **attributes: Any,
) -> Decision:
    """What the policy decides about such an event."""
    return decide(identity_event(type_, subject, **attributes), policy, appended_at, report_only=report_only)


def registration(*events: SessionActivity, appended_at: datetime = NOW) -> Registration:
    """A chunk of session activity, as `sessions.register` takes it."""
    return merge([registered(event, appended_at) for event in events])


def registered(event: SessionActivity, appended_at: datetime = NOW) -> Seen:
    """What one event says; a device is called by its user agent."""
    return seen(event, appended_at, lambda user_agent: user_agent)


def revocation(selector: Selector | None = None, **given: Any) -> Revocation:
    """A revocation of all that alice established until now."""
    values: dict[str, Any] = {
        "id": RevocationId(uuid.UUID(int=next(_numbers))),
        "selector": selector or Selector(tenant="", subject="alice"),
        "not_before": NOW,
        "covers_until": given.get("not_before", NOW) + timedelta(days=30),
        "cause": "password-changed",
        "initiator": "user",
        "reason_user": {"en": "Your password was changed"},
        "source": "login",
        "event_id": "e-1",
        "requested_at": NOW,
    }
    return Revocation(**values | given)


def _wire(type_: str, subject: str | None, attributes: dict[str, Any]) -> bytes:
    event = {"specversion": "1.0", "type": type_, "source": "login", "id": f"e-{next(_numbers)}"} | attributes
    if subject is not None:
        event["subject"] = subject
    return json.dumps(event, default=wire_time).encode()


def receipt(*, at: datetime = NOW, appended_at: datetime = NOW, offset: int = 0, **data: Any) -> Receipt:
    """A receipt as the consumers read it: of the gateway `chat`, serving, past the first record of partition 0."""
    said = {
        "gateway": "chat",
        "instance": "host-1",
        "incarnation": "i-1",
        "epoch": "e-1",
        "state": "serving",
        "mode": "best_effort",
        "max_staleness": 10.0,
        "attributes": ["subject", "session_id"],
        "at": wire_time(at),
        "position": "e-1.1",
    }
    read = GatewayReceiptData.model_validate_json(json.dumps(said | data))
    return Receipt(data=read, at=min(at, appended_at), appended_at=appended_at, offset=offset)
