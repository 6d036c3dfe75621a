"""Forms as OAuth sends them (RFC 6749, section 3.2): small, no parameter twice; and errors as it spells them.

An error is a problem as everywhere else here, with the members `error` and `error_description` besides.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from revoker.api.bodies import body
from revoker.api.problems import ProblemError

FORM: Final = "application/x-www-form-urlencoded"
_MOST_BYTES: Final = 65_536
MOST_FIELDS: Final = 20


def refusal(error: str, detail: str) -> ProblemError:
    """By a code of RFC 6749, section 5.2."""
    return ProblemError(400, detail, error=error, error_description=detail)


async def token_of(request: Request) -> bytes:
    """The token that a request is about. Raises `ProblemError`."""
    sent = await body(request, _MOST_BYTES, FORM)
    token = _parameters(sent).get("token", "")
    if not token:
        raise refusal("invalid_request", "The parameter token is missing")
    return token.encode("latin-1")


def _parameters(sent: bytes) -> Mapping[str, str]:
    try:
        # Any byte is a character so, and a token is what was sent, whatever that is.
        pairs = parse_qsl(
            sent.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS, encoding="latin-1"
        )
    except ValueError as error:
        raise refusal("invalid_request", "The form cannot be read") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise refusal("invalid_request", "A parameter is there twice")
    return found
