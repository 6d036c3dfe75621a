"""The gateway's index by example; its laws are held by tests/conformance/test_gateway_index.py."""

import random
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from revoker.core.claims import SessionClaims, from_micros, micros
from revoker.core.index import Index, IndexFull
from revoker.core.verdicts import Hold, Revocation
from revoker.core.wire import (
    HoldLiftedNotice,
    HoldPlacedNotice,
    NamedSession,
    NamedToken,
    SessionEndedNotice,
    WireSelector,
)
from tests.factories import NOW, after

ALICE = WireSelector(tenant="", subject="alice")
BEFORE, LATER = after(hours=-1), after(hours=1)
DAY = 86_400
_chance = random.Random(7)


def ended(selector: WireSelector | None = ALICE, *, until: datetime | None = None, **given: Any) -> SessionEndedNotice:
    """A password change of alice, now."""
    not_before = micros(given.pop("not_before", NOW))
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant": "",
        "subject": selector.subject if selector else None,
        "revocation_id": new_id(),
        "cause": "password-changed",
        "initiator": "user",
        "reason_user": {"en": "Your password was changed"},
        "kind": "ended",
        "selector": selector,
        "not_before": not_before,
        "keep": (),
        "keep_clients": (),
        "requested_at": not_before,
        "committed_at": not_before,
        "sessions": (),
        "tokens": (),
        "covers_until": micros(until or NOW + timedelta(days=30)),
    }
    return SessionEndedNotice(**values | given)


def placed(selector: WireSelector = ALICE, hold_id: str = "h-1", until: datetime | None = None) -> HoldPlacedNotice:
    return HoldPlacedNotice(
        id=new_id(),
        tenant="",
        subject=None,
        hold_id=hold_id,
        selector=selector,
        until=micros(until or LATER),
        reason_user={"en": "wait"},
    )


def lifted(hold_id: str = "h-1", at: datetime = NOW) -> HoldLiftedNotice:
    return HoldLiftedNotice(id=new_id(), tenant="", subject=None, hold_id=hold_id, at=micros(at))


def claims(subject: str | None = "alice", established_at: Any = BEFORE, **known: Any) -> SessionClaims:
    return SessionClaims(
        **{"subject": subject, "session_id": "s-1", "client_id": "web", "established_at": established_at} | known
    )


def new_id() -> str:
    return str(uuid.UUID(int=_chance.getrandbits(128)))


def index_of(*notices: Any, **options: Any) -> Index:
    index = Index(**options)
    for notice in notices:
        index.apply(notice)
    return index


def seconds(moment: datetime) -> float:
    return moment.timestamp()


# What it says.


def test_the_verdict_tells_which_revocation_and_why() -> None:
    notice = ended(sessions=(NamedSession("s-1"),), reason_user={"de": "Ihr Passwort wurde geändert"})
    found = index_of(notice).find(claims())

    assert found == notice.revocation
    assert isinstance(found, Revocation)
    assert (found.cause, found.requested_at) == ("password-changed", NOW)
    assert found.reason_user == {"de": "Ihr Passwort wurde geändert"}


@pytest.mark.parametrize("id_", ["r-1", "x" * 512, "0B0F6D1E-6A0F-5F0E-8A55-3D1C0A4F1D42", "0" * 32, "\u00e9" * 32])
def test_a_revocation_keeps_its_id_whatever_it_looks_like(id_: str) -> None:
    found = index_of(ended(revocation_id=id_)).find(claims())

    assert found is not None
    assert found.id == id_


def test_words_that_many_share_are_kept_once() -> None:
    index = index_of(*(ended(WireSelector(tenant="", subject=name), reason_user={"en": "why"}) for name in "ab"))
    one, other = index.find(claims("a")), index.find(claims("b"))

    assert one is not None
    assert other is not None
    assert one.reason_user is other.reason_user


# Who is over.


def test_two_that_keep_different_sessions_end_both() -> None:
    index = index_of(ended(keep=("s-1",)), ended(keep=("s-2",), not_before=after(seconds=1)))

    assert index.find(claims(session_id="s-1"))
    assert index.find(claims(session_id="s-2"))
    assert index.find(claims(session_id="s-1", established_at=after(seconds=2))) is None


