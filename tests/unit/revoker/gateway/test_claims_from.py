"""Who a request says it is: everything that the application could believe, and never an exception."""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoker.core.claims import to_credential
from revoker.gateway import SessionClaims, bearer_claims, hashed_cookie_claims, header_claims
from revoker.gateway.asgi_guard import Scope
from revoker.gateway.wsgi import scope_of

CLAIMS = {"sub": "alice", "sid": "s-1", "azp": "web", "jti": "t-1", "auth_time": 1_700_000_000, "iat": 1_700_000_100}
ALICE = SessionClaims(
    subject="alice",
    session_id="s-1",
    client_id="web",
    token_id="t-1",
    key_id="k-1",
    established_at=1_700_000_000,
    issued_at=1_700_000_100,
)


def jwt(claims: object = CLAIMS, head: object = None) -> str:
    parts = (head if head is not None else {"alg": "RS256", "kid": "k-1"}, claims)
    return ".".join([*(_base64(json.dumps(part).encode()) for part in parts), "c2lnbmF0dXJl"])


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def scope(*headers: tuple[str, str], **more: Any) -> Scope:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "headers": encoded, "query_string": b"", **more}


@pytest.mark.parametrize("value", [f"Bearer {jwt()}", f"bearer  {jwt()} ", f"JWT {jwt()}", jwt()])
def test_a_token_is_read_from_the_header(value: str) -> None:
    assert bearer_claims()(scope(("Authorization", value))) == (ALICE,)


@pytest.mark.parametrize(
    "value", [jwt(), f'"{jwt()}"', f"{jwt()} ", jwt().replace(".", "%2E"), jwt().replace("e", "%65")]
)
def test_a_token_is_read_from_a_cookie(value: str) -> None:
    identify = bearer_claims(cookie="session")

    assert identify(scope(("cookie", f"theme=dark; session={value}; sessions=x"))) == (ALICE,)


def test_a_token_is_read_from_elsewhere_only_if_asked() -> None:
    asked = bearer_claims(subprotocol=True, query="access_token", cookie="session", header="x-token")
    places = [
        scope(subprotocols=["chat", f"bearer.{jwt()}"]),
        scope(query_string=f"a=b&access_token={jwt()}".encode()),
        scope(("cookie", f"session={jwt()}")),
        scope(("x-token", jwt())),
    ]

    assert [asked(place) for place in places] == [(ALICE,)] * 4
    assert [bearer_claims()(place) for place in places] == [()] * 4
    assert asked(scope(("authorization", f"Bearer {jwt()}"))) == ()


def test_nobody_gets_past_by_showing_another_token_too() -> None:
    other = jwt(CLAIMS | {"sub": "mallory", "sid": "made-up"})
    identify = bearer_claims(cookie="session")

    for shown in (
        scope(("cookie", f"session={jwt()}"), ("authorization", f"Bearer {other}")),
        scope(("cookie", f"session={jwt()}; session={other}")),
        scope(("cookie", f"session={other}"), ("cookie", f"session={jwt()}")),
        scope(("authorization", f"Bearer {other}"), ("authorization", f"Bearer {jwt()}")),
    ):
        assert ALICE in identify(shown)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"jti": "t-1"}, SessionClaims(token_id="t-1")),
        ({"sub": 42}, SessionClaims(subject="42")),
        ({"sub": "a", "client_id": "mobile"}, SessionClaims(subject="a", client_id="mobile")),
        ({"sub": "a", "azp": "web", "client_id": "mobile"}, SessionClaims(subject="a", client_id="web")),
        ({"sub": "a", "auth_time": 1.5, "exp": 9}, SessionClaims(subject="a", established_at=1.5, expires_at=9)),
        ({"sub": "a", "tid": "acme"}, SessionClaims(subject="a", tenant="acme")),
        ({"sub": "a", "auth_time": "soon", "iat": True, "exp": -1}, SessionClaims(subject="a")),
        ({"sub": "a", "auth_time": 1e30, "sid": "", "azp": None, "jti": []}, SessionClaims(subject="a")),
        ({"sub": "", "sid": None}, None),
        ({}, None),
        ([], None),
        ("alice", None),
    ],
)
def test_what_the_claims_of_a_token_mean(claims: object, expected: SessionClaims | None) -> None:
    identify = bearer_claims(tenant_claim="tid")

    assert identify(scope(("authorization", f"Bearer {jwt(claims, {})}"))) == (() if expected is None else (expected,))


def test_the_names_of_claims_can_be_told() -> None:
    identify = bearer_claims(
        tenant="acme", session_claim="session", client_claims=["app"], established_claim="login_time"
    )
    claims = {"sub": "a", "session": "s", "app": "web", "login_time": 5, "sid": "x", "azp": "y", "auth_time": 6}

    assert identify(scope(("authorization", jwt(claims, {})))) == (
        SessionClaims(tenant="acme", subject="a", session_id="s", client_id="web", established_at=5),
    )


