"""Whatever arrives is an event, is ignored, or is rejected with a reason that gives nothing away."""

import copy
import json
import traceback
import unicodedata
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import PUBLISHED
from schemas.cloudevent import CloudEvent
from schemas.codec import (
    ACTIVITY,
    IDENTITY,
    MAX_BYTES,
    ORDERS,
    RECEIPTS,
    Headers,
    Ignored,
    Reason,
    Rejected,
    Vocabulary,
    decode,
    encode,
)
from schemas.fields import MAX_ID_BYTES, MAX_IDS
from schemas.identity_events import PasswordChanged
from schemas.inputs import IDENTITY_EVENTS, Input, Mode
from schemas.revocation_orders import HoldLiftOrdered, HoldOrdered
from schemas.topics import Topic

VOCABULARIES: dict[Topic, Vocabulary[Any]] = {
    Topic.IDENTITY_EVENTS: IDENTITY,
    Topic.SESSION_ACTIVITY: ACTIVITY,
    Topic.REVOCATION_ORDERS: ORDERS,
    Topic.GATEWAY_RECEIPTS: RECEIPTS,
}
INBOUND = [
    (message.topic, json.loads(encode(message.example))) for message in PUBLISHED if message.topic in VOCABULARIES
]
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "password-changed",
    "id": "e-1",
    "source": "login",
    "subject": "alice",
    "data": {"keep": ["s-1"]},
}
BINARY: list[tuple[str, bytes | None]] = [
    ("content-type", b"application/json"),
    ("ce_specversion", b"1.0"),
    ("ce_type", b"password-changed"),
    ("ce_id", b"e-1"),
    ("ce_source", b"login"),
    ("ce_subject", b"alice"),
]


def event(**changes: Any) -> bytes:
    return json.dumps(EVENT | changes).encode()


