"""One revocation on behalf of a person: an event on Kafka like anybody else's, then waiting for what becomes of it.

The command decides nothing. It writes an event, reads it back as the consumers will (what they would set aside is
refused here), and derives the id under which they will store it.
"""

import asyncio
import fnmatch
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.policy import Decision, decide
from revoker.errors import ConfigurationError, RevokerError, UnavailableError
from revoker.service import reach
from revoker.settings import Settings
from revoker.storage import reading
from revoker.storage.reading import RevocationFound, SessionFound
from schemas import codec
from schemas.codec import Ignored, Rejected
from schemas.fields import Initiator
from schemas.identity_events import IdentityEvent
from schemas.inputs import Format, Input, Lane, Mode

SOURCE: Final = "revoker-cli"
SHOWN_SESSIONS: Final = 1_000

_POLL_SECONDS: Final = (0.01, 0.25)
"""First and longest pause between two looks."""
_GRACE_SECONDS: Final = 2.0


class MisusedError(RevokerError):
    """What was asked for makes no sense."""

    exit_code: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Whom and what to end. Without `session_ids`: everything of the subject."""

    subject: str
    tenant: str | None = None
    session_ids: tuple[str, ...] = ()
    client_id: str | None = None
    keep: tuple[str, ...] = ()
    reason: str | None = None
    """Shown to the person."""

    @property
    def type(self) -> str:
        """The event that asks for it. Raises `MisusedError`."""
        if self.session_ids and self.keep:
            raise MisusedError("--keep spares sessions of all; with --session only those named are ended anyway")
        if self.client_id is not None and len(self.session_ids) != 1:
            raise MisusedError("--client ends one client's part of one sign-in: name it with one --session")
        if not self.session_ids:
            return "logged-out-everywhere"
        return "session-revoked" if self.client_id is None else "logged-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An event of the revocation lane, before it is known which input takes it."""

    type: str
    subject: str | None
    tenant: str | None
    """None: that of the input."""
    data: Mapping[str, Any]
    event_id: str
    source: str
    """Where the input is bound to none."""
    time: datetime | None = None
    """When it happened; absent: when Kafka takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An event that the consumers will take."""

    source: Input
    topic: str
    event: IdentityEvent
    value: bytes
    decision: Decision

    @property
    def revocation_id(self) -> uuid.UUID:
        """The id that it will be stored under."""
        return self.decision.revocation.id

    @property
    def key(self) -> bytes:
        """Of its record: the subject."""
        return (self.event.subject or "").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where Kafka took it."""

    partition: int
    offset: int
    began: float
    """By the monotonic clock, just before it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What became of it within the time given. `found` None: it is not committed yet."""

    found: RevocationFound | None
    sessions: Sequence[SessionFound]
    seconds: float
    trouble: str | None = None
    """Why the database could not be asked, the last time."""

    @property
    def is_proven(self) -> bool:
        """Committed, and announced as far as there is anything to announce."""
        return self.found is not None and self.found.announced_at is not None


def tenant_of(settings: Settings, given: str | None) -> str:
    """The tenant that a command means: the one given, else the one that the inputs speak for."""
    if given is not None:
        return given
    bound = (source.tenant for source in settings.inputs if source.lane is Lane.REVOCATION)
    return next(bound, None) or ""


def prepare(settings: Settings, request: Request, event_id: str, now: datetime) -> Prepared:
    """The event that `request` asks for, on the first input that takes it. Raises `MisusedError` and such."""
    type_ = request.type
    data: dict[str, Any] = {"initiator": Initiator.ADMIN}
    if request.reason:
        data["reason_user"] = {"en": request.reason}
    if type_ == "logged-out":
        data |= {"session_id": request.session_ids[0], "client_id": request.client_id}
    elif type_ == "session-revoked":
        data["session_ids"] = request.session_ids
    elif request.keep:
        data["keep"] = request.keep
    wanted = Wanted(
        type=type_,
        subject=request.subject,
        tenant=request.tenant,
        data=data,
        event_id=event_id,
        source=SOURCE,
    )
    return prepare_event(settings, wanted, now)


def prepare_event(settings: Settings, wanted: Wanted, now: datetime) -> Prepared:
    """`wanted` on the first input that takes it. Raises `MisusedError`; `ConfigurationError` where no input does."""
    source = _input_for(settings, wanted)
    value = codec.encode(_event(wanted, source))
    try:
        read = codec.decode(codec.IDENTITY, source, value)
    except Rejected as error:
        raise MisusedError(f"the consumers would set this aside: {error}") from error
    if isinstance(read, Ignored):
        raise ConfigurationError(f"input {source.topic} ignores {wanted.type}")
    return Prepared(
        source=source,
        topic=settings.topic(source.topic),
        event=read,
        value=value,
        decision=decide(read, settings.rules, now, report_only=source.mode is Mode.REPORT_ONLY),
    )


def _input_for(settings: Settings, wanted: Wanted) -> Input:
    fitting = [
        source
        for source in settings.inputs
        if source.lane is Lane.REVOCATION
        and source.format is Format.CLOUDEVENTS
        and (not source.types or wanted.type in source.types)
        and not any(fnmatch.fnmatchcase(wanted.type, pattern) for pattern in source.ignore)
        and (source.tenant is None or wanted.tenant in {None, source.tenant})
    ]
    acting = [source for source in fitting if source.mode is Mode.ENFORCE]
    if not fitting:
        whose = "" if wanted.tenant is None else f" of tenant {wanted.tenant!r}"
        raise ConfigurationError(f"no [[inputs]] of the revocation lane takes {wanted.type}{whose}")
    return (acting or fitting)[0]


def _event(wanted: Wanted, source: Input) -> IdentityEvent:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": wanted.event_id,
        "source": source.source or wanted.source,
        "type": wanted.type,
        "tenant": wanted.tenant if wanted.tenant is not None else source.tenant or "",
        "data": wanted.data,
    }
    if wanted.subject is not None:
        event["subject"] = wanted.subject
    if wanted.time is not None:
        event["time"] = wanted.time
    try:
        return codec.IDENTITY.adapter.validate_python(event)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Before the field stands the type, by which the model was chosen.
        place = ".".join(str(part) for part in first["loc"][1:] if part != "data")
        raise MisusedError(f"{place}: {first['msg']}") from error


async def would_end(engine: AsyncEngine, settings: Settings, request: Request) -> tuple[list[SessionFound], int]:
    """The sessions that `request` would end now, and how many tokens with them. Changes nothing."""
    now = await reading.now(engine)
    prepared = prepare(settings, request, str(uuid.UUID(int=0)), now)
    if not prepared.decision.revocation.enforced:
        return [], 0
    return await reading.would_end(engine, prepared.decision, lifetime=settings.sessions.lifetime)


async def publish(settings: Settings, prepared: Prepared) -> Placed:
    """Hands the event to Kafka; returns once every in-sync replica has it. Raises `UnavailableError`."""
    async with reach.producer(settings) as producer:
        began = time.monotonic()
        async with asyncio.timeout(settings.limits.publish_timeout.total_seconds()):
            written = await producer.send_and_wait(prepared.topic, prepared.value, key=prepared.key)
        return Placed(partition=written.partition, offset=written.offset, began=began)


async def prove(settings: Settings, prepared: Prepared, placed: Placed, seconds: float) -> Proof:
    """Waits until it is committed and announced, `seconds` at most. A database that is away is waited for."""
    deadline = placed.began + seconds
    while True:
        try:
            # One that does not even refuse us must not make a short wait long.
            async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE_SECONDS):
                found, sessions = await _look(settings, prepared, deadline)
        except ConfigurationError as error:
            return Proof(found=None, sessions=(), seconds=time.monotonic() - placed.began, trouble=str(error))
        except (UnavailableError, TimeoutError) as error:
            if time.monotonic() + _POLL_SECONDS[1] > deadline:
                trouble = str(error) or "PostgreSQL does not answer"
                return Proof(found=None, sessions=(), seconds=time.monotonic() - placed.began, trouble=trouble)
            await asyncio.sleep(_POLL_SECONDS[1])
        else:
            return Proof(found=found, sessions=sessions, seconds=time.monotonic() - placed.began)


async def _look(
    settings: Settings, prepared: Prepared, deadline: float
) -> tuple[RevocationFound | None, Sequence[SessionFound]]:
    async def is_announced(found: RevocationFound) -> bool:
        return found.announced_at is not None

    async with reach.postgres(settings) as engine:
        found = await look(engine, prepared.revocation_id, deadline, is_announced)
        if found is None or not found.revocation.enforced:
            return found, ()
        return found, await reading.ended_by(engine, found, lifetime=settings.sessions.lifetime, limit=SHOWN_SESSIONS)


async def look(
    engine: AsyncEngine, id_: uuid.UUID, deadline: float, is_enough: Callable[[RevocationFound], Awaitable[bool]]
) -> RevocationFound | None:
    """The revocation once it is enough, or as it is when the time (monotonic) is over; looks at least once."""
    pause, longest = _POLL_SECONDS
    while True:
        found = await reading.revocation(engine, id_)
        left = deadline - time.monotonic()
        if left <= 0 or (found is not None and await is_enough(found)):
            return found
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, longest)
