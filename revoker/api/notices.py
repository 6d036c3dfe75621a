"""A record of `session-ended` as one event of the stream, for everybody or for a tenant's own gateways.

A tenant's gateway sees what is of its tenant. What concerns all tenants it sees, too, without the ids of the others'
sessions; their predicates say enough to act on.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

_NO_TENANT: Final = ""


class _Selector(msgspec.Struct):
    tenant: str | None = None


class _Data(msgspec.Struct):
    selector: _Selector | None = None
    covers_until: datetime | None = None
    until: datetime | None = None


class _Envelope(msgspec.Struct):
    type: str
    tenant: str = _NO_TENANT
    data: _Data | None = None


class Told(msgspec.Struct, frozen=True, gc=False):
    """One notification: its event up to the id, and who may see it."""

    body: bytes
    tenant: str
    is_everybodys: bool
    """It is about all tenants alike."""
    until: float | None
    """Unix time from which on nobody needs it."""


_decode: Final = msgspec.json.Decoder(_Envelope).decode
_tree: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode


def told(value: bytes | None) -> Told | None:
    """What `value` is to readers; None: nothing that a reader could use."""
    try:
        envelope = _decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    data = envelope.data or _Data()
    until = data.covers_until or data.until
    if value is None or (until is not None and until.tzinfo is None):
        return None
    selector = data.selector
    everybodys = envelope.tenant == _NO_TENANT and (selector is None or selector.tenant is None)
    # A line break inside JSON is white space; inside an event of the stream it would end a field.
    body = value.replace(b"\r", b" ").replace(b"\n", b" ")
    return Told(body, envelope.tenant, everybodys, until.timestamp() if until else None)


def seen_by(notice: Told, tenant: str | None) -> bytes | None:
    """Its body as a gateway of `tenant` may see it (None: of all tenants); None: not at all."""
    if tenant is None or notice.tenant == tenant:
        return notice.body
    if not notice.is_everybodys:
        return None
    tree: dict[str, Any] = _tree(notice.body)
    data = tree.get("data")
    if isinstance(data, dict):
        for ids in ("sessions", "tokens"):
            if data.get(ids):
                data[ids] = []
    return _encode(tree)


def event(kind: str, position: object, body: bytes) -> bytes:
    """One event of the stream (HTML, section 9.2)."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(position).encode(), kind.encode(), body)
