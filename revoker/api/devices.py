"""A person's own devices: what is told of them, and what a person may do about them.

Whose they are is what the request proves, never what it asks: every look-up is within that subject. So a device of
somebody else and one that never was are the same to us, and to whoever asks. To end one is an event, as everything is.
While the database is away nobody can be told what there is, but ending works: an event about a device that is not
there ends nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.api.asking import Asked
from revoker.api.languages import Language, Languages, Told
from revoker.api.parts import Parts
from revoker.api.places import Place, Places
from revoker.api.prefer import Waiting
from revoker.api.problems import ProblemError
from revoker.api.who import Principal
from revoker.core.claims import from_micros, micros
from revoker.core.policy import DEFAULT_RULES, KeepRule
from revoker.errors import ConfigurationError, UnavailableError
from revoker.logs import get_logger
from revoker.service import reach
from revoker.storage import devices
from revoker.storage.devices import Device
from revoker.storage.devices import Place as Position

FROM_ELSEWHERE: Final = "You signed this device out from another one"
_ENDED: Final = "This session was ended"
_LOOK_SECONDS: Final = 5.0
_log = get_logger(__name__)

T = TypeVar("T")


class DatabaseAwayError(Exception):
    """Nobody can tell now what there is."""

    def problem(self) -> ProblemError:
        """For programs."""
        return ProblemError(503, "The devices cannot be listed now", {"Retry-After": "5"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """That a device is out, and why."""

    at: datetime
    cause: str | None
    initiator: str | None
    reason: Told
    revocation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One device, as its owner is told of it."""

    session_id: str | None
    """None: this one, by a token that names no session."""
    name: str
    established_at: datetime | None
    seen_at: datetime | None
    place: Place | None
    clients: tuple[str, ...]
    current: bool
    live: bool
    ended: Ended | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Some devices, and where the list goes on."""

    devices: Sequence[Shown]
    next: Position | None


class Devices:
    """For the routes of `/v1/me` and of the page alike."""

    def __init__(self, parts: Parts, languages: Languages) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._languages = languages
        self._places = Places.opened(parts.settings.devices.networks)

    async def listed(self, who: Principal, language: Language, after: Position | None, limit: int) -> Listed:
        """Raises `DatabaseAwayError`."""
        tenant, subject = _whose(who)

        async def look(engine: AsyncEngine) -> list[Device]:
            return await devices.devices_of(
                engine,
                tenant=tenant,
                subject=subject,
                lifetime=self._settings.sessions.lifetime,
                show_ended=self._settings.devices.show_ended,
                after=after,
                limit=limit + 1,
            )

        found = await self._looked(look)
        shown = [self._shown(device, who, language) for device in found[:limit]]
        return Listed(devices=shown, next=found[limit - 1].place if len(found) > limit else None)

    async def own(self, who: Principal, language: Language) -> Shown:
        """The device that asks. One that the registry does not know is what its token says."""
        session_id = who.claims.session_id
        found = await self.one(who, session_id, language) if session_id is not None else None
        return found or self.unlisted(who, language)

    async def one(self, who: Principal, session_id: str, language: Language) -> Shown | None:
        """That device of the person; None: there is none, or nobody can tell."""
        try:
            device = await self._find(who, session_id)
        except DatabaseAwayError:
            return None
        return None if device is None else self._shown(device, who, language)

    def unlisted(self, who: Principal, language: Language) -> Shown:
        """The device that asks, by its token alone."""
        began = who.claims.established_at
        return Shown(
            session_id=who.claims.session_id,
            name=language.device(None),
            established_at=from_micros(micros(began)) if began is not None else None,
            seen_at=datetime.now(UTC),
            place=None,
            clients=(who.claims.client_id,) if who.claims.client_id is not None else (),
            current=True,
            live=True,
            ended=None,
        )

    async def end(self, who: Principal, session_id: str, waiting: Waiting) -> Asked | Device:
        """Ends one; a `Device` is one that was over before. Raises `ProblemError`, 404 for what is not the caller's."""
        try:
            device = await self._find(who, session_id)
        except DatabaseAwayError:
            device = None
        else:
            if device is None and session_id != who.claims.session_id:
                raise ProblemError(404, "There is no such session")
        if device is not None and not device.live:
            return device
        if session_id != who.claims.session_id:
            self._parts.who.fresh(who, self._settings.logout.fresh)
        data = {"session_ids": [session_id], "reason_user": self._languages.reasons(FROM_ELSEWHERE)}
        asked = await self._ask(who, "session-revoked", data, waiting)
        _tell("device-ended", who, session_id, asked)
        return asked

    async def report(self, who: Principal, about: str | None, waiting: Waiting) -> Asked:
        """Takes a "this was not me", maybe about one of the caller's devices. Raises `ProblemError`."""
        if about is not None:
            try:
                if await self._find(who, about) is None:
                    raise ProblemError(404, "There is no such session")
            except DatabaseAwayError:
                # Whose it is cannot be told now; the report matters more.
                about = None
        own = who.claims.session_id
        data: dict[str, Any] = {"severity": "high", "keep": [own] if own is not None else []}
        if about is not None:
            data["reason_admin"] = f"The person does not recognise the session {about}"
        asked = await self._ask(who, "security-concern-reported", data, waiting)
        _tell("concern-reported", who, about, asked)
        return asked

    async def keeps(self, who: Principal) -> bool:
        """Whether a report of `who` leaves the session that reports; where nobody can tell, it does not."""
        rule = self._settings.rules.rules["security-concern-reported"]
        try:
            own = await self._find(who, who.claims.session_id) if who.claims.session_id is not None else None
        except DatabaseAwayError:
            return False
        if own is None or rule.keep is KeepRule.NEVER:
            return False
        fresh = datetime.now(UTC) - self._settings.sessions.fresh
        return rule.keep is KeepRule.ALWAYS or own.established_at > fresh

    async def _ask(self, who: Principal, type_: str, data: dict[str, Any], waiting: Waiting) -> Asked:
        tenant, subject = _whose(who)
        prepared = self._parts.asking.prepare(
            type=type_, tenant=tenant, subject=subject, data={"initiator": "user"} | data
        )
        return await self._parts.asking.ask(prepared, waiting)

    async def _find(self, who: Principal, session_id: str) -> Device | None:
        tenant, subject = _whose(who)

        async def look(engine: AsyncEngine) -> Device | None:
            return await devices.device_of(
                engine,
                tenant=tenant,
                subject=subject,
                session_id=session_id,
                lifetime=self._settings.sessions.lifetime,
            )

        return await self._looked(look)

    async def _looked(self, look: Callable[[AsyncEngine], Awaitable[T]]) -> T:
        try:
            with reach.database_errors(self._settings):
                async with asyncio.timeout(_LOOK_SECONDS):
                    return await look(self._parts.engine)
        except (UnavailableError, ConfigurationError) as error:
            _log.warning("dependency-unavailable", error=error)
            raise DatabaseAwayError from error

    def _shown(self, device: Device, who: Principal, language: Language) -> Shown:
        return Shown(
            session_id=device.session_id,
            name=language.device(device.name),
            established_at=device.established_at,
            seen_at=device.seen_at,
            place=self._places.find(device.ip, language.code),
            clients=device.live_clients,
            current=device.session_id == who.claims.session_id,
            live=device.live,
            ended=_ended(device, language),
        )


def _ended(device: Device, language: Language) -> Ended | None:
    if device.live or device.ended_at is None:
        return None
    rule = DEFAULT_RULES.get(device.cause or "")
    return Ended(
        at=device.ended_at,
        cause=device.cause,
        initiator=device.initiator,
        reason=language.reason(device.reason_user, rule.reason_user["en"] if rule is not None else _ENDED),
        revocation_id=str(device.ended_by),
    )


def _tell(event: Literal["device-ended", "concern-reported"], who: Principal, about: str | None, asked: Asked) -> None:
    """Who, from which session, about which, and what came of it."""
    claims = who.claims
    _log.info(
        event,
        subject=claims.subject,
        tenant=claims.tenant,
        session=claims.session_id,
        about=about,
        outcome=asked.state,
        revocation=str(asked.revocation_id),
    )


def _whose(who: Principal) -> tuple[str, str]:
    assert who.claims.subject is not None  # noqa: S101 - nobody without one is a person
    return who.claims.tenant, who.claims.subject
