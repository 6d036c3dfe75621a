"""What a gateway answers after it has read some records, as examples for whoever writes one in another language.

Published with the others: `revoker.core.vectors`. What is expected is what our own index answers; a test holds it to
answers that were written by hand.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from revoker.core.claims import SessionClaims
from revoker.core.index import Index
from revoker.core.verdicts import Revocation
from revoker.core.wire import decode_notice
from schemas.fields import wire_time

_ABOUT: Final = """\
Each vector: the `records` of session-ended that were read (in any order, and any of them twice, the answer is the
same), the `claims` of a session or token as far as they are known (established_at: a moment, or as an integer the
whole second that begins there, as in a JWT), the time `now`, and the `answer`: live, ended or held, with the id of the
revocation or hold."""

_NOW: Final = datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_WHOLE: Final = int(_NOW.timestamp())
_ALICE: Final = {"tenant": "", "subject": "alice"}
_DEVICE: Final = {"tenant": "", "device_id": "d-1"}

Tree = dict[str, Any]
Case = tuple[str, Sequence[Tree], Tree]
"""Name, records, claims."""


def gateway() -> Tree:
    """Records and claims, and the answer."""
    vectors = [
        {
            "name": name,
            "records": records,
            "claims": claims,
            "now": wire_time(now),
            "answer": _answer(records, claims, now),
        }
        for now, cases in ((_NOW + _SECOND, _cases()), (_NOW + timedelta(days=31), _cases_later()))
        for name, records, claims in cases
    ]
    return {"about": _ABOUT.replace("\n", " "), "vectors": vectors}


def _answer(records: Sequence[Tree], claims: Tree, now: datetime) -> Tree:
    index = Index()
    for record in records:
        notice = decode_notice(msgspec.json.encode(record))
        if notice is not None:
            index.apply(notice)
    at = claims.get("established_at")
    known = claims if not isinstance(at, str) else claims | {"established_at": datetime.fromisoformat(at)}
    found = index.find(SessionClaims(**known), now.timestamp())
    if found is None:
        return {"verdict": "live"}
    if isinstance(found, Revocation):
        return {"verdict": "ended", "revocation_id": found.id}
    return {"verdict": "held", "hold_id": found.id}


def _cases() -> Iterator[Case]:
    yield "nothing was read", (), _claims()
    yield from _of_predicates()
    yield from _of_times()
    yield from _of_ids()
    yield from _of_clients()
    yield from _of_attributes()
    yield from _of_holds()
    yield from _of_what_is_to_come()


def _of_predicates() -> Iterator[Case]:
    changed = (_ended("r-1", _ALICE, keep=["s-9"]),)
    yield "established before", changed, _claims()
    yield "established after", changed, _claims(established_at=wire_time(_NOW + _SECOND))
    yield "kept", changed, _claims(session_id="s-9")
    yield "another subject", changed, _claims(subject="bob")
    yield "another tenant", changed, _claims(tenant="acme")
    both = (*changed, _ended("r-2", _ALICE, keep=["s-1"], not_before=wire_time(_NOW + _SECOND)))
    yield "kept by the later one, not by the earlier", both, _claims()
    yield "kept by the earlier one, not by the later", both, _claims(session_id="s-9")


def _of_times() -> Iterator[Case]:
    changed = (_ended("r-1", _ALICE, sessions=[{"session_id": "s-2", "client_id": "web"}]),)
    yield "time not known, not named", changed, _claims(established_at=None)
    yield "time not known, named", changed, _claims(established_at=None, session_id="s-2")
    yield (
        "time not known, and no session id that could be named",
        changed,
        _claims(established_at=None, session_id=None),
    )
    yield "time later, named", changed, _claims(established_at=wire_time(_NOW + _SECOND), session_id="s-2")
    yield "in the second of the bound, not named", changed, _claims(established_at=_WHOLE)
    yield "in the second of the bound, named", changed, _claims(established_at=_WHOLE, session_id="s-2")
    yield "in the second of the bound, no session id", changed, _claims(established_at=_WHOLE, session_id=None)
    yield "in the second before, no session id", changed, _claims(established_at=_WHOLE - 1, session_id=None)
    yield "in the second after, no session id", changed, _claims(established_at=_WHOLE + 1, session_id=None)


def _of_ids() -> Iterator[Case]:
    logout = (_ended("r-1", {**_ALICE, "session_id": "s-1"}, cause="logged-out"),)
    later = {"established_at": wire_time(_NOW + _SECOND)}
    yield "signed out of this session", logout, _claims(**later)
    yield "signed out of another session", logout, _claims(session_id="s-2")
    yield "the same session id of another subject", logout, _claims(subject="bob")
    yield "the subject is not known, the session was named", logout, _claims(subject=None)
    nameless = (_ended("r-1", {"tenant": "", "session_id": ["s-1", "s-2"]}),)
    yield "sessions ended without saying whose", nameless, _claims(**later)
    token = (_ended("r-1", {**_ALICE, "token_id": "t-1"}, cause="token-revoked"),)
    yield "the token was named", token, _claims(token_id="t-1", **later)  # noqa: S106 - an id
    yield "another token was named", token, _claims(token_id="t-2")  # noqa: S106 - likewise
    loose = (_ended("r-1", _DEVICE, subject="alice", kind="late", tokens=[{"token_id": "t-1"}]),)
    yield "a token that was named beside the predicate", loose, _claims(session_id=None, token_id="t-1")  # noqa: S106 - likewise


def _of_clients() -> Iterator[Case]:
    part = (_ended("r-1", {**_ALICE, "session_id": "s-1", "client_id": "web"}),)
    yield "this client's part was ended", part, _claims()
    yield "another client's part was ended", part, _claims(client_id="app")
    yield "some client's part was ended, and this one's client is not known", part, _claims(client_id=None)
    yield "some client's part was ended, and this one has none", part, _claims(client_id="")
    whole = [{"session_id": "s-1", "client_id": ""}]
    later = {"established_at": wire_time(_NOW + _SECOND)}
    named = (_ended("r-1", _ALICE, keep_clients=["tv"], sessions=whole),)
    yield "a sign-in that knows no clients was named", named, _claims(**later)
    yield "a sign-in that knows no clients was named, this client is kept", named, _claims(client_id="tv", **later)


def _of_attributes() -> Iterator[Case]:
    rows = [{"session_id": "s-1", "client_id": "web", "subject": "alice"}]
    wide = (_ended("r-1", _DEVICE), _ended("r-1", _DEVICE, id="n-2", kind="rows", sessions=rows))
    yield "from that device", wide, _claims(session_id="s-7", device_id="d-1")
    yield "from a device that is not known, named", wide, _claims()
    yield "from a device that is not known, not named", wide, _claims(session_id="s-7")
    yield "from a device that is not known, named of another subject", wide, _claims(subject="bob")
    for name, value, same, other in (
        ("client_id", "web", "web", "app"),
        ("ip_network", "203.0.113.0/24", "203.0.113.9", "203.0.114.1"),
        ("labels", {"plan": "free"}, {"plan": "free", "x": "y"}, {"plan": "paid"}),
        ("everyone", True, None, None),
    ):
        records = (_ended("r-1", {"tenant": "", name: value}),)
        claim = {"ip_network": "ip"}.get(name, name)
        yield f"{name}: it has it", records, _claims(**({} if same is None else {claim: same}))
        if other is not None:
            yield f"{name}: it has another", records, _claims(**{claim: other})
    key = (_ended("r-1", {"tenant": "", "key_id": "k-1"}),)
    yield "signed with that key, whenever", key, _claims(key_id="k-1", established_at=None)


def _of_holds() -> Iterator[Case]:
    hold = _placed("h-1", _ALICE, _NOW + timedelta(hours=1))
    lift = _lifted("h-1", _NOW)
    late = wire_time(_NOW + _SECOND)
    yield "on hold, though established after", (hold,), _claims(established_at=late)
    yield "on hold is another", (hold,), _claims(subject="bob")
    yield "the hold has expired", (_placed("h-1", _ALICE, _NOW),), _claims()
    yield "the hold was lifted", (hold, lift), _claims()
    yield "the lift was read before its hold", (lift, hold), _claims()
    yield "lifted twice, and the earlier time counts", (hold, _lifted("h-1", _NOW + 9 * _SECOND), lift), _claims()
    yield "will be lifted", (hold, _lifted("h-1", _NOW + 9 * _SECOND)), _claims()
    yield "on hold and ended", (hold, _ended("r-1", _ALICE)), _claims()


def _of_what_is_to_come() -> Iterator[Case]:
    unknown = (_ended("r-1", {**_ALICE, "shoe_size": "43"}, sessions=[{"session_id": "s-2", "client_id": "web"}]),)
    yield "a selector that is not understood matches nobody", unknown, _claims()
    yield "a selector that is not understood, but this session was named", unknown, _claims(session_id="s-2")
    yield "a type that is not known is skipped", ({**_ended("r-1", _ALICE), "type": "session-suspended"},), _claims()


def _cases_later() -> Iterator[Case]:
    yield "when all that it covers is over by itself", (_ended("r-1", _ALICE),), _claims()


def _claims(**known: Any) -> Tree:  # noqa: ANN401 - JSON
    claims = {
        "tenant": "",
        "subject": "alice",
        "session_id": "s-1",
        "client_id": "web",
        "established_at": wire_time(_NOW - timedelta(hours=1)),
        **known,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _ended(revocation_id: str, selector: Tree, id: str = "n-1", **said: Any) -> Tree:  # noqa: A002, ANN401 - JSON
    whose = said.pop("subject", selector.get("subject"))
    data = {
        "revocation_id": revocation_id,
        "cause": "password-changed",
        "initiator": "user",
        "reason_user": {"en": "Your password was changed"},
        "kind": "ended",
        "selector": selector,
        "not_before": wire_time(_NOW),
        "keep": [],
        "requested_at": wire_time(_NOW),
        "committed_at": wire_time(_NOW),
        "sessions": [],
        "covers_until": wire_time(_NOW + timedelta(days=30)),
        **said,
    }
    return _record("session-ended", id, data) | ({} if whose is None else {"subject": whose})


def _placed(hold_id: str, selector: Tree, until: datetime) -> Tree:
    said = {"hold_id": hold_id, "selector": selector, "until": wire_time(until), "reason_user": {"en": "Please wait"}}
    return _record("hold-placed", "n-2", said)


def _lifted(hold_id: str, at: datetime) -> Tree:
    return _record("hold-lifted", "n-3", {"hold_id": hold_id, "at": wire_time(at)})


def _record(type_: str, id_: str, data: Tree) -> Tree:
    envelope = {"specversion": "1.0", "type": type_, "id": id_, "source": "revoker", "tenant": ""}
    return {**envelope, "time": wire_time(_NOW), "data": data}
