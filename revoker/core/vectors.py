"""The rule and the derived ids as examples in JSON, for whoever writes a gateway or a publisher in another language.

`python -m revoker.core.vectors DIR` writes `covering.json`, `gateway.json` and `ids.json`, `--check` compares. What an
example expects is what our own code answers; a test holds the code to answers that were written by hand.
"""

import argparse
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from revoker.core import ids, notices
from revoker.core.ids import RevocationId
from revoker.core.policy import DEFAULT_RULES, Policy, decide
from revoker.core.revocation import Credential, Revocation, Selector
from revoker.core.vectors_gateway import gateway
from schemas import codec
from schemas.fields import wire_time
from schemas.inputs import IDENTITY_EVENTS
from schemas.session_ended import Kind

_BOUND: Final = datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_WHOLE: Final = _BOUND.replace(microsecond=0)
_POLICY: Final = Policy(rules=DEFAULT_RULES, lifetime=timedelta(days=30), fresh=timedelta(minutes=10))

_ABOUT_COVERING: Final = """\
Each vector: `revocation` as `data` of a session-ended notification says it, `credential` as far as it is known (an
attribute that is absent is not known; an empty client_id is known to be none; whole_second: established_at was cut to
the second that begins there), and whether the revocation covers the credential: yes, no or unknown."""
_ABOUT_IDS: Final = """\
Each vector: an event, the canonical JSON (sorted keys, no white space, UTF-8) of [source, id, type, tenant, subject,
time, data], whose uuid5 under the namespace is the id of its revocation; and the ids of notifications of it, the uuid5
of the canonical JSON of [revocation id, kind, about, part]. `data` holds the fields that the contract knows, none that
says its default; times have 27 characters."""


def covering() -> dict[str, Any]:
    """Revocations against credentials, and the answer."""
    return {
        "about": _ABOUT_COVERING.replace("\n", " "),
        "vectors": [
            {
                "name": name,
                "revocation": _revocation_on_wire(revocation),
                "credential": _credential_on_wire(credential),
                "covers": revocation.covers(credential).value,
            }
            for name, revocation, credential in _cases()
        ],
    }


def derived_ids() -> dict[str, Any]:
    """Events, and the ids that follow from them."""
    return {
        "about": _ABOUT_IDS.replace("\n", " "),
        "namespace": str(ids.NAMESPACE),
        "vectors": [_ids_of(event) for event in _EVENTS],
    }


