"""Seeded traffic: whatever publishers say in a bad week, in any order, with duplicates and junk among it.

Times come from a few instants in the past, so that sign-ins fall before, at and after what ends them.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.fields import wire_time
from schemas.topics import Topic

CANARIES = (
    "canary.person@example.org",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ",
    "Bearer canary-bearer-0123456789abcdef",
)
"""Secrets that careless publishers put into free text. They must never be seen in a log or a metric."""
_TYPES = (
    *("password-changed", "email-changed", "logged-out", "logged-out") * 3,
    *("logged-out-everywhere", "session-revoked", "refresh-token-reused", "token-revoked") * 2,
    *("account-disabled", "security-concern-reported"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A record to produce. `rejected`: it must be set aside."""

    topic: Topic
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    partition: int | None = None
    rejected: bool = False


class Load:
    """Traffic about `subjects` people. Equal seeds, equal traffic, but for the time of the day."""

    def __init__(self, seed: int, subjects: int = 40) -> None:
        self._random = random.Random(seed)
        self._base = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
        self._subjects = subjects
        self._count = 0
        self._past: list[Sent] = []

    def take(self, count: int) -> list[Sent]:
        """The next records."""
        return [self._next() for _ in range(count)]

    def email_changes(self, count: int) -> tuple[list[Sent], list[Sent]]:
        """Two sign-ins of each of so many people, and the change that ends them."""
        sign_ins = [
            self.established(f"person-{n}", session_id=f"person-{n}-{part}") for n in range(count) for part in "ab"
        ]
        return sign_ins, [self.event("email-changed", f"person-{n}", time=self._time(30)) for n in range(count)]

    def established(self, subject: str, *, topic: Topic = Topic.SESSION_ACTIVITY, **data: Any) -> Sent:
        """A sign-in, the oldest there is unless said otherwise."""
        tenant = data.pop("tenant", "")
        body = {"established_at": self._time(0)} | data
        return self._sent(topic, "session-established", subject, tenant=tenant, data=body)

    def event(self, type_: str, subject: str | None, **attributes: Any) -> Sent:
        """An identity event."""
        return self._sent(Topic.IDENTITY_EVENTS, type_, subject, **attributes)

    def _next(self) -> Sent:
        dice = self._random.random()
        if self._past and dice < 0.08:
            return replace(self._random.choice(self._past), partition=self._random.randrange(3))
        if dice < 0.12:
            return self._junk()
        sent = self._identity() if dice < 0.55 else self._activity()
        # An event without a time, said twice, happened when Kafka took whichever is read first: no oracle can say.
        if sent.topic is Topic.SESSION_ACTIVITY or b'"time"' in (sent.value or b""):
            self._past.append(sent)
        return sent

    def _identity(self) -> Sent:
        subject, tenant = self._somebody()
        kind = self._random.choice(_TYPES)
        data: dict[str, Any] = {"reason_admin": self._random.choice(CANARIES)}
        match kind:
            case "logged-out" | "refresh-token-reused":
                data["session_id"] = self._session(subject)
                if self._random.random() < 0.4:
                    data["client_id"] = self._random.choice(["web", "app"])
            case "session-revoked":
                data["session_ids"] = [self._session(subject), self._session(subject)]
            case "token-revoked":
                data["token_id"] = self._token(subject)
            case "password-changed" | "email-changed" | "logged-out-everywhere":
                data["keep"] = [self._session(subject) for _ in range(self._random.randrange(3))]
            case _:
                pass
        names = kind in {"logged-out", "session-revoked", "refresh-token-reused", "token-revoked"}
        time = {"time": self._time()} if self._random.random() < 0.9 else {}
        nameless = names and self._random.random() < 0.15
        return self.event(kind, None if nameless else subject, tenant=tenant, data=data, **time)

    def _activity(self) -> Sent:
        subject, tenant = self._somebody()
        dice = self._random.random()
        if dice < 0.2:
            token = self._token(subject)
            data: dict[str, Any] = {"token_id": token, "kind": "refresh"}
            # Whatever is said of one token agrees.
            if token.endswith(("1", "2")):
                data["session_id"] = f"{subject}-s{token[-1]}"
            return self._sent(
                Topic.SESSION_ACTIVITY, "token-issued", subject, tenant=tenant, data=data, time=self._time()
            )
        if dice < 0.25:
            data = {"session_id": self._session(subject), "ip": "203.0.113.7"}
            return self._sent(Topic.SESSION_ACTIVITY, "session-presented", subject, tenant=tenant, data=data)
        more: dict[str, Any] = {"user_agent": self._random.choice([*CANARIES, "curl/8.0"])}
        if self._random.random() < 0.5:
            more["client_id"] = self._random.choice(["web", "app"])
        if self._random.random() < 0.9:
            more["established_at"] = self._time()
        else:
            more["established_at"] = None
        return self.established(subject, tenant=tenant, session_id=self._session(subject), **more)

    def _junk(self) -> Sent:
        self._count += 1
        topic = self._random.choice([Topic.IDENTITY_EVENTS, Topic.SESSION_ACTIVITY])
        value = self._random.choice(
            [
                f'{{"id": "junk-{self._count}"'.encode(),
                f'{{"specversion":"1.0","id":"{self._count}","source":"t","type":"no-such","subject":"a"}}'.encode(),
                f"{CANARIES[0]} {self._count}".encode(),
            ]
        )
        return Sent(topic=topic, value=value, key=f"junk-{self._count}".encode(), rejected=True)

    def _sent(self, topic: Topic, type_: str, subject: str | None, **attributes: Any) -> Sent:
        self._count += 1
        event = {"specversion": "1.0", "type": type_, "source": "load", "id": f"e-{self._count}"} | attributes
        # Unknown attributes are ignored, whatever they hold.
        event["authorization"] = self._random.choice(CANARIES)
        if subject is not None:
            event["subject"] = subject
        key = (subject or f"nobody-{self._count}").encode()
        return Sent(topic=topic, value=json.dumps(event).encode(), key=key)

    def _somebody(self) -> tuple[str, str]:
        number = self._random.randrange(self._subjects)
        # Whoever names people by their addresses is warned, and not betrayed.
        return f"u{number}" if number else CANARIES[0], "acme" if self._random.random() < 0.1 else ""

    def _session(self, subject: str) -> str:
        return f"{subject}-s{self._random.randrange(6)}"

    def _token(self, subject: str) -> str:
        return f"{subject}-t{self._random.randrange(5)}"

    def _time(self, step: int | None = None) -> str:
        number = self._random.randrange(20) if step is None else step
        return wire_time(self._base + timedelta(seconds=number))
