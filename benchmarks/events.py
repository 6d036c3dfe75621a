"""The records of a backlog."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Final

from benchmarks.ground import SESSIONS_EACH, subject
from benchmarks.kafka import Record
from schemas.cloudevent import SPECVERSION
from schemas.fields import wire_time

SOURCE: Final = "bench"
USER_AGENTS: Final = tuple(
    f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
    for system in ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10.15")
    for version in range(130, 140)
)
"""Few, as in life."""


def password_changes(tenant: str, count: int) -> list[Record]:
    """One for each of `count` subjects."""
    now = datetime.now(UTC)
    return [_record(tenant, subject(tenant, n), n, now, "password-changed", initiator="user") for n in range(count)]


def sessions_established(tenant: str, count: int) -> list[Record]:
    """`count` sessions, four a subject, the first of all subjects before the second of any."""
    now, subjects = datetime.now(UTC), -(-count // SESSIONS_EACH)
    return [
        _record(
            tenant,
            subject(tenant, number % subjects),
            number,
            now,
            "session-established",
            session_id=md5(f"{tenant}/{number}".encode(), usedforsecurity=False).hexdigest(),
            client_id="web",
            established_at=wire_time(now),
            expires_at=wire_time(now + timedelta(days=30)),
            device_id=md5(f"device/{number}".encode(), usedforsecurity=False).hexdigest(),
            user_agent=USER_AGENTS[number % len(USER_AGENTS)],
            ip="203.0.113.9",
        )
        for number in range(count)
    ]


def _record(tenant: str, name: str, number: int, now: datetime, type_: str, **data: str) -> Record:
    event = {
        "specversion": SPECVERSION,
        "id": f"{tenant}-{number}",
        "source": SOURCE,
        "type": type_,
        "time": wire_time(now),
        "tenant": tenant,
        "subject": name,
        "data": data,
    }
    return name.encode(), json.dumps(event).encode()
