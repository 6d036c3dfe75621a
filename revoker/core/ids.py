"""Ids that can be derived again after a crash, and the numbers of the advisory locks.

Equal input, equal id: a redelivered event finds the revocation that it made, and a notification that is sent again
goes out under the id of the first. Nothing here is random.
"""

import hashlib
import uuid
from typing import Any, Final, NewType

import msgspec

RevocationId = NewType("RevocationId", uuid.UUID)
NotificationId = NewType("NotificationId", uuid.UUID)

NAMESPACE: Final = uuid.UUID("6c1f0a52-6f0e-5b7e-9d2a-3a4f5d0c7e11")
"""Of every id that we derive. Fixed for ever: other languages derive the same ids."""

WIDE_LOCK: Final = 0x7265766F6B6572
"""Lock W: shared by each registration, exclusive for a predicate that names no subject."""

_NAMESPACE_BYTES: Final = NAMESPACE.bytes

_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """`value` as JSON with sorted keys and no white space, in UTF-8 (RFC 8785 for the values that we use)."""
    return _encode(value)


def derive(value: Any) -> uuid.UUID:  # noqa: ANN401 - as above
    """The uuid5 of the canonical JSON of `value` (RFC 9562, 5.5)."""
    digest = bytearray(hashlib.sha1(_NAMESPACE_BYTES + _encode(value), usedforsecurity=False).digest()[:16])
    # As uuid.uuid5 does, without its checks: this runs twice an event.
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return msgspec.convert(bytes(digest), uuid.UUID)


def revocation_id(  # noqa: PLR0917 - the order is the canonical form
    source: str, event_id: str, type_: str, tenant: str, subject: str | None, time: str | None, data: dict[str, Any]
) -> RevocationId:
    """The id of the revocation that an event asks for.

    All of the event goes in, so that an earlier harmless event cannot swallow the real one under its id.
    """
    return RevocationId(derive([source, event_id, type_, tenant, subject, time, data]))


def notification_id(revocation: uuid.UUID, kind: str, about: str, part: int) -> NotificationId:
    """The id of one notification: `about` is a subject, a session, a chunk or a time, as `kind` needs."""
    return NotificationId(derive([revocation, kind, about, part]))


def lock_key(tenant: str, subject: str) -> int:
    """The advisory lock (signed 64 bits) that revocation and registration of a subject share.

    Ids hold no control characters, so U+001F cannot make two subjects one.
    """
    digest = hashlib.blake2b(f"{tenant}\x1f{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
