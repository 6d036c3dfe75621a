"""What an answer means, how a web hook is signed, and how long anybody is waited for."""

import base64
import hmac
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.origins_patience import Trouble, gives_up, once_more
from revoker.core.revocation import Selector
from revoker.core.wire import decode_notice
from revoker.errors import ConfigurationError
from revoker.origins import kinds
from revoker.origins.concern import concerns
from revoker.origins.telling import LONGEST_WAIT_SECONDS, Because, NotTakenError, retry_after
from revoker.origins.webhook import signed
from revoker.settings_origins import OriginSettings, hook_keys
from tests.denylist import ended, hold, lift, revocation
from tests.origins import SECRET, hmac_sha256, hooked
from tests.processes import ROOT

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
KEYCLOAK: dict[str, Any] = {"name": "kc", "kind": "keycloak", "realm": "people", "client_id": "revoker", "secret": "x"}


def test_the_sample_of_the_standard_is_signed_as_everybody_signs_it() -> None:
    keys = hook_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    headers = signed(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


def test_what_the_docs_tell_a_receiver_to_do_is_enough() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/origins.md").read_text(), re.DOTALL)
    headers = dict(signed(hook_keys(f"whsec_{'A' * 32} {SECRET}"), "id-1", 7, b"{}"))

    def judged(body: bytes) -> Any:
        known: dict[str, Any] = {"base64": base64, "hmac": hmac, "secret": SECRET, "headers": headers, "body": body}
        exec(code, known)  # noqa: S102 - our own words
        return known["is_ours"]

    assert judged(b"{}")
    assert not judged(b"{ }")


@given(key=st.binary(min_size=24, max_size=64), old=st.binary(min_size=24, max_size=64), body=st.binary(max_size=200))
def test_both_keys_sign_while_a_secret_changes(key: bytes, old: bytes, body: bytes) -> None:
    text = " ".join("whsec_" + base64.b64encode(one).decode() for one in (key, old))

    told = signed(hook_keys(text), "id-1", 1, body)["webhook-signature"].split(" ")

    content = b"id-1.1." + body
    assert told == ["v1," + base64.b64encode(hmac_sha256(one, content)).decode() for one in (key, old)]


SHORT = "whsec_" + base64.b64encode(b"x" * 23).decode()


@pytest.mark.parametrize("text", ["", " ", "hunter2", "whsec_", "whsec_!!!!", SHORT, f"{SECRET} {SHORT}"])
def test_a_weak_secret_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="secret must be whsec_ and base64 of 24 to 64 bytes"):
        hooked("https://login.example", secret=text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("²", None),
        ("0", 0.0),
        ("7", 7.0),
        ("999999999999", LONGEST_WAIT_SECONDS),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), LONGEST_WAIT_SECONDS),
    ],
)
def test_an_origin_says_how_long_to_wait(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


@given(text=st.text(max_size=40))
def test_whatever_it_says_is_a_time_or_nothing(text: str) -> None:
    found = retry_after(text, NOW)

    assert found is None or 0 <= found <= LONGEST_WAIT_SECONDS


def test_one_that_takes_nothing_is_waited_for_and_what_it_alone_fails_to_take_is_set_aside() -> None:
    trouble = Trouble(first_at=100.0, tries=9, next_at=0.0)
    failed, gone = (NotTakenError("x", because) for because in Because)

    assert not gives_up(trouble, failed, 100_000.0, taken_at=99.0, patience=600)
    assert not gives_up(trouble, failed, 699.0, taken_at=101.0, patience=600)
    assert gives_up(trouble, failed, 700.0, taken_at=101.0, patience=600)
    assert gives_up(trouble, gone, 100.0, taken_at=0.0, patience=600)


@given(asked=st.none() | st.floats(0, 300), chance=st.floats(0, 1))
def test_each_pause_is_longer_and_as_long_as_it_asks(asked: float | None, chance: float) -> None:
    error = NotTakenError("x", after=asked)
    trouble: Trouble | None = None
    for tries in range(1, 30):
        trouble = once_more(trouble, error, 1000.0, chance)
        assert (trouble.first_at, trouble.tries) == (1000.0, tries)
        assert (asked or 0.0) - 0.001 <= trouble.next_at - 1000.0 <= max(15.0, asked or 0.0) + 0.001
        assert trouble.next_at - 1000.0 >= min(7.5, 0.25 * 2 ** (tries - 1)) - 0.001


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://login.example"},
        {"url": "ftp://login.example"},
        {"url": "https://user:password@login.example"},
        {"url": "https://"},
        {"url": "https://login.example#top"},
        {"url": "https://login.example?a=b"},
        {"realm": None},
        {"realm": "../master"},
        {"client_id": None},
        {"secret": None},
        {"secret_file": "also"},
        {"name": "../x"},
        {"name": "Key cloak"},
        {"kind": "webhook"},
        {"kind": "other"},
        {"timeout": 0},
        {"unknown": 1},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, Any]) -> None:
    OriginSettings(**KEYCLOAK | {"url": "https://login.example"})

    with pytest.raises(ValidationError):
        OriginSettings(**KEYCLOAK | {"url": "https://login.example"} | given)


async def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    settings = hooked("http://127.0.0.1:1", secret=None, secret_file=tmp_path / "secret")

    await kinds.origin(settings).close()
    assert SECRET not in repr(hooked("http://127.0.0.1:1"))
    (tmp_path / "secret").write_text("whsec_weak")
    with pytest.raises(ConfigurationError, match="login: secret must be"):
        kinds.origin(settings)
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        kinds.origin(settings)


def test_an_origin_hears_of_its_tenant_and_of_nothing_that_is_over() -> None:
    now = datetime.now(UTC)
    micros = int(now.timestamp() * 1_000_000)
    hour = timedelta(hours=1)
    told = {
        "acme": ended(revocation(tenant="acme")),
        "all": ended(revocation(selector=Selector(client_id="web"))),
        "other": ended(revocation(tenant="other")),
        "over": ended(revocation(tenant="acme", covers_until=now - hour)),
        "hold": hold("h-1", {"tenant": "acme", "everyone": True}, now + hour),
        "hold-over": hold("h-2", {"tenant": "acme", "everyone": True}, now - hour),
        "hold-other": hold("h-3", {"tenant": "other", "everyone": True}, now + hour),
        "lift": lift("h-1", now),
    }
    found = {name: notice for name, value in told.items() if (notice := decode_notice(value)) is not None}

    def heard(tenant: str | None) -> set[str]:
        return {name for name, notice in found.items() if concerns(notice, tenant, micros)}

    assert heard("acme") == {"acme", "all", "hold", "lift"}
    assert told.keys() - heard(None) == {"over", "hold-over"}
