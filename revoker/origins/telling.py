"""What it takes to tell an origin something, whatever kind it is: one request, and what its answer means.

An origin has taken a notification, or has not. Why not, hardly any answer tells: a 400 may mean this notification, or a
wrong secret and so all of them; a 500 likewise. So an answer is good, or says that nobody is there any more, or is
trouble; whether the trouble is with one notification shows when others are taken.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, Protocol

import httpx

from revoker.core.wire import Notice
from revoker.errors import ConfigurationError
from revoker.settings_origins import OriginSettings

LONGEST_WAIT_SECONDS: Final = 300.0
"""However long an origin asks us to wait."""
_GONE: Final = 410


class Because(Enum):
    """Why something was not taken."""

    TROUBLE = "trouble"
    GONE = "gone"


class NotTakenError(Exception):
    """The origin did not take it. `why` holds nothing of what was sent."""

    def __init__(self, why: str, because: Because = Because.TROUBLE, after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.because = because
        self.after = after
        """How many seconds it asked us to wait."""


@dataclass(slots=True)
class Told:
    """A notification on its way, and what earlier tries have done of it."""

    notice: Notice
    value: bytes
    """As it lies on the topic."""
    chosen: list[str] | None = None
    """What is to end there because of it, once that is known."""
    there: set[str] = field(default_factory=set)
    """What of that was live."""
    over: set[str] = field(default_factory=set)
    """What of that is not there any more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of it there."""

    ended: int = 0
    """Sessions that were live there until now, as far as the origin says so."""
    asked: bool = True
    """Whether it was asked at all. Where there is nothing to do for it, it need not be."""
    again_after: float | None = None
    """In how many seconds to tell it once more, to be sure."""


class Origin(Protocol):
    """Where sessions live."""

    async def tell(self, told: Told) -> Taken:
        """Has ended there what `told` ends. Doing it again changes nothing. Raises `NotTakenError`."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What an origin said. Of a body that is too long only the beginning is there."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_good(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    def refusal(self, what: str) -> NotTakenError:
        """This answer as the reason why it was not taken."""
        after = retry_after(self.headers.get("retry-after"), datetime.now(UTC))
        because = Because.GONE if self.status == _GONE else Because.TROUBLE
        return NotTakenError(f"{what}: HTTP {self.status}", because, after)


def retry_after(value: str | None, now: datetime) -> float | None:
    """`Retry-After` in seconds (RFC 9110, section 10.2.3), within reason. None: it says nothing."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WAIT_SECONDS)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return min(max(0.0, (then - now).total_seconds()), LONGEST_WAIT_SECONDS)


def client(settings: OriginSettings) -> httpx.AsyncClient:
    """For requests to that origin and to nobody else."""
    return httpx.AsyncClient(
        timeout=settings.timeout.total_seconds(),
        limits=httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
        # A redirect could lead anywhere, and what is in the environment is not meant for this.
        follow_redirects=False,
        trust_env=False,
    )


async def ask(client: httpx.AsyncClient, request: httpx.Request, seconds: float, limit: int) -> Answer:
    """The answer to `request`, of whose body `limit` bytes are read. Raises `NotTakenError` where there is none."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            response = await client.send(request, stream=True)
            try:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > limit:
                        break
            finally:
                await response.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
        raise NotTakenError(type(error).__name__) from error
    return Answer(response.status_code, response.headers, bytes(body[:limit]))


def secret(settings: OriginSettings) -> str:
    """What only we and the origin know. Raises `ConfigurationError`."""
    if settings.secret is not None:
        return settings.secret.get_secret_value()
    try:
        found = settings.secret_file.read_text().strip() if settings.secret_file else ""
    except OSError as error:
        raise ConfigurationError(
            f"[[origins]] {settings.name}: secret_file cannot be read ({type(error).__name__})"
        ) from None
    if not found:
        raise ConfigurationError(f"[[origins]] {settings.name}: secret_file is empty")
    return found