def rejection(value: bytes | None, headers: Headers = (), source: Input = IDENTITY_EVENTS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(IDENTITY, source, value, headers)
    return caught.value


def reason(value: bytes | None, headers: Headers = (), source: Input = IDENTITY_EVENTS) -> Reason:
    return rejection(value, headers, source).reason


def decoded(value: bytes | None, headers: Headers = (), source: Input = IDENTITY_EVENTS) -> PasswordChanged:
    result = decode(IDENTITY, source, value, headers)
    assert isinstance(result, PasswordChanged)
    return result


# Anything at all


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800") | st.just(10**4_000),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)
HEADER_NAMES = st.sampled_from([name for name, _ in BINARY] + ["CE_TIME", "ce_tenant", "ce_data", "reply_to"])
HEADERS = st.lists(st.tuples(HEADER_NAMES | st.text(), st.none() | st.binary() | st.just(b"1.0")), max_size=8)


def fits_the_database(part: Any) -> bool:
    """Holds what one value must not break for a whole batch."""
    if isinstance(part, str):
        return len(part.encode()) <= 4 * 10_000 and not any(unicodedata.category(letter) == "Cc" for letter in part)
    if isinstance(part, dict):
        return all(fits_the_database(name) and fits_the_database(inner) for name, inner in part.items())
    if isinstance(part, list | tuple):
        return len(part) <= MAX_IDS and all(fits_the_database(inner) for inner in part)
    return getattr(part, "tzinfo", UTC) is UTC


def attempt(topic: Topic, source: Input, value: bytes | None, headers: Headers = ()) -> CloudEvent | Ignored | Rejected:
    try:
        result: CloudEvent | Ignored = decode(VOCABULARIES[topic], source, value, headers)
    except Rejected as rejected:
        return rejected
    return result


def assert_settled(topic: Topic, value: bytes | None, headers: Headers = ()) -> None:
    result = attempt(topic, Input(topic=topic, ignore=("*.ignored",)), value, headers)
    if isinstance(result, Rejected):
        assert str(result).isprintable()
        assert len(str(result)) < 250
    elif isinstance(result, CloudEvent):
        assert fits_the_database(result.model_dump())


@given(topic=st.sampled_from(list(VOCABULARIES)), value=st.none() | st.binary(), headers=HEADERS)
def test_any_bytes_with_any_headers(topic: Topic, value: bytes | None, headers: Headers) -> None:
    assert_settled(topic, value, headers)


@given(topic=st.sampled_from(list(VOCABULARIES)), tree=JSON, headers=HEADERS)
def test_any_json_with_any_headers(topic: Topic, tree: Any, headers: Headers) -> None:
    assert_settled(topic, json.dumps(tree).encode(), BINARY + list(headers))
    assert_settled(topic, json.dumps(tree).encode(), headers)


@given(sample=st.sampled_from(INBOUND), data=st.data())
def test_any_event_with_any_part_changed(sample: tuple[Topic, dict[str, Any]], data: st.DataObject) -> None:
    topic, tree = sample
    mutant = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(list(places(mutant))))
        if data.draw(st.booleans()):
            holder[key] = data.draw(JSON | st.text(st.sampled_from("\x00\x85 ä😀x"), max_size=600))
        elif isinstance(holder, dict) and data.draw(st.booleans()):
            holder[data.draw(st.text())] = holder.pop(key)

    assert_settled(topic, json.dumps(mutant, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass"))


@given(sample=st.sampled_from(INBOUND), data=st.data())
def test_any_event_with_any_bytes_changed(sample: tuple[Topic, dict[str, Any]], data: st.DataObject) -> None:
    topic, tree = sample
    value = json.dumps(tree).encode()
    at = data.draw(st.integers(0, len(value) - 1))
    assert_settled(topic, value[:at] + data.draw(st.binary(max_size=4)) + value[at + data.draw(st.integers(0, 4)) :])


# Secrets


CANARY = "CANARY"
PLANTED: list[Any] = [
    CANARY,
    f"{CANARY}\x00",
    f"{CANARY}\n\x1b[31m",
    CANARY * 200,
    f"fe80::1%{CANARY}",
    f"2026-11-21T{CANARY}",
    f"com.acme.{CANARY}",
    [CANARY],
    [CANARY, {CANARY: CANARY}],
    {CANARY: CANARY},
    {CANARY: {CANARY: [CANARY]}},
    {f"{CANARY}\x00": 1},
]


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each (container, key) below `tree`."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


def assert_silent(topic: Topic, value: bytes, headers: Headers = ()) -> bool:
    """Whether it was rejected; if so, without a trace of the canary."""
    source = Input(topic=topic, tenant="acme", source="login", types=("account-deleted",))
    result = attempt(topic, source, value, headers)
    if isinstance(result, Rejected):
        assert CANARY.lower() not in "".join(traceback.format_exception(result)).lower()
    return isinstance(result, Rejected)


@pytest.mark.parametrize(("topic", "tree"), INBOUND, ids=[f"{topic}-{tree['type']}" for topic, tree in INBOUND])
def test_a_rejection_repeats_nothing_of_the_record(topic: Topic, tree: dict[str, Any]) -> None:
    rejections = 0
    for number, _ in enumerate(places(tree)):
        for planted in PLANTED:
            mutant = copy.deepcopy(tree)
            holder, key = list(places(mutant))[number]
            holder[key] = planted
            rejections += assert_silent(topic, json.dumps(mutant).encode())
            if isinstance(holder, dict):
                holder[key] = tree  # wrong in shape, whatever belongs here
                holder[CANARY] = planted
                rejections += assert_silent(topic, json.dumps(mutant).encode())

    assert rejections > 100


@pytest.mark.parametrize("raw", [CANARY.encode(), b"CANARY\xff", b"CANARY" * 200, b"CANARY\n"])
def test_a_rejected_header_is_not_repeated(raw: bytes) -> None:
    for number, (name, _) in enumerate(BINARY):
        headers = [*BINARY[:number], (name, raw), *BINARY[number + 1 :]]
        assert_silent(Topic.IDENTITY_EVENTS, b"{}", headers)
        assert assert_silent(Topic.IDENTITY_EVENTS, b"{}", [*BINARY, (name, raw), (f"ce_{CANARY}", raw)])
    assert assert_silent(Topic.IDENTITY_EVENTS, raw)


def test_a_rejection_names_the_place() -> None:
    assert str(rejection(event(data={"keep": ["s-1", 7]}))) == "invalid: data.keep.1: Input should be a valid string"
    assert str(rejection(b"")) == "empty"


# What is refused


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (event() + b" " * (MAX_BYTES + 1 - len(event())), Reason.TOO_LARGE),
        (b"\xff\xfe", Reason.NOT_JSON),
        (b"\xef\xbb\xbf" + event(), Reason.NOT_JSON),
        (event()[:-1], Reason.NOT_JSON),
        (b"[" * 60_000, Reason.NOT_JSON),
        (event(subject="\ud800"), Reason.NOT_JSON),
        (event(x=float("nan")), Reason.NOT_JSON),
        (event(data={"x": float("-inf")}), Reason.NOT_JSON),
        (b"[]", Reason.INVALID),
        (b"null", Reason.INVALID),
        (b"{}", Reason.INVALID),
        (event(type=7), Reason.INVALID),
        (event(specversion="0.3"), Reason.INVALID),
        (event(subject=None), Reason.INVALID),
        (event(subject=""), Reason.INVALID),
        (event(subject="a\x00"), Reason.INVALID),
        (event(subject="a\x85"), Reason.INVALID),
        (event(subject="é" * (MAX_ID_BYTES // 2) + "x"), Reason.INVALID),
        (event(data={"keep": [str(number) for number in range(MAX_IDS + 1)]}), Reason.INVALID),
        (event(data={"reason_admin": "x\x07"}), Reason.INVALID),
        (event(data="keep=s-1"), Reason.INVALID),
        (event(type="password-chnaged"), Reason.UNKNOWN_TYPE),
        (event(type="com.acme."), Reason.UNKNOWN_TYPE),
        (event(type="com.acme.session-established"), Reason.UNKNOWN_TYPE),
        (event(type="com.acme.password-changed", id=""), Reason.INVALID),
    ],
)
def test_refused(value: bytes | None, expected: Reason) -> None:
    assert reason(value) is expected


@pytest.mark.parametrize(
    "value",
    [
        event(subject="é" * (MAX_ID_BYTES // 2)),
        event(subject="x" * MAX_ID_BYTES),
        event(data={"keep": [str(number) for number in range(MAX_IDS)]}),
        event(x="NaN, Infinity"),
        event(x=10**400),
        event()[:-1] + b', "id": "e-2"}',
        event() + b" " * (MAX_BYTES - len(event())),
    ],
)
def test_just_good_enough(value: bytes) -> None:
    assert decoded(value).data.keep


def test_null_is_absent_in_the_envelope_and_in_data() -> None:
    without_data = {name: value for name, value in EVENT.items() if name != "data"}

    assert decoded(event(data={"keep": None}, tenant=None)) == decoded(event(data={}))
    assert decoded(event(data=None)) == decoded(json.dumps(without_data).encode())
    assert reason(event(data={"keep": [None]})) is Reason.INVALID


def test_data_in_base64_is_not_taken_for_no_data() -> None:
    without_data = {name: value for name, value in EVENT.items() if name != "data"}

    assert reason(json.dumps(without_data | {"data_base64": "e30="}).encode()) is Reason.INVALID
    assert decoded(event(data_base64="e30=")).data.keep == ("s-1",)


# Headers


def test_binary_mode_reads_attributes_from_headers_and_looks_at_no_other_header() -> None:
    headers = [("reply_to", b"\xff"), ("ce_colour", None), ("CE_Tenant", b"acme"), ("x", b"1"), ("x", b"2"), *BINARY]

    assert decoded(b'{"keep":["s-1"]}', headers) == decoded(event(tenant="acme"))


@pytest.mark.parametrize(
    ("value", "header", "expected"),
    [
        (b"{}", ("ce_id", b"e-2"), Reason.BAD_HEADER),
        (b"{}", ("ce_tenant", None), Reason.BAD_HEADER),
        (b"{}", ("ce_tenant", b"\xff"), Reason.BAD_HEADER),
        (b"{}", ("ce_tenant", b"x" * (MAX_ID_BYTES + 1)), Reason.BAD_HEADER),
        (b"{}", ("content-type", b"application/avro"), Reason.BAD_HEADER),
        (b"{bad", ("x", b""), Reason.NOT_JSON),
        (b'{"x":NaN}', ("x", b""), Reason.NOT_JSON),
        (b"{}", ("ce_tenant", b"a\nb"), Reason.INVALID),
        (b"{}", ("ce_time", b"17000000"), Reason.INVALID),
        (event(), ("content-type", b"Application/CloudEvents-batch+json"), None),
    ],
)
def test_headers_of_binary_mode(value: bytes, header: tuple[str, bytes | None], expected: Reason | None) -> None:
    headers = [*BINARY, header]

    if expected is None:
        assert decoded(value, headers) == decoded(value)
    else:
        assert reason(value, headers) is expected


@pytest.mark.parametrize("content_type", [b"text/html", b"\xff", b"", None, b"application/json"])
def test_structured_mode_ignores_the_content_type(content_type: bytes | None) -> None:
    assert decoded(event(), [("content-type", content_type)]) == decoded(event())


def test_binary_mode_is_told_by_the_version_alone() -> None:
    assert decoded(event(), [("ce_id", b"e-9"), ("ce_type", b"email-changed")]) == decoded(event())
    assert reason(b"{}", [header for header in BINARY if header[0] != "ce_id"]) is Reason.INVALID
    assert reason(b"{}", [header for header in BINARY if header[0] != "ce_specversion"]) is Reason.INVALID


@pytest.mark.parametrize("content_type", [b"", None])
def test_binary_mode_without_a_content_type_is_json(content_type: bytes | None) -> None:
    assert decoded(b'{"keep":["s-1"]}', [("content-type", content_type), *BINARY[1:]]) == decoded(event())


# What the input says


def test_the_types_that_an_input_allows() -> None:
    only = Input(topic="hr", types=("account-disabled", "password-changed"))

    assert decoded(event(type="com.acme.password-changed"), source=only).type == "password-changed"
    assert reason(event(type="email-changed"), source=only) is Reason.TYPE_NOT_ALLOWED
    assert reason(event(type="com.acme.email-changed"), source=only) is Reason.TYPE_NOT_ALLOWED


@pytest.mark.parametrize(
    ("type_", "ignored"),
    [
        ("com.acme.user.signed-in", True),
        ("email-changed", True),
        ("com.other.email-changed", True),
        ("password-changed", False),
    ],
)
def test_the_types_that_an_input_ignores(type_: str, *, ignored: bool) -> None:
    source = Input(topic="login", ignore=("com.acme.user.*", "email-*"), types=("password-changed",))

    assert isinstance(decode(IDENTITY, source, event(type=type_)), Ignored) is ignored


def test_an_ignored_type_may_be_invalid_and_is_shown_without_control_characters() -> None:
    source = Input(topic="login", ignore=("noise*",))

    assert decode(IDENTITY, source, b'{"type":"noise\\n"}') == Ignored("noise?")


def test_a_topic_bound_to_a_tenant_speaks_for_no_other() -> None:
    bound = Input(topic="login", tenant="acme")

    assert decoded(event(), source=bound).tenant == "acme"
    assert decoded(event(tenant=None), source=bound).tenant == "acme"
    assert decoded(event(tenant="acme"), source=bound).tenant == "acme"
    assert reason(event(tenant="other"), source=bound) is Reason.WRONG_TENANT
    assert reason(event(tenant=""), source=bound) is Reason.WRONG_TENANT
    assert decoded(event(tenant="other")).tenant == "other"


def test_a_topic_bound_to_a_tenant_orders_for_no_other() -> None:
    bound = Input(topic="orders", tenant="acme")

    def order(**selector: str | bool) -> bytes:
        data = {"selector": selector, "until": "2026-11-21T09:00:00Z"}
        return json.dumps(EVENT | {"type": "hold-placed", "tenant": "acme", "data": data}).encode()

    for value in (order(everyone=True), order(everyone=True, tenant="acme")):
        hold = decode(ORDERS, bound, value)
        assert isinstance(hold, HoldOrdered)
        assert hold.data.selector.tenant == "acme"
    with pytest.raises(Rejected, match="wrong-tenant"):
        decode(ORDERS, bound, order(everyone=True, tenant="other"))
    lift = EVENT | {"type": "hold-lifted", "data": {"hold_id": "h-1"}}
    assert isinstance(decode(ORDERS, bound, json.dumps(lift).encode()), HoldLiftOrdered)


def test_a_topic_bound_to_a_source_speaks_as_no_other() -> None:
    assert decoded(event(), source=Input(topic="login", source="login")).source == "login"
    assert reason(event(), source=Input(topic="login", source="hr")) is Reason.WRONG_SOURCE


def test_report_only_is_the_consumers_business() -> None:
    assert decoded(event(), source=Input(topic="login", mode=Mode.REPORT_ONLY)) == decoded(event())


# The way back


def test_what_is_encoded_says_what_the_sender_said() -> None:
    message = PasswordChanged(
        specversion="1.0", id="e-1", source="login", type="password-changed", subject="é", time=None
    )

    assert (
        encode(message)
        == '{"specversion":"1.0","id":"e-1","source":"login","subject":"é","type":"password-changed"}'.encode()
    )
