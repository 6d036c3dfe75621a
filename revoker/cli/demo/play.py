"""The story on the stage, in the house. What is told has happened: it was read from Kafka or the registry."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, assert_never

from revoker.cli.demo import curl, house, page, sockets
from revoker.cli.demo.house import House
from revoker.cli.demo.page import Page
from revoker.cli.demo.sockets import Sockets
from revoker.cli.demo.stage import Arrived, Sent, Stage, changed, established, revocation_id, session_id, set_up
from revoker.cli.demo.story import COMMANDS, STORY, SUBJECTS, Change, Junk, LateSignIn, Scene, SignIns
from revoker.cli.demo.telling import Teller
from revoker.cli.running import Exit, complain
from revoker.embedded import DataDirectoryError, EmbeddedError, EmbeddedExtraMissingError, KafkaUnavailableError
from revoker.errors import UnavailableError
from revoker.storage import reading
from revoker.storage.reading import SessionFound
from schemas.codec import encode
from schemas.session_ended import Kind, SessionEnded
from schemas.topics import Topic

_PAUSE_SECONDS: Final = 1.5
_PATIENCE_SECONDS: Final = 30.0
_MANY: Final = 200


async def play(data: Path | None, teller: Teller, *, once: bool) -> int:
    """Starts everything, plays, stays unless `once`, and takes everything down again. Returns the exit code."""
    try:
        async with house.opened(data, teller.progress) as place:
            return await _in(place, teller, once=once)
    except EmbeddedError as error:
        for line in str(error).splitlines():
            complain(line)
        return _code_of(error)
    finally:
        teller.title(f"All stopped; everything is kept in {data}" if data else "All stopped, nothing is left")


async def _in(place: House, teller: Teller, *, once: bool) -> int:
    try:
        async with set_up(place.settings) as stage:
            await stage.until_consumers_work()
            teller.progress(f"the consumers work: {place.address}/readyz")
            subjects = [place.names[name] for name in SUBJECTS]
            async with page.opened(place.settings, stage, place.registry, subjects) as shown:
                teller.progress(f"the demo gateway serves: {shown.origin}/ (open it in a browser and watch there, too)")
                await place.until_api_answers()
                teller.progress(f"the API answers: {place.api}/docs")
                await stage.listen(Topic.SESSION_ENDED, Topic.REJECTED_EVENTS)
                performance = _Performance(place, stage, shown, teller)
                await performance.story()
                return Exit.DONE if once else await performance.stay()
    finally:
        teller.title("Stopping the consumers, then the servers")


def _code_of(error: EmbeddedError) -> Exit:
    match error:
        case KafkaUnavailableError():
            return Exit.UNREACHABLE
        case DataDirectoryError() | EmbeddedExtraMissingError():
            return Exit.MISUSED
        case _:
            return Exit.FAILED


async def _sessions(place: House, subject: str) -> list[SessionFound]:
    lifetime = place.settings.sessions.lifetime
    return await reading.sessions_of(place.registry, tenant="", subject=subject, lifetime=lifetime, limit=_MANY)


class _Performance:
    """One run of the story."""

    def __init__(self, place: House, stage: Stage, shown: Page, teller: Teller) -> None:
        self._place = place
        self._stage = stage
        self._page = shown
        self._teller = teller
        self._seconds: list[float] = []
        self._until_closed: list[float] = []

    async def story(self) -> None:
        """Scene by scene."""
        async with sockets.connected(self._page) as devices:
            for scene in STORY:
                self._teller.title(self._renamed(scene.said))
                await self._scene(scene, devices)
                await asyncio.sleep(_PAUSE_SECONDS if self._teller.is_terminal else 0)
        self._teller.times(self._seconds, self._until_closed)

    async def stay(self) -> int:
        """Until Ctrl-C, or until something has ended by itself."""
        place, names = self._place, self._place.names
        self._teller.page(self._page.origin)
        self._teller.sign_in(names["alice"], place.issuer.link(names["alice"]), place.issuer.sign_in)
        self._teller.terminal(place.environment, [command.format_map(names) for command in COMMANDS])
        (place.folder / curl.SIGN_INS).write_text(curl.sign_ins(names))
        self._teller.over_http(curl.steps(names))
        self._teller.stays(place.address, place.api)
        while (why := place.why_broken() or self._page.why_broken()) is None:
            arrived = await self._stage.arrival()
            if arrived is not None:
                await self._tell(arrived, None)
        complain(why)
        return Exit.FAILED

    async def _scene(self, scene: Scene, devices: Sockets) -> None:
        match scene:
            case SignIns():
                await self._sign_ins(scene, devices)
            case Change():
                await self._change(scene, devices)
            case LateSignIn():
                await self._late(scene)
            case Junk():
                await self._junk(scene)
            case _:
                assert_never(scene)

    async def _sign_ins(self, scene: SignIns, devices: Sockets) -> None:
        expected: dict[str, set[str]] = {}
        for one in scene.sign_ins:
            subject, now = self._place.names[one.subject], datetime.now(UTC)
            expected.setdefault(subject, set()).add(session_id(subject, one.device))
            await self._stage.send(Topic.SESSION_ACTIVITY, subject, encode(established(one, subject, now)))
            await devices.open(self._page.cast.sign_in(subject, one, now - one.age))

        for subject, ids in expected.items():
            found = await self._registered(subject, ids)
            self._teller.signed_in(subject, [one for one in found if one.session_id in ids], datetime.now(UTC))

    async def _change(self, scene: Change, devices: Sockets) -> None:
        subject = self._place.names[scene.subject]
        event = changed(scene, subject)
        wanted = str(revocation_id(event, self._place.settings))

        def announces(arrived: Arrived) -> bool:
            said = arrived.notification
            return said is not None and said.data.revocation_id == wanted and said.data.kind is Kind.ENDED

        self._teller.sent(scene.type, Topic.IDENTITY_EVENTS)
        self._page.cast.begins(wanted)
        sent = await self._stage.send(Topic.IDENTITY_EVENTS, subject, encode(event))
        arrived = await self._stage.arrival_of(f"the end of {subject}'s sessions", announces)
        await self._tell(arrived, arrived.at - sent.began)
        await self._tell_closed(arrived, sent, devices)

    async def _late(self, scene: LateSignIn) -> None:
        subject = self._place.names[scene.sign_in.subject]
        now = datetime.now(UTC)
        event = established(scene.sign_in, subject, now)
        id_ = session_id(subject, scene.sign_in.device)

        def announces(arrived: Arrived) -> bool:
            said = arrived.notification
            return (
                said is not None and said.data.kind is Kind.LATE and id_ in {s.session_id for s in said.data.sessions}
            )

        self._teller.sent(event.type, Topic.SESSION_ACTIVITY)
        sent = await self._stage.send(Topic.SESSION_ACTIVITY, subject, encode(event))
        arrived = await self._stage.arrival_of(f"the end of {subject}'s late session", announces)
        await self._tell(arrived, arrived.at - sent.began)
        self._page.cast.sign_in(subject, scene.sign_in, now - scene.sign_in.age)

    async def _junk(self, scene: Junk) -> None:
        self._teller.sent("half a record", Topic.IDENTITY_EVENTS)
        sent = await self._stage.send(Topic.IDENTITY_EVENTS, self._place.names[scene.subject], scene.value)
        place = {"revoker-partition": str(sent.partition), "revoker-offset": str(sent.offset)}
        arrived = await self._stage.arrival_of("the record", lambda it: place.items() <= it.headers.items())
        await self._tell(arrived, arrived.at - sent.began)

    async def _tell(self, arrived: Arrived, seconds: float | None) -> None:
        """What came back. Without `seconds` somebody else asked for it: then from when that was requested."""
        if seconds is not None:
            self._seconds.append(seconds)
        said = arrived.notification
        if said is None:
            self._teller.set_aside(arrived.headers.get("revoker-reason", "no reason"), seconds)
            return
        since = datetime.now(UTC) - said.data.requested_at
        await self._tell_ended(said, since.total_seconds() if seconds is None else seconds)

    async def _tell_closed(self, arrived: Arrived, sent: Sent, devices: Sockets) -> None:
        """What the devices themselves saw."""
        said = arrived.notification
        ends = await devices.ends(one.session_id for one in said.data.sessions) if said else []
        seconds = [end.at - sent.began for end in ends]
        self._until_closed += seconds
        self._teller.closed(seconds, sorted({f"{end.code} {end.reason}" for end in ends}))

    async def _tell_ended(self, said: SessionEnded, seconds: float) -> None:
        why = said.data.reason_user.get("en") or next(iter(said.data.reason_user.values()))
        late = ", registered late" if said.data.kind is Kind.LATE else ""
        self._teller.came_back(said.type, f"{said.subject}{late}", seconds, why)
        known = {one.session_id: one for one in await _sessions(self._place, said.subject or "")}
        self._teller.ended([one.session_id for one in said.data.sessions], known)
        self._teller.lives_on([one for one in known.values() if one.is_live])

    async def _registered(self, subject: str, ids: set[str]) -> list[SessionFound]:
        """The subject's sessions, once `ids` are among them."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = await _sessions(self._place, subject)
            if ids <= {one.session_id for one in found}:
                return found
            await asyncio.sleep(0.02)
        raise UnavailableError(f"{subject}'s sessions were not registered within {_PATIENCE_SECONDS:g} s")

    def _renamed(self, said: str) -> str:
        for old, new in self._place.names.items():
            said = said.replace(old, new)
        return said