@pytest.mark.parametrize(
    "token",
    ["", "Bearer", "Bearer x", "Basic YTpi", "a.b", "a.b.c", "..", "...", "é.é.é", f"{'['*99}.{'a'*99}.", "a." * 5000,
     f"a.{_base64(b'[' * 100_000)}.c", f"a.{_base64(b'{') }.c", f"a.{_base64(bytes([255, 254]))}.c"],
)  # fmt: skip
def test_junk_is_nobody(token: str) -> None:
    identify = bearer_claims(cookie="session", subprotocol=True, query="t")

    assert identify(scope(("authorization", token), ("cookie", f"session={token}"), subprotocols=[token])) == ()


@given(st.binary(max_size=200), st.binary(max_size=200), st.dictionaries(st.text(max_size=5), st.integers()))
def test_nothing_that_a_client_sends_raises(header: bytes, cookie: bytes, claims: Mapping[str, int]) -> None:
    shown: Scope = {
        "type": "websocket",
        "headers": [(b"authorization", header), (b"cookie", b"session=" + cookie), (b"cookie", cookie)],
        "query_string": header,
        "subprotocols": [cookie.decode("latin-1"), jwt(claims)],
    }

    for identify in (
        bearer_claims(cookie="session", subprotocol=True, query="t"),
        hashed_cookie_claims(cookie="session"),
        header_claims(),
    ):
        identify(shown)


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none()))
def test_every_time_that_is_taken_can_be_compared(value: object) -> None:
    for claims in bearer_claims()(scope(("authorization", jwt({"sub": "a", "auth_time": value, "iat": value})))):
        to_credential(claims)
        to_credential(claims, iat_is_login=True)


# Cookies that mean nothing by themselves


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (r'"a\142c"', "abc"),
        (r'"a\"c"', 'a"c'),
        ("s%3Aabc.def", "s:abc.def"),
        ("s%3Aabc.def", "s%3Aabc.def"),
        (" abc ", "abc"),
    ],
)
def test_a_cookie_is_known_by_its_digest_in_every_spelling(sent: str, value: str) -> None:
    found = hashed_cookie_claims(cookie="sessionid", tenant="acme")(scope(("cookie", f"a=b;sessionid={sent};c=d")))

    assert SessionClaims(tenant="acme", session_id=hashlib.sha256(value.encode()).hexdigest()) in found


def test_no_cookie_is_nobody() -> None:
    identify = hashed_cookie_claims(cookie="sessionid")

    assert [identify(scope(("cookie", text))) for text in ("", "sessionid", "sessionid=", "Sessionid=a", "a=b")] == [
        ()
    ] * 5
    assert identify(scope()) == ()


# What a proxy has verified


def test_headers_are_read_as_check_writes_them() -> None:
    told = scope(("x-revoker-subject", "100%25 J%C3%BCrgen"), ("x-revoker-session", "s-1"))

    assert header_claims()(told) == SessionClaims(subject="100% Jürgen", session_id="s-1")


def test_the_headers_of_a_proxy_are_read() -> None:
    names = {"subject": "alice", "session": "s-1", "tenant": "acme", "client": "web", "token": "t-1", "key": "k-1"}
    more = {"device": "d-1", "ip": "192.0.2.1", "established-at": "2026-11-21T09:00:00.5Z"}
    told = scope(*((f"X-Revoker-{name}", value) for name, value in (names | more).items()))

    assert header_claims()(told) == SessionClaims(
        subject="alice",
        session_id="s-1",
        tenant="acme",
        client_id="web",
        token_id="t-1",
        key_id="k-1",
        device_id="d-1",
        ip="192.0.2.1",
        established_at=datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [("5", 5), ("5.5", 5.5), ("nan", None), ("-5", None), ("2026-11-21T09:00:00", None), ("soon", None), ("", None)],
)
def test_a_time_that_says_too_little_is_none(text: str, moment: float | None) -> None:
    claims = header_claims("x-")(scope(("x-subject", "a"), ("x-established-at", text)))

    assert claims is not None
    assert claims.established_at == moment


def test_a_request_without_a_name_is_nobody() -> None:
    assert header_claims()(scope(("x-revoker-tenant", "acme"), ("x-revoker-subject", " "))) is None


# WSGI


def test_a_wsgi_request_is_read_the_same_way() -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/caf\u00c3\u00a9",
        "QUERY_STRING": f"t={jwt()}",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_AUTHORIZATION": f"Bearer {jwt()}",
        "HTTP_COOKIE": f"session={jwt()}",
    }
    made = scope_of(environ)

    assert bearer_claims(cookie="session", query="t")(made) == (ALICE,)
    assert (made["path"], made["client"]) == ("/app/café", ("192.0.2.7", 0))
