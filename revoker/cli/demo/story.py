"""The story: four people, their devices, and what happens to them. Data only.

Words for devices become session ids (`alice-phone`). Ages are how long before now somebody signed in. Addresses are
from the ranges that are reserved for examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

_WEBKIT: Final = "AppleWebKit/537.36 (KHTML, like Gecko)"
_IOS: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1"

CHROME_ON_MAC: Final = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Chrome/142.0.0.0 Safari/537.36"
CHROME_ON_ANDROID: Final = f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/142.0.0.0 Mobile Safari/537.36"
CHROMEBOOK: Final = f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_WEBKIT} Chrome/142.0.0.0 Safari/537.36"
EDGE_ON_WINDOWS: Final = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
)
FIREFOX_ON_WINDOWS: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
FIREFOX_ON_LINUX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPAD: Final = f"Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) {_IOS}"
IPHONE: Final = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) {_IOS}"
TELEVISION: Final = f"Mozilla/5.0 (SMART-TV; Linux; Tizen 8.0) {_WEBKIT} SamsungBrowser/5.0 TV Safari/537.36"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Somebody is signed in on a device since `age` ago."""

    subject: str
    device: str
    user_agent: str
    client_id: str
    ip: str
    age: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIns:
    """People sign in; all goes well."""

    said: str
    sign_ins: tuple[SignIn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An identity event. `session` and `keep` are words for devices."""

    said: str
    subject: str
    type: str
    session: str | None = None
    keep: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateSignIn:
    """A sign-in that is reported only after the change that covers it."""

    said: str
    sign_in: SignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Junk:
    """A record that nobody can read."""

    said: str
    subject: str
    value: bytes


Scene = SignIns | Change | LateSignIn | Junk

_HOURS: Final = timedelta(hours=1)
_DAYS: Final = timedelta(days=1)

SUBJECTS: Final = ("alice", "bob", "carol", "dave")
CALLER: Final = "erin"
"""Who comes in when the story is over, over HTTP."""
PEOPLE: Final = (*SUBJECTS, CALLER)
STORY: Final[tuple[Scene, ...]] = (
    SignIns(
        said="Four people are signed in on several devices each",
        sign_ins=(
            SignIn(
                subject="alice",
                device="laptop",
                user_agent=CHROME_ON_MAC,
                client_id="web",
                ip="203.0.113.9",
                age=9 * _DAYS,
            ),
            SignIn(
                subject="alice",
                device="office",
                user_agent=FIREFOX_ON_WINDOWS,
                client_id="web",
                ip="198.51.100.20",
                age=26 * _HOURS,
            ),
            SignIn(
                subject="alice", device="phone", user_agent=IPHONE, client_id="app", ip="203.0.113.9", age=2 * _HOURS
            ),
            SignIn(subject="bob", device="tablet", user_agent=IPAD, client_id="app", ip="192.0.2.77", age=12 * _DAYS),
            SignIn(
                subject="bob",
                device="desktop",
                user_agent=FIREFOX_ON_LINUX,
                client_id="web",
                ip="192.0.2.77",
                age=3 * _HOURS,
            ),
            SignIn(
                subject="carol",
                device="television",
                user_agent=TELEVISION,
                client_id="tv",
                ip="203.0.113.64",
                age=_DAYS,
            ),
            SignIn(
                subject="carol",
                device="tablet",
                user_agent=IPAD,
                client_id="app",
                ip="203.0.113.64",
                age=5 * _DAYS,
            ),
            SignIn(
                subject="carol",
                device="laptop",
                user_agent=CHROMEBOOK,
                client_id="web",
                ip="203.0.113.64",
                age=4 * _HOURS,
            ),
            SignIn(
                subject="carol",
                device="phone",
                user_agent=CHROME_ON_ANDROID,
                client_id="app",
                ip="198.51.100.143",
                age=_HOURS,
            ),
            SignIn(
                subject="dave",
                device="laptop",
                user_agent=EDGE_ON_WINDOWS,
                client_id="web",
                ip="198.51.100.31",
                age=2 * _DAYS,
            ),
            SignIn(subject="dave", device="tablet", user_agent=IPAD, client_id="app", ip="203.0.113.5", age=8 * _DAYS),
        ),
    ),
    Change(
        said="alice changes her password on her phone, and stays signed in there",
        subject="alice",
        type="password-changed",
        keep=("phone",),
    ),
    Change(
        said="bob changes his e-mail address at his desktop",
        subject="bob",
        type="email-changed",
        keep=("desktop",),
    ),
    Change(said="carol signs out of the television", subject="carol", type="logged-out", session="television"),
    SignIns(
        said="dave's laptop is stolen: he signs in on a phone",
        sign_ins=(
            SignIn(subject="dave", device="phone", user_agent=CHROME_ON_ANDROID, client_id="app", ip="203.0.113.5"),
        ),
    ),
    Change(
        said="dave reports it from there; only a fresh sign-in may spare itself in such a report",
        subject="dave",
        type="security-concern-reported",
        keep=("phone",),
        data={"severity": "high", "reason_admin": "laptop stolen"},
    ),
    LateSignIn(
        said="alice's tablet signed in before she changed her password, but that is reported only now",
        sign_in=SignIn(
            subject="alice",
            device="tablet",
            user_agent=IPAD,
            client_id="app",
            ip="203.0.113.9",
            age=timedelta(minutes=1),
        ),
    ),
    Junk(
        said="a record arrives that was cut off half-way",
        subject="bob",
        value=b'{"specversion":"1.0","type":"password-changed","source":"demo-login","subject":"bo',
    ),
)

COMMANDS: Final = (
    "revoker sessions {alice}",
    "revoker sessions {alice} --all",
    "revoker revoke {carol} --session {carol}-tablet",
    'revoker revoke {carol} --keep {carol}-phone --reason "Please sign in again"',
    "revoker revocations",
    "revoker rejected list",
    "revoker doctor",
    "revoker watch",
)
"""What the reader can try then, in this order."""
