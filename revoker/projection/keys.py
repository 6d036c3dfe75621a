"""The names in Redis. `docs/redis.md` tells readers what is in them; `scripts/*.lua` spell the same names out."""

from typing import Final

OURS: Final = "revoker:"
"""No key that begins so is ever deleted as somebody's cached copy."""
SESSION: Final = "revoker:revoked:session:"
TOKEN: Final = "revoker:revoked:token:"  # noqa: S105 - a key's beginning
SUBJECT: Final = "revoker:revoked:subject:"
WIDE: Final = "revoker:revoked:wide"
EPOCH: Final = "revoker:revoked:epoch"
AS_OF: Final = "revoker:revoked:as-of"
STATE: Final = "revoker:revoked:state"
POSITIONS: Final = "revoker:revoked:positions"
HOLDS: Final = "revoker:revoked:holds"
"""Until when each hold counts, wherever it stands: a lift must not be forgotten before."""
STREAM: Final = "revoker:session-ended"
AGAIN: Final = "revoker:cached-again"
DROPPED: Final = "revoker:revoked:dropped"
"""How many cached copies each revocation has cut, until a receipt has said so."""
CACHED: Final = "cached:"
"""Of applications: the keys of their copies of one session."""


def subject(tenant: str, subject_: str) -> str:
    """The key of a subject. Two subjects may share one where ids have colons: each entry names whom it means."""
    return f"{SUBJECT}{tenant}:{subject_}"
