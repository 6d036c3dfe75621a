"""`Prefer: wait` and `until`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from revoker.api.prefer import MOST_SECONDS, NO_WAIT, Waiting, waiting
from revoker.api.problems import ProblemError


def request(*prefer: str, query: str = "") -> Request:
    headers = [(b"prefer", one.encode("latin-1", "replace")) for one in prefer]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": query.encode(), "headers": headers})


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (["wait=5"], 5),
        (["WAIT = 7"], 7),
        (['wait="5"'], 5),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=3"], 3),
        (["wait=4; strict, wait=9"], 4),
        (["foo; a=b, wait=2"], 2),
        (["wait=1000"], MOST_SECONDS),
        (["wait=0"], 0),
    ],
)
def test_the_first_wait_counts(prefer: list[str], seconds: int) -> None:
    found = waiting(request(*prefer))

    assert found == Waiting(seconds=seconds, preferred=True)
    assert found.headers() == {"Preference-Applied": f"wait={seconds}"}


@pytest.mark.parametrize("prefer", [[], ["wait"], ["wait="], ["wait=-1"], ["wait=1.5"], ["wait=x"], ["await=5"], ["="]])
def test_what_is_no_wait_is_ignored(prefer: list[str]) -> None:
    assert waiting(request(*prefer)) == NO_WAIT
    assert waiting(request(*prefer), Waiting(seconds=2.0)).seconds == 2
    assert not waiting(request(*prefer)).headers()


@given(st.text())
def test_no_header_breaks_it(text: str) -> None:
    assert 0 <= waiting(request(text)).seconds <= MOST_SECONDS


def test_until_is_one_of_two() -> None:
    assert waiting(request("wait=5", query="until=enforced")).until == "enforced"
    assert waiting(request(query="until=committed")).until == "committed"
    with pytest.raises(ProblemError) as refused:
        waiting(request(query="until=done"))
    assert refused.value.status == 400