def test_a_chain_is_no_longer_than_it_has_to_be() -> None:
    index = Index()
    for step in range(2_000):
        index.apply(ended(keep=(f"s-{step % 50}",), not_before=after(seconds=step), until=after(days=30, seconds=step)))

    assert index.size_bytes < 1_500_000
    last = after(seconds=1_999)
    assert index.find(claims(session_id="s-49", established_at=last)) is None
    assert index.find(claims(session_id="s-49", established_at=after(seconds=1_998)))
    assert index.find(claims(session_id="s-48", established_at=last))


@pytest.mark.parametrize(("client_id", "over"), [("web", True), ("app", False), ("", False), (None, True)])
def test_one_client_s_part_of_a_sign_in_falls_alone(client_id: str | None, over: bool) -> None:  # noqa: FBT001 - what a table expects
    by_predicate = WireSelector(tenant="", subject="alice", session_id="s-1", client_id="web")
    for notice in (ended(by_predicate), ended(None, subject="alice", sessions=(NamedSession("s-1", "web"),))):
        assert (index_of(notice).find(claims(client_id=client_id)) is not None) is over


def test_a_sign_in_without_clients_falls_as_a_whole_but_for_kept_clients() -> None:
    index = index_of(ended(None, subject="alice", sessions=(NamedSession("s-1"),), keep_clients=("tv",)))

    assert index.find(claims(client_id="web"))
    assert index.find(claims(client_id=None))
    assert index.find(claims(client_id="tv")) is None


def test_the_kept_client_of_a_later_one_does_not_save_it_from_an_earlier() -> None:
    index = index_of(ended(), ended(keep_clients=("tv",), not_before=LATER, until=after(days=40)))

    assert index.find(claims(client_id="tv"))
    assert index.find(claims(client_id="tv", established_at=after(minutes=1))) is None
    assert index.find(claims(client_id="web", established_at=after(minutes=1)))


def test_what_is_named_and_kept_is_kept() -> None:
    selector = WireSelector(tenant="", subject="alice", session_id=("s-1", "s-2"), client_id="web")

    assert index_of(ended(selector, keep_clients=("web",))).find(claims()) is None
    assert index_of(ended(selector, keep=("s-1",))).find(claims()) is None
    assert index_of(ended(selector, keep=("s-1",))).find(claims(session_id="s-2"))


def test_a_shorter_announcement_does_not_shadow_a_longer_one_of_fewer_clients() -> None:
    some = ended(None, subject="alice", sessions=(NamedSession("s-1"),), keep_clients=("tv",), until=after(days=9))
    every = ended(None, subject="alice", sessions=(NamedSession("s-1"),), until=after(days=5))
    for index in (index_of(some, every), index_of(every, some)):
        assert index.find(claims(client_id="tv"), seconds(after(days=4)))
        assert index.find(claims(client_id="tv"), seconds(after(days=6))) is None
        assert index.find(claims(client_id="web"), seconds(after(days=6)))


def test_equal_session_ids_of_two_subjects_are_two_sessions() -> None:
    index = index_of(ended(WireSelector(tenant="", subject="alice", session_id="s-1")))

    assert index.find(claims("alice"))
    assert index.find(claims("bob")) is None
    assert index.find(claims("alice", tenant="acme")) is None
    assert index.find(claims(None)), "whose it is may not be known"


def test_a_session_named_without_its_subject() -> None:
    index = index_of(ended(WireSelector(tenant="", session_id=("s-1", "s-2"))))

    assert index.find(claims("bob", session_id="s-2"))
    assert index.find(claims(None))
    assert index.find(claims("bob", session_id="s-3")) is None


def test_rows_of_a_wide_revocation_name_whom_the_gateway_cannot_see() -> None:
    wide = WireSelector(tenant="", device_id="d-1")
    index = index_of(ended(wide), ended(wide, kind="rows", sessions=(NamedSession("s-1", "web", "alice"),)))

    assert index.find(claims())
    assert index.find(claims("bob")) is None
    assert index.find(claims("bob", session_id="s-9", device_id="d-1"))


