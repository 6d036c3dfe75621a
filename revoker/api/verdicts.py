"""What the gateway says of somebody, as an answer to them."""

from revoker.api.languages import languages
from revoker.api.problems import ProblemError
from revoker.core.verdicts import STALE, Hold, Revocation, answer, code, www_authenticate
from revoker.gateway.health import Stale


def refuse(verdict: Revocation | Hold | Stale, wants: str | None) -> ProblemError:
    """The answer to somebody with that verdict, who `wants` a language (an Accept-Language header)."""
    if isinstance(verdict, Stale):
        return ProblemError(STALE.status, STALE.text, {"Retry-After": "1"})
    wanted = www_authenticate(verdict)
    headers = {"WWW-Authenticate": wanted} if wanted is not None else {}
    reason = languages().best(wants).reason(verdict.reason_user, answer(verdict).text)
    return ProblemError(answer(verdict).status, reason.text, headers, cause=code(verdict))
