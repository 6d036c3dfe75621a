"""Records of identity platforms: what each of them means, and that no junk gets through as anything but a refusal."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revoker.core.policy import DEFAULT_RULES
from schemas import codec
from schemas.codec import ACTIVITY, IDENTITY, Ignored, Reason, Rejected
from schemas.formats import kratos, registry
from schemas.formats.native import address, instant
from schemas.inputs import Format, Input

RECORDS = Path(__file__).parents[2] / "data/formats"
FILES = sorted(RECORDS.glob("*/*.json"))
FORMATS = tuple(registry.TRANSLATORS)


def described(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def record(format_: Format, name: str) -> bytes:
    return json.dumps(described(RECORDS / format_ / f"{name}.json")["record"]).encode()


def decoded(source: Input, value: bytes) -> list[Any]:
    """What each lane makes of it."""
    return [codec.decode(vocabulary, source, value) for vocabulary in (IDENTITY, ACTIVITY)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_record_means_what_it_says(file: Path) -> None:
    told = described(file)

    native = registry.TRANSLATORS[Format(file.parent.name)](told["record"])

    assert native.name == told["name"]
    assert list(native.realms) == told.get("realms", [])
    if told["means"] is None:
        assert native.meaning is None
        return
    assert native.meaning is not None
    assert {"type": native.meaning.type, "subject": native.meaning.subject, "data": native.meaning.data} == told[
        "means"
    ]
    assert (native.id, native.time) == (told["id"], told.get("time"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_record_is_for_one_lane_and_ignored_by_the_other(file: Path) -> None:
    told = described(file)
    source = Input(topic="t", format=Format(file.parent.name))

    events = [event for event in decoded(source, json.dumps(told["record"]).encode()) if not isinstance(event, Ignored)]

    assert [event.type for event in events] == ([told["means"]["type"]] if told["means"] else [])
    for event in events:
        assert event.id == told["id"]
        assert event.source.startswith(file.parent.name)


def test_every_format_but_our_own_has_records() -> None:
    assert {file.parent.name for file in FILES} == set(FORMATS) == set(Format) - {Format.CLOUDEVENTS}


def test_no_address_of_e_mail_and_no_name_gets_through() -> None:
    for file in FILES:
        source = Input(topic="t", format=Format(file.parent.name))
        for event in decoded(source, json.dumps(described(file)["record"]).encode()):
            assert isinstance(event, Ignored) or "@" not in codec.encode(event).decode()


@pytest.mark.parametrize(
    ("format_", "value", "reason"),
    [
        (Format.KEYCLOAK, {"type": "SOLD_YOUR_DATA", "id": "1"}, Reason.UNKNOWN_TYPE),
        (Format.KEYCLOAK, {"id": "1"}, Reason.UNKNOWN_TYPE),
        (Format.KEYCLOAK, {"operationType": "ACTION", "resourceType": "PIZZA"}, Reason.UNKNOWN_TYPE),
        (Format.KEYCLOAK, {"type": "LOGOUT", "userId": "u"}, Reason.INVALID),
        (Format.KEYCLOAK, {"type": "UPDATE_PASSWORD", "id": "1", "time": 1}, Reason.INVALID),
        (Format.KEYCLOAK, {"type": "DELETE_ACCOUNT", "userId": "u", "time": "yesterday"}, Reason.INVALID),
        (Format.KEYCLOAK, {"type": "DELETE_ACCOUNT", "userId": "u", "time": 10**30}, Reason.INVALID),
        (Format.AUTH0, {"type": "zzz", "log_id": "1"}, Reason.UNKNOWN_TYPE),
        (Format.AUTH0, {"log_id": "1", "data": {}}, Reason.UNKNOWN_TYPE),
        (Format.AUTH0, {"type": "slo", "user_id": "u", "details": {}}, Reason.INVALID),
        (Format.OKTA, {"eventType": "user.lifecycle.cloned"}, Reason.UNKNOWN_TYPE),
        (Format.OKTA, {"eventType": "Nonsense"}, Reason.UNKNOWN_TYPE),
        (Format.OKTA, {"eventType": "user.lifecycle.suspend", "uuid": "1", "target": [7]}, Reason.INVALID),
        (Format.KRATOS, {"flow": "dance"}, Reason.UNKNOWN_TYPE),
        (Format.KRATOS, {"flow": "settings", "method": "password"}, Reason.INVALID),
        (Format.GOTRUE, {"payload": {"action": "danced"}}, Reason.UNKNOWN_TYPE),
        (Format.GOTRUE, {"payload": {"action": "logout"}}, Reason.INVALID),
    ],
)
def test_what_is_unknown_or_incomplete_is_set_aside(format_: Format, value: Mapping[str, Any], reason: Reason) -> None:
    with pytest.raises(Rejected) as caught:
        codec.decode(IDENTITY, Input(topic="t", format=format_), json.dumps(value).encode())

    assert caught.value.reason is reason


@pytest.mark.parametrize("path", ["logout-all", "push-revocation", "clients/7/push-revocation"])
def test_what_ends_everybodys_sessions_in_keycloak_is_not_passed_over(path: str) -> None:
    event = {"operationType": "ACTION", "resourceType": "REALM", "resourcePath": path}

    with pytest.raises(Rejected, match="everybody"):
        codec.decode(IDENTITY, Input(topic="t", format=Format.KEYCLOAK), json.dumps(event).encode())


def test_an_error_in_keycloak_means_that_it_did_not_happen() -> None:
    event = {"type": "UPDATE_PASSWORD", "userId": "u", "error": "not_allowed"}

    assert isinstance(
        codec.decode(IDENTITY, Input(topic="t", format=Format.KEYCLOAK), json.dumps(event).encode()), Ignored
    )


def test_patterns_skip_by_the_platforms_name_and_by_ours_also_what_is_unknown() -> None:
    def source(*ignore: str) -> Input:
        return Input(topic="t", format=Format.KEYCLOAK, ignore=ignore)

    unknown = b'{"type": "MY_EXTENSION_DID"}'

    assert decoded(source("LOGOUT"), record(Format.KEYCLOAK, "logout"))[0] == Ignored("LOGOUT")
    assert decoded(source("logged-*"), record(Format.KEYCLOAK, "logout"))[0] == Ignored("logged-out")
    assert decoded(source("USER.*"), record(Format.KEYCLOAK, "admin-delete"))[0] == Ignored("USER.DELETE")
    assert decoded(source("MY_*"), unknown)[0] == Ignored("MY_EXTENSION_DID")


def test_types_are_ours() -> None:
    source = Input(topic="t", format=Format.KEYCLOAK, types=("password-changed",))

    assert not isinstance(codec.decode(IDENTITY, source, record(Format.KEYCLOAK, "update-password")), Ignored)
    with pytest.raises(Rejected) as caught:
        codec.decode(IDENTITY, source, record(Format.KEYCLOAK, "logout"))
    assert caught.value.reason is Reason.TYPE_NOT_ALLOWED


def test_tenant_and_source_are_those_of_the_input() -> None:
    bound = Input(topic="t", format=Format.KEYCLOAK, tenant="acme", source="https://login.example")
    free = Input(topic="t", format=Format.KEYCLOAK)

    def told(source: Input) -> tuple[str, str]:
        event = codec.decode(IDENTITY, source, record(Format.KEYCLOAK, "logout"))
        assert not isinstance(event, Ignored)
        return event.tenant, event.source

    assert told(bound) == ("acme", "https://login.example")
    assert told(free) == ("", "keycloak/a9cbb114-34bf-44d1-a398-354813798345")


@pytest.mark.parametrize("realm", ["a9cbb114-34bf-44d1-a398-354813798345", "probe"])
def test_a_realm_is_the_tenant_that_the_input_says_and_no_other_speaks(realm: str) -> None:
    value = record(Format.KEYCLOAK, "admin-delete")

    event = codec.decode(IDENTITY, Input(topic="t", format=Format.KEYCLOAK, realms={realm: "acme"}), value)
    assert not isinstance(event, Ignored)
    assert event.tenant == "acme"
    with pytest.raises(Rejected) as caught:
        codec.decode(IDENTITY, Input(topic="t", format=Format.KEYCLOAK, realms={"master": "acme"}), value)
    assert caught.value.reason is Reason.WRONG_TENANT


@pytest.mark.parametrize("format_", FORMATS)
def test_a_record_without_an_id_has_the_same_one_again(format_: Format) -> None:
    name = {Format.KRATOS: "recovery", Format.OKTA: "suspend", Format.AUTH0: "slo"}.get(format_, "logout")
    tree = json.loads(record(format_, name))
    for inner in (tree, tree.get("data", {})):
        for key in ("id", "uuid", "log_id"):
            inner.pop(key, None)
    source = Input(topic="t", format=format_)

    first, again = (decoded(source, json.dumps(dict(t)).encode())[0] for t in (tree, reversed(tree.items())))
    other = decoded(source, json.dumps(tree | {"something": "else"}).encode())[0]

    assert first == again
    assert len(first.id) == 64
    assert format_ is Format.AUTH0 or other.id != first.id  # there the wrapper is no part of the event


def test_large_records_of_platforms_are_read_up_to_a_bound() -> None:
    source = Input(topic="t", format=Format.KEYCLOAK)
    large = {"operationType": "UPDATE", "resourceType": "REALM", "resourcePath": "", "representation": "x" * 500_000}

    assert isinstance(codec.decode(IDENTITY, source, json.dumps(large).encode()), Ignored)
    with pytest.raises(Rejected) as caught:
        codec.decode(IDENTITY, source, json.dumps(large | {"more": "x" * 600_000}).encode())
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone_is_set_aside(value: bytes | None) -> None:
    with pytest.raises(Rejected) as caught:
        codec.decode(IDENTITY, Input(topic="t", format=Format.OKTA), value)
    assert caught.value.reason is Reason.EMPTY


def test_what_a_translator_says_has_a_policy_or_is_activity() -> None:
    said = {described(file)["means"]["type"] for file in FILES if described(file)["means"]}

    assert said <= set(DEFAULT_RULES) | ACTIVITY.types
    assert {"password-changed", "email-changed", "logged-out", "session-established", "account-disabled"} <= said


# Times and addresses


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1791118966272, "2026-10-04T13:02:46.272000Z"),
        ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00.000000Z"),
        ("2026-11-21T09:00:00.123456789Z", "2026-11-21T09:00:00.123456Z"),
        ("2026-11-21 10:00:00.5+01:00", "2026-11-21T09:00:00.500000Z"),
        (None, None),
        ("2026-11-21T09:00:00", "unreadable"),
        ("0001-01-01T00:00:00+14:00", "unreadable"),
        (-1, "unreadable"),
        (float("inf"), "unreadable"),
        (True, "unreadable"),
        ([], "unreadable"),
    ],
)
def test_times_of_platforms(given_: object, told: str | None) -> None:
    assert instant(given_) == told


@pytest.mark.parametrize("given_", ["login.example", "203.0.113.9, 10.0.0.1", "fe80::1%eth0", "", None, 7])
def test_what_is_no_address_keeps_nobody_out(given_: object) -> None:
    assert address(given_) is None
    event = {"type": "LOGIN", "userId": "u", "sessionId": "s", "ipAddress": given_}
    established = codec.decode(ACTIVITY, Input(topic="t", format=Format.KEYCLOAK), json.dumps(event).encode())
    assert not isinstance(established, Ignored)


# Junk


KEYS = st.sampled_from(
    """
    id type time realmId realmName userId sessionId clientId ipAddress error details reason code_id token_id
    credential_type operationType resourceType resourcePath representation authDetails data log_id date user_id
    tenant_name session_id refresh_token request method path body blocked eventType actor target outcome result uuid
    published client userAgent authenticationContext externalSessionId flow identity session device completed_at
    authenticated_at expires_at payload action actor_id traits record auth_audit_event created_at
    """.split()  # noqa: SIM905 - a list of them would be a page
)
NAMES = st.sampled_from([described(file)["name"] for file in FILES] + ["User", "SUCCESS", "USER", "ACTION", "UPDATE"])
WORDS = st.sampled_from(
    ["users/u/logout", "/api/v2/users/a%7Cb", "sessions/s", '{"enabled":false}', "login", "settings"]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    PLAIN | NAMES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)
TREES = st.dictionaries(KEYS, VALUES, max_size=8)


def refusal(vocabulary: Any, format_: Format, tree: object) -> str:
    """Why it was refused; empty where it was not. Anything but a refusal fails the test."""
    try:
        codec.decode(vocabulary, Input(topic="t", format=format_), json.dumps(tree).encode())
    except Rejected as error:
        return str(error)
    return ""


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=50)
@given(tree=TREES)
def test_junk_is_an_event_or_a_refusal_and_nothing_else(format_: Format, tree: dict[str, Any]) -> None:
    assert all(refusal(vocabulary, format_, tree).isprintable() for vocabulary in (IDENTITY, ACTIVITY))


@settings(max_examples=200)
@given(file=st.sampled_from(FILES), path=st.lists(st.integers(0, 30), max_size=4), junk=VALUES)
def test_a_record_with_one_thing_wrong_is_an_event_or_a_refusal(file: Path, path: list[int], junk: object) -> None:
    tree = described(file)["record"]
    place = tree
    for step in path:
        keys = list(place)
        if not keys:
            break
        key = keys[step % len(keys)]
        if isinstance(place[key], dict) and step != path[-1]:
            place = place[key]
        else:
            place[key] = junk
            break

    format_ = Format(file.parent.name)
    assert all(refusal(vocabulary, format_, tree).isprintable() for vocabulary in (IDENTITY, ACTIVITY))


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=30)
@given(
    value=st.binary(max_size=200)
    | st.sampled_from([b"[" * 100_000, b'{"type":NaN}', b'"\\ud800"', b"[]", b"7", b"null"])
)
def test_bytes_that_are_no_object_are_set_aside(format_: Format, value: bytes) -> None:
    with pytest.raises(Rejected):
        codec.decode(IDENTITY, Input(topic="t", format=format_), value)


# The templates for Kratos


TEMPLATES = sorted((Path(__file__).parents[3] / "docs/formats/kratos").glob("*.jsonnet"))


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_a_template_makes_what_the_translator_reads(file: Path) -> None:
    """No Jsonnet here to run it: its constants and names are held against the translator."""
    told = file.read_text()
    constants = dict(re.findall(r"^  (flow|method): '([a-z]+)',$", told, re.MULTILINE))
    session = {"id": "s-1"} if "session" in told else {}

    native = registry.TRANSLATORS[Format.KRATOS]({**constants, "identity": {"id": "i-1"}, "session": session})

    assert native.meaning is not None
    assert native.meaning.subject == "i-1"
    assert ("s-1" in str(native.meaning.data)) is bool(session)
    names = set(re.findall(r"^ *([a-z_]+): ", told, re.MULTILINE)) | set(re.findall(r"[{,] ([a-z_]+): ", told))
    read = {key for key in names if f'"{key}"' in Path(kratos.__file__).read_text()}
    assert names == read