def test_tokens_fall_by_name_alone() -> None:
    loose = ended(None, subject="alice", tokens=(NamedToken("t-2"),), keep_clients=("tv",))
    index = index_of(ended(WireSelector(tenant="", subject="alice", token_id="t-1")), loose)

    assert index.find(claims(session_id=None, token_id="t-1", established_at=LATER))
    assert index.find(claims(token_id="t-2", client_id="tv"))
    assert index.find(claims(token_id="t-3")) is None
    assert index.find(claims("bob", token_id="t-1")) is None


def test_a_selector_of_a_later_version_matches_nobody_but_its_ids_count() -> None:
    index = index_of(ended(None, subject="alice", sessions=(NamedSession("s-2"),)))

    assert index.find(claims()) is None
    assert index.find(claims(session_id="s-2"))


# When it began.

WHOLE = int(NOW.timestamp())
HALF = NOW + timedelta(milliseconds=500)


@pytest.mark.parametrize(
    ("established_at", "with_id", "without"),
    [
        (None, False, True),
        (WHOLE - 1, True, True),
        (WHOLE, False, True),  # some moment in the second in which the bound lies
        (WHOLE + 1, False, False),
        (float(WHOLE), True, True),
        (WHOLE + 0.5, True, True),
        (WHOLE + 0.500001, False, False),
        (HALF, True, True),
        (HALF + timedelta(microseconds=1), False, False),
        (float("inf"), False, True),
        (float("nan"), False, True),
    ],
)
def test_a_time_that_is_not_known_to_the_point(established_at: Any, with_id: bool, without: bool) -> None:  # noqa: FBT001 - as above
    index = index_of(ended(not_before=HALF))

    assert (index.find(claims(established_at=established_at)) is not None) is with_id
    assert (index.find(claims(established_at=established_at, session_id=None)) is not None) is without


def test_the_issue_of_a_token_is_the_sign_in_only_where_that_is_said() -> None:
    known = claims(established_at=None, issued_at=WHOLE - 1)

    assert index_of(ended()).find(known) is None
    assert index_of(ended(), iat_is_login=True).find(known)
    assert index_of(ended(), iat_is_login=True).find(claims(established_at=WHOLE + 9, issued_at=WHOLE - 1)) is None


# Wide ones.

ATTRIBUTES: list[tuple[WireSelector, dict[str, Any], dict[str, Any]]] = [
    (WireSelector(tenant="", client_id="web"), {}, {"client_id": "app"}),
    (WireSelector(tenant="", device_id="d-1"), {"device_id": "d-1"}, {}),
    (WireSelector(tenant="", key_id="k-1"), {"key_id": "k-1", "established_at": LATER}, {"key_id": "k-2"}),
    (WireSelector(ip_network="203.0.113.0/24"), {"ip": "203.0.113.9"}, {"ip": "203.0.114.0"}),
    (WireSelector(ip_network="203.0.113.0/24"), {"ip": "::ffff:203.0.113.9"}, {"ip": "not an address"}),
    (WireSelector(ip_network="2001:db8::/32"), {"ip": "2001:db8::1"}, {"ip": "2001:db9::1"}),
    (WireSelector(ip_network="::/0"), {"ip": "::1"}, {"ip": "203.0.113.9"}),
    (WireSelector(ip_network="0.0.0.0/0"), {"ip": "203.0.113.9"}, {"ip": "::1"}),
    (WireSelector(labels={"a": "1", "b": "2"}), {"labels": {"a": "1", "b": "2", "c": "3"}}, {"labels": {"a": "1"}}),
    (WireSelector(tenant="", everyone=True), {}, {"tenant": "acme"}),
    (WireSelector(everyone=True), {"tenant": "acme"}, {"established_at": LATER}),
    (WireSelector(established_after=after(hours=-2)), {}, {"established_at": after(hours=-3)}),
    (WireSelector(subject="alice"), {"tenant": "acme"}, {"subject": "bob"}),
    (WireSelector(tenant="", subject="alice", client_id="web"), {}, {"client_id": "app"}),
    (WireSelector(session_id="s-1"), {"tenant": "acme"}, {"session_id": "s-2"}),
    (WireSelector(tenant="", token_id="t-1", client_id="web"), {"token_id": "t-1"}, {"token_id": "t-2"}),
]


