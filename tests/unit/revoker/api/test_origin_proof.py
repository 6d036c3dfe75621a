"""Whose page sent a request."""

import pytest
from starlette.requests import Request

from revoker.api.origin_proof import From, OriginProof
from revoker.api.problems import ProblemError
from revoker.settings import HttpSettings


def request(method: str = "POST", host: str = "sessions.example", **headers: str) -> Request:
    told = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in told.items()]
    return Request({"type": "http", "method": method, "path": "/logout", "query_string": b"", "headers": raw})


OURS = [
    {"sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
    {"origin": "https://sessions.example"},
    {"origin": "http://sessions.example"},
    {"origin": "https://sessions.example:443"},
    {"origin": "HTTPS://Sessions.Example"},
    {"referer": "https://sessions.example/devices?x=https://evil.example"},
    {"origin": "https://app.example", "sec_fetch_site": "same-site"},
    {"origin": "https://app.example", "sec_fetch_site": "cross-site"},
    {"referer": "https://app.example/"},
]
ELSEWHERE = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "cross-site", "origin": "https://sessions.example"},
    {"sec_fetch_site": "same-site", "referer": "https://sessions.example/"},
    {"sec_fetch_site": "Same-Origin"},
    {"sec_fetch_site": "same-origin, cross-site"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://evil.example"},
    {"origin": "https://sessions.example.evil.example"},
    {"origin": "https://sessions.example@evil.example"},
    {"origin": "https://evil.example/https://sessions.example"},
    {"origin": "https://sessions.example:8443"},
    {"origin": "http://app.example"},
    {"origin": "null", "referer": "https://sessions.example/"},
    {"origin": "https://sessions.example:x"},
    {"origin": "file://sessions.example"},
    {"referer": "https://evil.example/?https://sessions.example/"},
    {"referer": "sessions.example"},
]


@pytest.fixture
def proof() -> OriginProof:
    return OriginProof(HttpSettings(origins=("https://app.example",)))


@pytest.mark.parametrize("headers", OURS)
def test_a_page_of_ours_is_believed(proof: OriginProof, headers: dict[str, str]) -> None:
    assert proof.whence(request(**headers)) is From.OURS
    proof.demand(request(**headers))


@pytest.mark.parametrize("headers", ELSEWHERE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_page_is_not(proof: OriginProof, headers: dict[str, str], method: str) -> None:
    assert proof.whence(request(**headers)) is From.ELSEWHERE
    with pytest.raises(ProblemError) as refused:
        proof.demand(request(method, **headers))
    assert refused.value.status == 403


def test_who_says_nothing_may_only_read(proof: OriginProof) -> None:
    assert proof.whence(request()) is From.UNKNOWN
    proof.demand(request("GET"))
    for method in ("POST", "DELETE", "PUT", "PATCH", "post"):
        with pytest.raises(ProblemError):
            proof.demand(request(method))


def test_two_origins_are_none(proof: OriginProof) -> None:
    twice = [(b"host", b"sessions.example"), (b"origin", b"https://app.example"), (b"origin", b"https://app.example")]
    both = Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": twice})

    assert proof.whence(both) is From.ELSEWHERE


def test_behind_a_proxy_that_changes_the_host_the_public_address_counts() -> None:
    proof = OriginProof(HttpSettings(public_url="https://sessions.example/base"))

    assert proof.whence(request(host="10.0.0.7:8080", origin="https://sessions.example")) is From.OURS
    assert proof.whence(request(host="10.0.0.7:8080", origin="http://sessions.example")) is From.ELSEWHERE
    assert proof.whence(request(host="evil.example", origin="https://evil.example")) is From.ELSEWHERE


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://App.example", "*", "null", "ws://a"]
)
@pytest.mark.parametrize("key", ["origins", "cors_origins"])
def test_only_origins_are_origins(key: str, origin: str) -> None:
    with pytest.raises(ValueError, match="an origin is"):
        HttpSettings.model_validate({key: [origin]})
