"""What the index answers, and what clients are told about it: one table.

Whoever is refused learns why in words made for people (`text`) and in a word made for programs (the cause). Neither
says anything that the person may not know: admin reasons and tickets never reach a gateway.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

MAX_CLOSE_REASON: Final = 123
"""Bytes that a WebSocket close frame has room for (RFC 6455, 5.5)."""


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """It is over, and stays so."""

    id: str
    cause: str
    """The type of the event that asked for it, such as `password-changed`."""
    initiator: str
    reason_user: Mapping[str, str]
    """Language to text."""
    requested_at: datetime | None = None
    committed_at: datetime | None = None


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """It is refused for now, and may be let in again."""

    id: str
    reason_user: Mapping[str, str]
    until: datetime | None = None


Verdict = Revocation | Hold


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: how a verdict is told."""

    code: str
    """For programs, where the verdict has no cause of its own."""
    close_code: int
    """Of a WebSocket."""
    status: int
    """Of an HTTP response."""
    text: str
    """For people, where the verdict has no words of its own."""


ENDED: Final = Answer(code="ended", close_code=4401, status=401, text="This session was ended")
HELD: Final = Answer(code="held", close_code=4403, status=403, text="This session is on hold")
STALE: Final = Answer(code="stale", close_code=4503, status=503, text="Please try again in a moment")
"""No verdict on a session: a strict gateway that does not know what is over serves nobody."""

ANSWERS: Final[Mapping[type[Verdict], Answer]] = {Revocation: ENDED, Hold: HELD}
"""The table."""


def answer(verdict: Verdict) -> Answer:
    """How `verdict` is told."""
    return ANSWERS[type(verdict)]


def code(verdict: Verdict) -> str:
    """The verdict in one word, for programs."""
    return verdict.cause if isinstance(verdict, Revocation) else HELD.code


def close_reason(verdict: Verdict) -> str:
    """`code`, as a close frame has room for it."""
    return code(verdict).encode()[:MAX_CLOSE_REASON].decode(errors="ignore")


def www_authenticate(verdict: Verdict) -> str | None:
    """The header of a 401 (RFC 6750, 3). None for a hold: no other credentials would help, so none are asked for."""
    if isinstance(verdict, Hold):
        return None
    # Printable ASCII without quote and backslash is all that the grammar allows here.
    told = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in verdict.cause)
    return f'Bearer error="invalid_token", error_description="{told}"'


def text(verdict: Verdict, languages: str | None = None) -> str:
    """The reason in the first language of `languages` (an Accept-Language header) that there is, or else in English."""
    reasons = {language.lower(): reason for language, reason in verdict.reason_user.items()}
    for wanted in language_ranges(languages or ""):
        found = look_up(reasons, wanted)
        if found is not None:
            return found
    return look_up(reasons, "en") or next(iter(reasons.values()), answer(verdict).text)


def language_ranges(header: str) -> Iterator[str]:
    """The language ranges of `header`, the best first (RFC 9110, 12.5.4)."""
    ranked: list[tuple[float, str]] = []
    for part in header[:1_000].split(","):
        language, _, parameters = part.partition(";")
        name, _, value = parameters.partition("=")
        try:
            quality = float(value) if name.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if quality > 0:
            ranked.append((-quality, language.strip().lower()))
    return (language for _, language in sorted(ranked, key=lambda pair: pair[0]))


def look_up(reasons: Mapping[str, str], wanted: str) -> str | None:
    """`wanted`, or less and less of it (RFC 4647, 3.4); then any region of the same language."""
    shorter = wanted
    while shorter:
        if shorter in reasons:
            return reasons[shorter]
        shorter = shorter.rpartition("-")[0]
    return next((reason for language, reason in reasons.items() if language.startswith(f"{wanted}-")), None)
