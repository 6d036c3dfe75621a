"""Who is there, on which devices, and what became of each. No I/O; whoever watches is woken when anything changes.

A device's token is its credential: a random value that its session is found by. The session id is no secret.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from revoker.cli.demo.stage import session_id
from revoker.cli.demo.story import SignIn
from revoker.cli.output import ago
from revoker.gateway import Hold, Revocation, SessionClaims
from revoker.service.register import device_name

_SECOND: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a device is out, and how long that took."""

    revocation: Revocation
    code: int | None = None
    """That its socket was closed with; None: it had none."""
    milliseconds: float | None = None
    """From just before the event was handed to Kafka until the close frame was sent; None: it was not open then."""

    @property
    def text(self) -> str:
        """For the person."""
        reasons = self.revocation.reason_user
        return reasons.get("en") or next(iter(reasons.values()), "This session was ended")


@dataclass(slots=True, kw_only=True)
class Device:
    """One sign-in."""

    subject: str
    sign_in: SignIn
    number: int
    established_at: datetime
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    ending: Ending | None = None

    @property
    def word(self) -> str:
        """What the device is called, anew with each sign-in."""
        return self.sign_in.device if self.number == 1 else f"{self.sign_in.device}-{self.number}"

    @property
    def session_id(self) -> str:
        """Of the sign-in."""
        return session_id(self.subject, self.word)

    @property
    def claims(self) -> SessionClaims:
        """What the gateway is told of whoever shows the token."""
        return SessionClaims(
            subject=self.subject,
            session_id=self.session_id,
            client_id=self.sign_in.client_id,
            established_at=self.established_at,
            ip=self.sign_in.ip,
        )


class Cast:
    """Everybody, in the order of the story."""

    def __init__(self, subjects: Iterable[str], find: Callable[[SessionClaims], Revocation | Hold | None]) -> None:
        self._devices: dict[str, list[Device]] = {subject: [] for subject in subjects}
        self._by_token: dict[str, Device] = {}
        self._find = find
        self._began: dict[str, float] = {}
        self._watching: set[asyncio.Event] = set()

    def __contains__(self, subject: object) -> bool:
        return subject in self._devices

    def devices(self, subject: str) -> Sequence[Device]:
        """That `subject` is or was signed in on, each once."""
        return self._devices[subject]

    def device(self, subject: str, id_: str) -> Device | None:
        """The one with that session."""
        return next((one for one in self._devices.get(subject, ()) if one.session_id == id_), None)

    def shown(self, tokens: Iterable[str]) -> Device | None:
        """Whose token is among `tokens`."""
        return next((self._by_token[token] for token in tokens if token in self._by_token), None)

    def sign_in(self, subject: str, sign_in: SignIn, established_at: datetime, *, number: int = 1) -> Device:
        """Somebody has signed in, once more on a device that is out or on a new one."""
        device = Device(subject=subject, sign_in=sign_in, number=number, established_at=established_at)
        devices = self._devices[subject]
        at = next((at for at, one in enumerate(devices) if one.sign_in.device == sign_in.device), None)
        if at is None:
            devices.append(device)
        else:
            devices[at] = device
        self._by_token[device.token] = device
        self._look(device)
        self.changed()
        return device

    def begins(self, revocation_id: str) -> None:
        """An event that asks for this revocation is handed to Kafka now."""
        self._began[revocation_id] = time.perf_counter()

    def look(self) -> None:
        """A revocation was announced: whom does it cover?"""
        for devices in self._devices.values():
            for device in devices:
                self._look(device)
        self.changed()

    def closed(self, device: Device, code: int, at: float, *, was_open: bool) -> None:
        """A socket of `device` was closed at `at`, with the code of an ended session."""
        verdict = self._find(device.claims)
        if not isinstance(verdict, Revocation) or (device.ending and device.ending.milliseconds is not None):
            return
        took = self._took(verdict, at) if was_open else None
        device.ending = Ending(revocation=verdict, code=code, milliseconds=took)
        self.changed()

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """An event that is set when something has changed."""
        event = asyncio.Event()
        self._watching.add(event)
        try:
            yield event
        finally:
            self._watching.discard(event)

    def changed(self) -> None:
        """Wakes whoever watches."""
        for event in self._watching:
            event.set()

    def people(self) -> list[dict[str, Any]]:
        """As the page has it."""
        now = datetime.now(UTC)
        return [
            {"subject": subject, "devices": [_told(device, now) for device in devices]}
            for subject, devices in self._devices.items()
        ]

    def _look(self, device: Device) -> None:
        if device.ending is None:
            verdict = self._find(device.claims)
            if isinstance(verdict, Revocation):
                device.ending = Ending(revocation=verdict)

    def _took(self, revocation: Revocation, at: float) -> float | None:
        """Since we sent the event; of somebody else's only its own time is known."""
        began = self._began.get(revocation.id)
        if began is not None:
            return (at - began) * _SECOND
        if revocation.requested_at is None:
            return None
        return (datetime.now(UTC) - revocation.requested_at).total_seconds() * _SECOND


def _told(device: Device, now: datetime) -> dict[str, Any]:
    ending = device.ending
    return {
        "id": device.session_id,
        "token": device.token,
        "kind": device.sign_in.device,
        "word": device.word,
        "name": device_name(device.sign_in.user_agent) or "unknown device",
        "since": f"signed in {ago(device.established_at, now)}",
        "ending": None
        if ending is None
        else {
            "text": ending.text,
            "cause": ending.revocation.cause,
            "code": ending.code,
            "milliseconds": None if ending.milliseconds is None else round(ending.milliseconds),
        },
    }
