"""Records of `session-ended` as the service writes them, for tests of those who read them."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from revoker.core import notices
from revoker.core.revocation import Revocation, Selector
from revoker.core.wire import Notice, decode_notice
from schemas.fields import wire_time
from tests.factories import revocation


def ended(selector: Selector | None = None, session_ids: Sequence[str] = (), **given: Any) -> bytes:
    """A revocation of now, of all that alice established until now, which ended `session_ids`."""
    now = datetime.now(UTC)
    made: Revocation = revocation(selector, **{"not_before": now, "requested_at": now, "id": uuid.uuid4()} | given)
    rows = [notices.EndedSession(session_id, "", None) for session_id in session_ids]
    return notices.ended(made, now, rows)[0].body


def held(selector: dict[str, Any], hold_id: str = "h-1", minutes: float = 10) -> bytes:
    """A hold that begins now."""
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    data = {"hold_id": hold_id, "selector": selector, "until": wire_time(until), "reason_user": {"en": "On hold"}}
    return _event("hold-placed", data)


def lifted(hold_id: str = "h-1") -> bytes:
    """The end of that hold."""
    return _event("hold-lifted", {"hold_id": hold_id, "at": wire_time(datetime.now(UTC))})


def read(body: bytes) -> Notice:
    """`body` as an index takes it."""
    notice = decode_notice(body)
    assert notice is not None
    return notice


def _event(type_: str, data: dict[str, Any]) -> bytes:
    now = wire_time(datetime.now(UTC))
    event = {"specversion": "1.0", "type": type_, "id": str(uuid.uuid4()), "source": "revoker", "tenant": ""}
    return json.dumps(event | {"time": now, "data": data}).encode()