@pytest.mark.parametrize(("selector", "meant", "other"), ATTRIBUTES)
def test_each_attribute(selector: WireSelector, meant: dict[str, Any], other: dict[str, Any]) -> None:
    crowd = [ended(each) for each, *_ in ATTRIBUTES if each != selector and each.device_id]
    index = index_of(*crowd, ended(selector), placed(selector))

    assert isinstance(index.find(claims(**meant), seconds(NOW)), Revocation), "it comes before the hold"
    assert index_of(*crowd, ended(selector)).find(claims(**other)) is None
    assert isinstance(index_of(placed(selector)).find(claims(**meant), seconds(NOW)), Hold)


@pytest.mark.parametrize(
    ("shared", "meant", "other"),
    [
        ({"ip_network": "203.0.113.0/24"}, {"ip": "203.0.113.9"}, {"ip": "203.0.114.9"}),
        ({"session_id": "s-1"}, {}, {"session_id": "s-2"}),
        ({"labels": {"a": "1"}}, {"labels": {"a": "1"}}, {"labels": {"a": "2"}}),
        ({"client_id": "web"}, {}, {"client_id": "app"}),
    ],
)
def test_wherever_it_is_filed_all_that_it_names_counts(
    shared: dict[str, Any], meant: dict[str, Any], other: dict[str, Any]
) -> None:
    index = index_of(*(ended(WireSelector(tenant="", device_id=f"d-{number}", **shared)) for number in range(3)))

    for number in range(3):
        assert index.find(claims(device_id=f"d-{number}", **meant))
        assert index.find(claims(device_id=f"d-{number}", **other)) is None
    assert index.find(claims(device_id="d-9", **meant)) is None


def test_whoever_meets_a_thousand_of_them_is_compared_with_few() -> None:
    index = Index()
    for number in range(1_000):
        kinds: list[dict[str, Any]] = [
            {"client_id": f"c-{number}"},
            {"device_id": f"d-{number}"},
            {"ip_network": f"10.{number % 256}.{number // 256}.0/24"},
            {"labels": {"build": str(number)}},
            {"client_id": "web", "key_id": f"k-{number}"},
            {"client_id": "web", "device_id": f"d-{number}"},
        ]
        index.apply(ended(WireSelector(**{"tenant": "acme"} | kinds[number % 6])))

    near = index._groups.near(claims(device_id="d-5", ip="10.2.0.1", labels={"build": "3"}, key_id="k-4"))
    assert index.counts().wide == 1_000
    assert 1 <= len(near) <= 6


# Holds.


def test_a_hold_refuses_new_and_old_and_its_end_lets_them_in_again() -> None:
    index = index_of(placed())

    for established_at in (BEFORE, NOW, None):
        assert index.find(claims(established_at=established_at), seconds(NOW)) == Hold(
            id="h-1", reason_user={"en": "wait"}, until=LATER
        )
    assert index.find(claims("bob"), seconds(NOW)) is None
    assert index.find(claims(), seconds(LATER)) is None
    index.apply(lifted(at=after(minutes=5)))
    assert index.find(claims(), seconds(after(minutes=4)))
    assert index.find(claims(), seconds(after(minutes=5))) is None
    assert index.find(claims()) is None


def test_a_lift_may_come_first_and_the_least_counts() -> None:
    index = index_of(lifted(at=after(minutes=9)), lifted(at=after(minutes=5)), lifted(at=after(minutes=7)), placed())

    assert index.find(claims(), seconds(after(minutes=4)))
    assert index.find(claims(), seconds(after(minutes=6))) is None