def files() -> dict[str, str]:
    """Names to text, of all that is published."""
    return {
        name: msgspec.json.format(msgspec.json.encode(tree), indent=2).decode() + "\n"
        for name, tree in {
            "covering.json": covering(),
            "gateway.json": gateway(),
            "ids.json": derived_ids(),
        }.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 when the folder is as it should be, 1 when `--check` found what differs."""
    parser = argparse.ArgumentParser(prog="python -m revoker.core.vectors", description="Writes the test vectors.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that differ, exit 1 if any")
    options = parser.parse_args(arguments)
    folder: Path = options.folder

    wanted = files()
    changed = [name for name, text in wanted.items() if not _says(folder / name, text)]

    if changed and not options.check:
        folder.mkdir(parents=True, exist_ok=True)
        for name in changed:
            (folder / name).write_text(wanted[name], encoding="utf-8")
    sys.stdout.writelines(f"{name}\n" for name in changed)
    return 1 if options.check and changed else 0


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _revocation(keep: tuple[str, ...] = (), keep_clients: tuple[str, ...] = (), **selector: Any) -> Revocation:  # noqa: ANN401 - the attributes of a selector
    named = {"tenant": "", **selector}
    return Revocation(
        id=RevocationId(uuid.UUID(int=0)),
        selector=Selector(**named),
        not_before=_BOUND,
        keep=keep,
        keep_clients=keep_clients,
        covers_until=_BOUND + _POLICY.lifetime,
        cause="revocation-ordered",
        initiator="admin",
        reason_user={"en": "This session was ended"},
        source="example",
        event_id="e-1",
        requested_at=_BOUND,
    )


def _credential(**known: Any) -> Credential:  # noqa: ANN401 - as above
    return Credential(
        **{"tenant": "", "subject": "alice", "session_id": "s-1", "client_id": "web", "established_at": _BOUND, **known}
    )


Case = tuple[str, Revocation, Credential]


def _cases() -> Iterator[Case]:
    yield from _of_time()
    yield from _of_keep()
    yield from _of_ids()
    yield from _of_attributes()


def _of_time() -> Iterator[Case]:
    alice = _revocation(subject="alice")
    for name, at in {
        "a microsecond before": _BOUND - _MICROSECOND,
        "at the bound": _BOUND,
        "a microsecond after": _BOUND + _MICROSECOND,
        "at a moment that is not known": None,
    }.items():
        yield f"established {name}", alice, _credential(established_at=at)
    for name, at in {
        "that ends before the bound": _WHOLE - _SECOND,
        "in which the bound lies": _WHOLE,
        "that begins after the bound": _WHOLE + _SECOND,
    }.items():
        yield f"established in a second {name}", alice, _credential(established_at=at, whole_second=True)
    truncated = {"established_at": _WHOLE, "whole_second": True}
    last = msgspec.structs.replace(alice, not_before=_WHOLE + _SECOND - _MICROSECOND)
    yield "the bound is the last microsecond of the second", last, _credential(**truncated)
    first = msgspec.structs.replace(alice, not_before=_WHOLE)
    yield "the bound is the first microsecond of the second", first, _credential(**truncated)
    since = _revocation(subject="alice", established_after=_WHOLE)
    for name, at in {"at the time": _WHOLE, "after it": _WHOLE + _MICROSECOND, "who knows when": None}.items():
        yield f"only what was established after a time: {name}", since, _credential(established_at=at)
    yield "only what was established after a time: in its second", since, _credential(**truncated)
    long_since = _revocation(subject="alice", established_after=_WHOLE - _SECOND, session_ids=("s-1",))
    yield "only what was established after a time: in a later second", long_since, _credential(**truncated)


def _of_keep() -> Iterator[Case]:
    keeping = _revocation(subject="alice", keep=("s-1", "s-2"))
    yield "kept", keeping, _credential()
    yield "kept, whenever it began", keeping, _credential(established_at=None)
    yield "others are kept", keeping, _credential(session_id="s-3")
    yield "kept sessions, and this one has no id that is known", keeping, _credential(session_id=None)
    lenient = _revocation(subject="alice", keep_clients=("web",))
    yield "its client is kept", lenient, _credential()
    yield "another client is kept", lenient, _credential(client_id="app")
    yield "it has no client", lenient, _credential(client_id="")
    yield "kept clients, and this one's is not known", lenient, _credential(client_id=None)


def _of_ids() -> Iterator[Case]:
    late = {"established_at": _BOUND + _SECOND}
    one = _revocation(subject="alice", session_ids=("s-1",))
    yield "the session is named: time does not count", one, _credential(**late)
    yield "the session is named: nor need it be known", one, _credential(established_at=None)
    yield "another session is named", one, _credential(session_id="s-2")
    yield "a session is named, and this one's id is not known", one, _credential(session_id=None)
    yield "a session of another subject is named", one, _credential(subject="bob")
    yield "the session is named, the subject is not known", one, _credential(subject=None)
    some = _revocation(subject="alice", session_ids=("s-1", "s-2"))
    yield "one of several sessions", some, _credential(session_id="s-2", **late)
    yield "none of several sessions", some, _credential(session_id="s-3")
    part = _revocation(subject="alice", session_ids=("s-1",), client_id="web")
    yield "one client's part of the session", part, _credential()
    yield "another client's part of the session", part, _credential(client_id="app")
    yield "some client's part of the session", part, _credential(client_id=None)
    yield "the session knows no client, one is named", part, _credential(client_id="")
    yield "a session named without its subject", _revocation(session_ids=("s-1",)), _credential(**late)
    token = _revocation(subject="alice", token_id="t-1")  # noqa: S106 - an id, no password
    yield "the token is named: time does not count", token, _credential(token_id="t-1", **late)  # noqa: S106 - as above
    yield "another token is named", token, _credential(token_id="t-2")  # noqa: S106 - as above
    yield "a token is named, this is none that is known", token, _credential()


def _of_attributes() -> Iterator[Case]:
    late = {"established_at": _BOUND + _SECOND}
    yield "another subject", _revocation(subject="alice"), _credential(subject="bob")
    yield "the subject is not known", _revocation(subject="alice"), _credential(subject=None)
    yield "another tenant", _revocation(subject="alice"), _credential(tenant="acme")
    yield "any tenant", _revocation(tenant=None, subject="alice"), _credential(tenant="acme")
    yield "everyone of a tenant", _revocation(), _credential()
    yield "everyone of another tenant", _revocation(tenant="acme"), _credential()
    yield "everyone", _revocation(tenant=None), _credential(tenant="acme", subject=None, session_id=None)
    yield "everyone, and the time is not known", _revocation(tenant=None), _credential(established_at=None)
    yield "the signing key: time does not count", _revocation(key_id="k-1"), _credential(key_id="k-1", **late)
    yield "another signing key", _revocation(key_id="k-1"), _credential(key_id="k-2")
    yield "the device, in time", _revocation(device_id="d-1"), _credential(device_id="d-1")
    yield "the device, later", _revocation(device_id="d-1"), _credential(device_id="d-1", **late)
    yield "the device is not known", _revocation(device_id="d-1"), _credential()
    yield (
        "the device is not known, and the subject is another",
        (_revocation(device_id="d-1", subject="alice")),
        _credential(subject="bob"),
    )
    for network, address in (
        ("203.0.113.0/24", "203.0.113.255"),
        ("203.0.113.0/24", "203.0.114.0"),
        ("2001:db8::/32", "2001:db8:ffff::1"),
        ("0.0.0.0/0", "2001:db8::1"),
        ("203.0.113.0/24", None),
    ):
        yield f"from {network}: {address}", _revocation(ip_network=network), _credential(ip=address)
    labelled = _revocation(labels=(("plan", "free"), ("region", "eu")))
    yield "all labels, and one more", labelled, _credential(labels={"plan": "free", "region": "eu", "x": "y"})
    yield "one label differs", labelled, _credential(labels={"plan": "free", "region": "us"})
    yield "one label is missing", labelled, _credential(labels={"plan": "free"})
    yield "labels are not known", labelled, _credential()


def _revocation_on_wire(revocation: Revocation) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode(notices.ended(revocation, _BOUND + _SECOND, ())[0].body)["data"]
    return tree


def _credential_on_wire(credential: Credential) -> dict[str, Any]:
    known = {name: getattr(credential, name) for name in Credential.__dataclass_fields__}
    if credential.established_at is not None:
        known["established_at"] = wire_time(credential.established_at)
    return {name: value for name, value in known.items() if value is not None and value is not False}


def _event(type_: str, **attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"specversion": "1.0", "type": type_, "id": "e-1", "source": "https://idp.example", **attributes}


_EVENTS: Final[Sequence[Mapping[str, Any]]] = (
    _event("password-changed", subject="alice", time="2026-11-21T09:00:00.000000Z", data={"keep": ["s-2", "s-1"]}),
    _event("password-changed", subject="alice", time="2026-11-21T10:00:00+01:00", data={"keep": ["s-2", "s-1"]}),
    _event("password-changed", subject="alice"),
    _event("password-changed", subject="alice", tenant="acme", data={"keep": [], "unheard-of": 1}),
    _event(
        "email-changed",
        subject="Zoë 🔐",
        data={
            "initiator": "user",
            "reason_user": {"fr": "Adresse changée", "en": "Changed"},
            "reason_admin": 'a "b" \\',
        },
    ),
    _event("logged-out", data={"session_id": "s-1"}),
    _event("logged-out", subject="alice", data={"session_id": "s-1", "client_id": "web"}),
    _event("session-revoked", subject="alice", data={"session_ids": ["s-2", "s-1"]}),
    _event("token-revoked", subject="alice", data={"token_id": "t-1", "expires_at": "2026-12-01T00:00:00Z"}),
)


def _ids_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    event = codec.decode(codec.IDENTITY, IDENTITY_EVENTS, msgspec.json.encode(tree))
    assert not isinstance(event, codec.Ignored)  # noqa: S101 - tells mypy that this input ignores nothing
    revocation = decide(event, _POLICY, _BOUND + _POLICY.lifetime).revocation
    data = event.data.model_dump(mode="json", exclude_defaults=True)
    time = wire_time(event.time) if event.time else None
    whole = [event.source, event.id, event.type, event.tenant, event.subject, time, data]
    about = ((Kind.ENDED, event.subject or "", 0), (Kind.ENDED, event.subject or "", 1), (Kind.LATE, "s-1\x1fweb", 0))
    return {
        "event": tree,
        "canonical": ids.canonical(whole).decode(),
        "revocation_id": str(revocation.id),
        "notifications": [
            {
                "kind": kind.value,
                "about": what,
                "part": part,
                "notification_id": str(ids.notification_id(revocation.id, kind, what, part)),
            }
            for kind, what, part in about
        ],
    }


if __name__ == "__main__":  # pragma: no cover - the command line, and nothing else
    raise SystemExit(main())
