"""Why somebody is not served: a session that is over, one on hold, or a view too old to tell. How each is told."""

from typing import Final

from revoker.core import verdicts
from revoker.core.verdicts import ENDED, HELD, STALE, Answer, Hold, Revocation
from revoker.gateway.health import Stale

Refusal = Revocation | Hold | Stale

_ANSWERS: Final = {Revocation: ENDED, Hold: HELD, Stale: STALE}


def answer(refusal: Refusal) -> Answer:
    """The line of the table that says how `refusal` is told."""
    return _ANSWERS[type(refusal)]


def word(refusal: Refusal) -> str:
    """The refusal in one word, for programs: the cause where there is one."""
    return STALE.code if isinstance(refusal, Stale) else verdicts.code(refusal)


def close_reason(refusal: Refusal) -> str:
    """`word`, as a WebSocket's close frame has room for it."""
    return STALE.code if isinstance(refusal, Stale) else verdicts.close_reason(refusal)


def text(refusal: Refusal, languages: str | None = None) -> str:
    """The reason for people, in the best language of an Accept-Language header that there is."""
    return STALE.text if isinstance(refusal, Stale) else verdicts.text(refusal, languages)