def test_one_of_two_holds_is_enough() -> None:
    index = index_of(placed(hold_id="h-1"), placed(hold_id="h-2"), lifted("h-1", BEFORE))
    found = index.find(claims(), seconds(NOW))

    assert found is not None
    assert found.id == "h-2"


def test_a_lifted_hold_that_is_announced_again_stays_lifted_until_it_expires() -> None:
    index = index_of(placed(), lifted(at=NOW), ended(WireSelector(tenant="", subject="bob"), until=after(minutes=20)))
    assert index.forget(seconds(after(minutes=30))) == 1

    assert index.apply(placed()) is None
    assert index.find(claims(), seconds(after(minutes=31))) is None
    index.forget(seconds(LATER))
    assert index.counts().holds == 0
    assert index.apply(placed()) is None


# What is told to the connections.


def test_hits_name_subjects_sessions_and_tokens() -> None:
    rows = (NamedSession("s-2", "web"), NamedSession("s-3", "app"))
    hit = Index().apply(ended(sessions=rows, tokens=(NamedToken("t-1"),)))

    assert hit is not None
    assert (set(hit.subjects), set(hit.session_ids), set(hit.token_ids), hit.wide) == (
        {("", "alice")},
        {("", "s-2"), ("", "s-3")},
        {("", "t-1")},
        False,
    )


def test_a_chunk_of_a_wide_revocation_hits_its_rows_alone() -> None:
    wide = WireSelector(tenant="", client_id="web")
    index = Index()
    first = index.apply(ended(wide))
    chunk = index.apply(ended(wide, kind="rows", sessions=(NamedSession("s-1", "web", "alice"),)))

    assert first is not None
    assert first.wide
    assert chunk is not None
    assert not chunk.wide
    assert (list(chunk.subjects), list(chunk.session_ids)) == ([("", "alice")], [("", "s-1")])


def test_a_second_part_is_news_a_second_copy_is_not() -> None:
    part = ended(sessions=(NamedSession("s-2"),))
    index = index_of(ended())

    assert index.apply(part) is not None
    assert index.apply(part) is None
    assert index.apply(ended()) is None


# How much it holds, and when it forgets.


def fill(index: Index) -> Iterator[str]:
    """Subjects, until it is full."""
    for number in range(10_000):
        selector = WireSelector(tenant="", subject=f"u-{number}")
        try:
            index.apply(ended(selector, sessions=(NamedSession(new_id()),)))
        except IndexFull:
            return
        yield f"u-{number}"


def test_it_is_full_loudly_and_forgets_nobody_for_it() -> None:
    index = Index(max_bytes=Index().size_bytes + 40_000)
    applied = list(fill(index))
    refused = f"u-{len(applied)}"

    assert 100 < len(applied) < 1_000
    with pytest.raises(IndexFull, match="bytes"):
        index.apply(ended(WireSelector(tenant="", subject=refused)))
    assert all(index.find(claims(name)) for name in applied)
    assert index.find(claims(refused)) is None
    for notice in (ended(WireSelector(tenant="", client_id="c")), placed(), lifted()):
        with pytest.raises(IndexFull):
            index.apply(notice)
    assert index.apply(ended(WireSelector(tenant="", subject=applied[0]))) is None, "what it knows it still knows"

    index.forget(seconds(NOW + timedelta(days=31)), limit=1_000_000)
    assert index.apply(ended(until=NOW + timedelta(days=60)))


def crowd(count: int, until: datetime) -> Iterator[SessionEndedNotice]:
    for number in range(count):
        name = f"u-{until:%d}-{number}"
        ids = tuple(NamedSession(f"{name}-s{each}") for each in range(3))
        yield ended(WireSelector(tenant="", subject=name), sessions=ids, tokens=(NamedToken(f"{name}-t"),), until=until)


