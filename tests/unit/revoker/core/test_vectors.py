"""The published vectors are current, and say what was worked out by hand."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from revoker.core import ids, vectors
from revoker.core.revocation import Credential, Selector
from revoker.core.vectors_gateway import gateway
from schemas.session_ended import Notification, SessionEndedData
from tests import factories

FOLDER = Path(__file__).parents[4] / "docs" / "vectors"

# By hand, from SEMANTICS: not before the code is understood does anything change here.
ANSWERS = """
yes      established a microsecond before
yes      established at the bound
no       established a microsecond after
unknown  established at a moment that is not known
yes      established in a second that ends before the bound
unknown  established in a second in which the bound lies
no       established in a second that begins after the bound
yes      the bound is the last microsecond of the second
unknown  the bound is the first microsecond of the second
no       only what was established after a time: at the time
yes      only what was established after a time: after it
unknown  only what was established after a time: who knows when
unknown  only what was established after a time: in its second
yes      only what was established after a time: in a later second
no       kept
no       kept, whenever it began
yes      others are kept
yes      kept sessions, and this one has no id that is known
no       its client is kept
yes      another client is kept
yes      it has no client
yes      kept clients, and this one's is not known
yes      the session is named: time does not count
yes      the session is named: nor need it be known
no       another session is named
unknown  a session is named, and this one's id is not known
no       a session of another subject is named
unknown  the session is named, the subject is not known
yes      one of several sessions
no       none of several sessions
yes      one client's part of the session
no       another client's part of the session
unknown  some client's part of the session
no       the session knows no client, one is named
yes      a session named without its subject
yes      the token is named: time does not count
no       another token is named
unknown  a token is named, this is none that is known
no       another subject
unknown  the subject is not known
no       another tenant
yes      any tenant
yes      everyone of a tenant
no       everyone of another tenant
yes      everyone
unknown  everyone, and the time is not known
yes      the signing key: time does not count
no       another signing key
yes      the device, in time
no       the device, later
unknown  the device is not known
no       the device is not known, and the subject is another
yes      from 203.0.113.0/24: 203.0.113.255
no       from 203.0.113.0/24: 203.0.114.0
yes      from 2001:db8::/32: 2001:db8:ffff::1
no       from 0.0.0.0/0: 2001:db8::1
unknown  from 203.0.113.0/24: None
yes      all labels, and one more
no       one label differs
no       one label is missing
unknown  labels are not known
"""
VECTORS: list[dict[str, Any]] = vectors.covering()["vectors"]

# The same of what a gateway answers.
VERDICTS = """
live   -    nothing was read
ended  r-1  established before
live   -    established after
live   -    kept
live   -    another subject
live   -    another tenant
ended  r-1  kept by the later one, not by the earlier
ended  r-2  kept by the earlier one, not by the later
live   -    time not known, not named
ended  r-1  time not known, named
ended  r-1  time not known, and no session id that could be named
ended  r-1  time later, named
live   -    in the second of the bound, not named
ended  r-1  in the second of the bound, named
ended  r-1  in the second of the bound, no session id
ended  r-1  in the second before, no session id
live   -    in the second after, no session id
ended  r-1  signed out of this session
live   -    signed out of another session
live   -    the same session id of another subject
ended  r-1  the subject is not known, the session was named
ended  r-1  sessions ended without saying whose
ended  r-1  the token was named
live   -    another token was named
ended  r-1  a token that was named beside the predicate
ended  r-1  this client's part was ended
live   -    another client's part was ended
ended  r-1  some client's part was ended, and this one's client is not known
live   -    some client's part was ended, and this one has none
ended  r-1  a sign-in that knows no clients was named
live   -    a sign-in that knows no clients was named, this client is kept
ended  r-1  from that device
ended  r-1  from a device that is not known, named
live   -    from a device that is not known, not named
live   -    from a device that is not known, named of another subject
ended  r-1  client_id: it has it
live   -    client_id: it has another
ended  r-1  ip_network: it has it
live   -    ip_network: it has another
ended  r-1  labels: it has it
live   -    labels: it has another
ended  r-1  everyone: it has it
ended  r-1  signed with that key, whenever
held   h-1  on hold, though established after
live   -    on hold is another
live   -    the hold has expired
live   -    the hold was lifted
live   -    the lift was read before its hold
live   -    lifted twice, and the earlier time counts
held   h-1  will be lifted
ended  r-1  on hold and ended
live   -    a selector that is not understood matches nobody
ended  r-1  a selector that is not understood, but this session was named
live   -    a type that is not known is skipped
live   -    when all that it covers is over by itself
"""


def test_the_published_vectors_are_current() -> None:
    assert vectors.main(["--check", str(FOLDER)]) == 0


def test_every_answer_is_the_one_worked_out_by_hand() -> None:
    expected = [tuple(line.split(maxsplit=1)) for line in ANSWERS.strip().splitlines()]

    assert [(vector["covers"], vector["name"]) for vector in VECTORS] == expected


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_who_reads_just_the_json_comes_to_the_same_answer(vector: dict[str, Any]) -> None:
    """So the wire says all that counts; and this is how a reader in another language does it."""
    data = SessionEndedData.model_validate_json(json.dumps(vector["revocation"]))
    named = data.selector.session_id
    selector = Selector(
        **data.selector.model_dump(exclude={"session_id", "labels", "everyone"}),
        session_ids=(named,) if isinstance(named, str) else named or (),
        labels=tuple((data.selector.labels or {}).items()),
    )
    revocation = factories.revocation(
        selector, not_before=data.not_before, keep=data.keep, keep_clients=data.keep_clients
    )
    known = dict(vector["credential"])
    if "established_at" in known:
        known["established_at"] = data.not_before.fromisoformat(known["established_at"])

    assert revocation.covers(Credential(**known)).value == vector["covers"]


def test_every_id_follows_from_what_the_vector_shows() -> None:
    published = vectors.derived_ids()
    namespace = uuid.UUID(published["namespace"])

    for vector in published["vectors"]:
        assert str(uuid.uuid5(namespace, vector["canonical"])) == vector["revocation_id"]
        for told in vector["notifications"]:
            about = [vector["revocation_id"], told["kind"], told["about"], told["part"]]
            canonical = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
            assert str(uuid.uuid5(namespace, canonical)) == told["notification_id"]
            assert told["notification_id"] == str(ids.derive(about))


def test_every_verdict_is_the_one_worked_out_by_hand() -> None:
    expected = [tuple(line.split(maxsplit=2)) for line in VERDICTS.strip().splitlines()]
    found = [(vector["answer"], vector["name"]) for vector in gateway()["vectors"]]

    assert [
        (said["verdict"], said.get("revocation_id", said.get("hold_id", "-")), name) for said, name in found
    ] == expected


def test_the_records_of_the_vectors_are_as_the_schema_has_them() -> None:
    reader: TypeAdapter[Any] = TypeAdapter(Notification)
    for vector in gateway()["vectors"]:
        if "not understood" not in vector["name"] and "not known is skipped" not in vector["name"]:
            for record in vector["records"]:
                reader.validate_json(json.dumps(record))


def test_ids_tell_events_apart_and_spellings_of_one_event_not() -> None:
    found = [vector["revocation_id"] for vector in vectors.derived_ids()["vectors"]]

    assert found[0] == found[1], "one moment, in two notations"
    assert len(set(found)) == len(found) - 1


def test_the_command_writes_what_differs_and_checks_without_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "vectors"
    assert vectors.main(["--check", str(folder)]) == 1
    assert not folder.exists()

    assert vectors.main([str(folder)]) == 0
    assert vectors.main(["--check", str(folder)]) == 0
    (folder / "ids.json").write_text("{}")
    assert vectors.main(["--check", str(folder)]) == 1
    assert vectors.main([str(folder)]) == 0
    assert vectors.main([str(folder)]) == 0

    every, one = ["covering.json", "gateway.json", "ids.json"], ["ids.json"]
    assert capsys.readouterr().out.split() == [*every, *every, *one, *one]
