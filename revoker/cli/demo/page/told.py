"""How far each revocation of our people has come, as the registry tells it: committed, announced, enforced."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.cli.demo.page.cast import Cast
from revoker.cli.output import counted, milliseconds, plain
from revoker.gateway import Ended
from revoker.service import gateways
from revoker.service.gateways import AtInstance, Stage
from revoker.settings import Settings
from revoker.storage import reading

_SHOWN: Final = 6
_LOOK_SECONDS: Final = 0.1
_FOLLOWED_SECONDS: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Entry:
    """One revocation."""

    ended: Ended
    since: float = field(default_factory=time.monotonic)
    steps: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    is_enforced: bool = False

    @property
    def is_followed(self) -> bool:
        """Whether there is more to come of it, and it is worth a look."""
        return not self.is_enforced and time.monotonic() - self.since < _FOLLOWED_SECONDS

    def told(self) -> dict[str, Any]:
        """As the page has it."""
        revocation = self.ended.revocation
        return {
            "id": revocation.id,
            "cause": revocation.cause,
            "subject": self.ended.subject or "",
            "steps": list(self.steps),
            "where": list(self.where),
            "enforced": self.is_enforced,
        }


class Told:
    """The newest revocations."""

    def __init__(self, cast: Cast, settings: Settings, registry: AsyncEngine) -> None:
        self._cast = cast
        self._settings = settings
        self._registry = registry
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._more = asyncio.Event()

    def hear(self, ended: Ended) -> None:
        """A revocation was announced."""
        if ended.subject not in self._cast:
            return
        id_ = ended.revocation.id
        if id_ not in self._entries:
            self._entries[id_] = Entry(ended=ended)
            while len(self._entries) > _SHOWN:
                self._entries.popitem(last=False)
            self._more.set()
        self._cast.look()

    def newest(self) -> list[dict[str, Any]]:
        """The newest first."""
        return [entry.told() for entry in reversed(self._entries.values())]

    async def follow(self) -> None:
        """Looks what becomes of them, for as long as there is anything to see."""
        while True:
            followed = [entry for entry in self._entries.values() if entry.is_followed]
            if not followed:
                self._more.clear()
                await self._more.wait()
                continue
            for entry in followed:
                await self._look(entry)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, entry: Entry) -> None:
        before = entry.told()
        try:
            found = await reading.revocation(self._registry, UUID(entry.ended.revocation.id))
            if found is None:
                return
            reach = await gateways.enforcement_of(self._registry, self._settings, found)
        except (SQLAlchemyError, OSError):
            # Where the database is gone the demo ends, and says so.
            return
        asked = found.revocation.requested_at
        instants = {"committed": found.committed_at, "announced": found.announced_at, "enforced": reach.enforced_at}
        entry.steps = tuple(_step(name, asked, at) for name, at in instants.items() if at is not None)
        entry.where = tuple(_at(one) for one in reach.instances)
        entry.is_enforced = reach.stage is Stage.ENFORCED
        if entry.told() != before:
            self._cast.changed()


def _step(name: str, asked: datetime, at: datetime) -> str:
    return f"{name} after {milliseconds(at - asked)}"


def _at(one: AtInstance) -> str:
    cut = one.effect.connections if one.effect else 0
    did = f"cut {counted(cut, 'connection')}" if cut else "waited for" if one.is_waited_for else "past it"
    return f"{plain(one.gateway)}: {did}"