def test_what_has_expired_goes_in_small_steps_and_nothing_else_does() -> None:
    soon, late = after(days=2), after(days=3)
    index = index_of(*crowd(2_000, soon), *crowd(2_000, late))
    full = index.size_bytes
    assert index.forget(seconds(soon) - 1) == 0
    assert len(index) == 4_000 * 5

    steps = 0
    gone = 0
    while gone < 2_000 * 5:
        done = index.forget(seconds(soon), limit=500)
        assert done <= 1_000
        gone += done
        steps += 1
    assert steps > 20
    index.forget(seconds(soon), limit=10**6)

    assert (index.counts().subjects, index.counts().sessions, index.counts().tokens) == (2_000, 6_000, 2_000)
    assert index._holdings.due == micros(late), "until then nothing is looked at again"
    assert index.size_bytes < full * 0.7 + Index().size_bytes
    for number in range(0, 2_000, 7):
        gone_name, name = f"u-{soon:%d}-{number}", f"u-{late:%d}-{number}"
        assert index.find(claims(gone_name, session_id=f"{gone_name}-s1")) is None
        assert index.find(claims(None, session_id=f"{name}-s2"))
        assert index.find(claims(None, session_id=None, token_id=f"{name}-t"))

    before = index.size_bytes
    index.forget(seconds(late), limit=10**6)
    for notice in crowd(1_000, after(days=9)):
        index.apply(notice)
    assert index.size_bytes < before, "what it gave up is used again"
    assert len(index) == 1_000 * 5


def test_what_has_expired_counts_no_more_even_before_it_is_dropped() -> None:
    index = index_of(ended(sessions=(NamedSession("s-1"),)))

    assert index.find(claims(), seconds(after(days=29)))
    assert index.find(claims(), seconds(after(days=30))) is None
    index.forget(seconds(after(days=30)), limit=0)
    assert index.find(claims()) is None
    assert index.apply(ended(WireSelector(tenant="", subject="bob"))) is None


def test_clear_forgets_everything() -> None:
    index = index_of(ended(), placed(), ended(WireSelector(everyone=True)))
    index.clear()

    assert len(index) == 0
    assert index.find(claims()) is None
    assert index.apply(ended())


@pytest.mark.parametrize("kept", [True, False])
def test_a_covered_session_takes_two_hundred_bytes_at_most(kept: bool) -> None:  # noqa: FBT001 - as above
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        index = Index()
        for _ in range(5_000 if kept else 20_000):
            subject = new_id()
            ids = [f"{_chance.getrandbits(128):032x}" for _ in range(4 if kept else 1)]
            selector = WireSelector(tenant="", subject=subject, session_id=None if kept else ids[0])
            index.apply(
                ended(
                    selector, keep=(new_id(),) if kept else (), sessions=tuple(NamedSession(id_, "web") for id_ in ids)
                )
            )
        used = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()

    sessions = index.counts().sessions
    assert sessions == 20_000
    assert used / sessions <= 200 + Index().size_bytes / sessions
    assert abs(index.size_bytes - used) < 0.2 * used, "it knows what it takes"


def test_nobody_who_is_over_is_let_in_while_another_thread_writes() -> None:
    index = index_of(*(ended(WireSelector(tenant="", session_id=f"s-{number}")) for number in range(500)))
    over = [claims(f"u-{number}", session_id=f"s-{number}") for number in range(500)]
    missed: list[SessionClaims] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            missed.extend(each for each in over if index.find(each) is None)

    threads = [threading.Thread(target=look) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        # Lists are dealt out anew, groups come and go, sweeps run.
        for number in range(6_000):
            index.apply(ended(WireSelector(tenant="", session_id=f"x-{number}"), until=after(seconds=number)))
            if number % 50 == 0:
                index.apply(ended(WireSelector(tenant="", device_id=f"d-{number}"), until=after(seconds=number + 9)))
                index.forget(seconds(NOW) + number, limit=3_000)
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()

    assert not missed


def test_claims_must_be_about_somebody() -> None:
    with pytest.raises(ValueError, match="no subject"):
        SessionClaims()
    with pytest.raises(ValueError, match="offset"):
        SessionClaims(subject="alice", established_at=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    assert from_micros(micros(1_700_000_000)) == from_micros(micros(1_700_000_000.0))
