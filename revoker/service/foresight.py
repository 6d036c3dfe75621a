"""What the records of a topic would do, said without doing it: for whoever is about to connect a publisher.

Each record is read as the lanes would read it, and the policy is asked; nothing is looked up, since the records may be
of another day than the registry. A subject is described and not shown: what it looks like is what matters here.
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from aiokafka import ConsumerRecord
from pydantic_core import from_json

from revoker.core.policy import Decision, Policy, decide
from revoker.core.registration import seen as seen_in
from revoker.core.registration import too_old
from revoker.errors import ConfigurationError
from revoker.service import records
from revoker.settings import Settings
from schemas.codec import ACTIVITY, IDENTITY, Ignored, Reason, Rejected, decode
from schemas.formats.native import UnknownRecordError
from schemas.formats.registry import TRANSLATORS
from schemas.inputs import Input, Lane, Mode

ADDRESS: Final = "an e-mail address"
"""What a subject must not look like."""

_LANES: Final = (Lane.REVOCATION, Lane.REGISTRATION)
_VOCABULARIES: Final[Any] = {Lane.REVOCATION: IDENTITY, Lane.REGISTRATION: ACTIVITY}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LIKE_ADDRESS: Final = re.compile(r"[^@\s]@[^@\s]+[.][^@\s]")


class Verdict(StrEnum):
    """What a record would do."""

    ENDS = "ends"
    NOTHING = "ends-nothing"
    """An identity event that policy or the input only record."""
    REGISTERS = "registers"
    IGNORED = "ignored"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """One record, and what it would do."""

    partition: int
    offset: int
    at: datetime
    native: str | None
    """What the platform calls it."""
    type: str | None
    verdict: Verdict
    subject: str | None
    """What the subject looks like; None where there is none."""
    effect: str
    """What would end or be registered, why it is rejected, or nothing."""
    lane: Lane | None = None


async def foretold(settings: Settings, topic: str, last: int) -> Sequence[Foretold]:
    """The last records of `topic` (as `[[inputs]]` name it), oldest first. Raises `ConfigurationError`."""
    name = settings.topic(topic)
    readers = {lane: inputs[name] for lane in _LANES if name in (inputs := settings.inputs_of(lane))}
    if not readers:
        known = ", ".join(dict.fromkeys(source.topic for source in settings.inputs))
        raise ConfigurationError(f"no [[inputs]] reads topic {topic}; they read {known}")
    found = [_foretell(record, readers, settings) async for record in _last(settings, name, last)]
    return sorted(found, key=lambda one: (one.at, one.partition, one.offset))[-last:]


async def _last(settings: Settings, name: str, count: int) -> AsyncIterator[ConsumerRecord]:
    async with records.opened(settings, name) as log:
        async for record in records.between(log, records.last(log, count)):
            yield record


def _foretell(record: ConsumerRecord, readers: dict[Lane, Input], settings: Settings) -> Foretold:
    """What the lane that it is meant for would do; every lane may pass it by, and every one may refuse it."""
    told = [(lane, _read(lane, source, record)) for lane, source in readers.items()]
    lane, read = next(
        (one for one in told if not isinstance(one[1], Ignored | Rejected)),
        next((one for one in told if isinstance(one[1], Rejected)), told[0]),
    )
    where = {
        "partition": record.partition,
        "offset": record.offset,
        "at": records.appended_at(record),
        "native": _native(readers[lane], record.value),
    }
    if isinstance(read, Ignored):
        return Foretold(**where, type=read.type, verdict=Verdict.IGNORED, subject=None, effect="")
    if isinstance(read, Rejected):
        return Foretold(**where, type=None, verdict=Verdict.REJECTED, subject=None, effect=str(read))
    verdict, effect = _effect(read, lane, readers[lane], where["at"], settings)
    subject = shape(read.subject)
    return Foretold(**where, type=read.type, verdict=verdict, subject=subject, effect=effect, lane=lane)


def _read(lane: Lane, source: Input, record: ConsumerRecord) -> Any:  # noqa: ANN401 - an event of either lane
    try:
        return decode(_VOCABULARIES[lane], source, record.value, record.headers)
    except Rejected as error:
        return error


def _native(source: Input, value: bytes | None) -> str | None:
    if source.format not in TRANSLATORS:
        return None
    try:
        tree = from_json(value or b"")
        return TRANSLATORS[source.format](tree).name if isinstance(tree, dict) else None
    except UnknownRecordError as error:
        return error.name
    except ValueError:
        return None


def _effect(event: Any, lane: Lane, source: Input, at: datetime, settings: Settings) -> tuple[Verdict, str]:  # noqa: ANN401 - as above
    if lane is Lane.REGISTRATION:
        row = seen_in(event, at, lambda _: None)
        if too_old(row, at, settings.sessions.lifetime):
            return Verdict.REJECTED, str(Rejected(Reason.TOO_OLD))
        return Verdict.REGISTERS, _registers(event)
    decision = decide(event, settings.rules, at, report_only=source.mode is Mode.REPORT_ONLY)
    if not decision.revocation.enforced:
        why = "report-only" if source.mode is Mode.REPORT_ONLY else "policy"
        return Verdict.NOTHING, f"would end {_ends(decision, settings.rules)}: only recorded ({why})"
    return Verdict.ENDS, _ends(decision, settings.rules)


def _ends(decision: Decision, policy: Policy) -> str:
    revocation, selector = decision.revocation, decision.revocation.selector
    if selector.token_id is not None:
        return "one token"
    if selector.session_ids:
        what = "one session" if len(selector.session_ids) == 1 else f"{len(selector.session_ids)} sessions"
        return f"{what}, as far as client {selector.client_id}" if selector.client_id else what
    spared = [f"{len(revocation.keep)} kept"] if revocation.keep else []
    if decision.fresh_after is not None:
        spared = [f"{len(revocation.keep)} kept if begun within {int(policy.fresh.total_seconds())} s"]
    if revocation.keep_clients:
        spared.append(f"clients {', '.join(revocation.keep_clients)}")
    return "all of the subject's" + (f", but {' and '.join(spared)}" if spared else "")


def _registers(event: Any) -> str:  # noqa: ANN401 - as above
    match event.type:
        case "session-established":
            return "a session, ended at once where a revocation covers it"
        case "session-presented":
            return "that a session was used"
        case _:
            return f"a {event.data.kind.value} token"


def shape(subject: str | None) -> str | None:
    """What a subject looks like, without saying who it is."""
    if subject is None:
        return None
    if _LIKE_ADDRESS.search(subject):
        return ADDRESS
    return "a UUID" if _UUID.fullmatch(subject) else f"{len(subject)} characters"
