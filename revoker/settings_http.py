"""Settings of `revoker serve`: where it listens, whom it believes, what it tells (the others: `revoker.settings`)."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.fields import Network

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST: Final = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
_ORIGIN: Final = re.compile(rf"https?://{_HOST}")
_ABSOLUTE: Final = re.compile(
    rf"https?://{_HOST}(?:/[A-Za-z0-9._~!$&()+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&()+,;=:@%/?-]*)?"
)
_PATH: Final = re.compile(r"/(?!/)[A-Za-z0-9._~!$&()+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&()+,;=:@%/?-]*)?")
_DOMAIN: Final = re.compile(r"\.?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
_COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_COOKIE_PATH: Final = re.compile(r"/[ -:<-~]*")


def is_protected(url: str) -> bool:
    """Whether nobody can change on the way what comes from there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class HttpSettings(Section):
    """Where `revoker serve` listens."""

    host: str = "127.0.0.1"
    """The address; put TLS in front of it."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port."""
    public_url: str | None = None
    """How browsers reach it, where a proxy in front changes the Host header."""
    origins: tuple[str, ...] = ()
    """Other origins whose pages may act for people by their cookies, such as https://app.example."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose scripts may read answers, with a token of their own; cookies count for `origins` alone."""
    max_body: Annotated[int, Field(ge=65_536, le=100_000_000)] = 2_000_000
    """Bytes that a request may carry. Longer ones are refused before they are read."""
    person_rate: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Requests a second of one person; more wait for their turn. `/check` is not counted."""
    machine_rate: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Requests a second of one machine; the same."""
    waiting: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Requests of one of them that may wait; more get a 429. A person who ends own sessions is never refused."""
    remembered: Annotated[int, Field(ge=100, le=10_000_000)] = 20_000
    """People and machines whose rate is known at once."""

    @model_validator(mode="after")
    def _are_origins(self) -> Self:
        for name in ("origins", "cors_origins"):
            for origin in getattr(self, name):
                if not _ORIGIN.fullmatch(origin):
                    raise ValueError(f"{name}: an origin is a scheme, a host and maybe a port, in lower case, no path")
        if self.public_url is not None and not _ABSOLUTE.fullmatch(self.public_url):
            raise ValueError("public_url must be an address such as https://sessions.example")
        return self


class AuthSettings(Section):
    """Who may ask: bearer JWTs of one issuer. Without it `revoker serve` answers nobody who has to prove something."""

    issuer: str | None = None
    """The `iss` of every token, exactly. Its keys are found by discovery."""
    jwks_url: str | None = None
    """Where its keys are, for an issuer without discovery."""
    audience: str | None = None
    """One of these (apart by spaces) must be in the `aud` of a token; unset: it is not looked at."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = get_args(Algorithm)
    """How a token may be signed. A key narrows it to what fits the key."""
    types: tuple[str, ...] = ("at+jwt", "JWT", "")
    """The `typ` that a token may have; an empty one: none at all."""
    skew: Annotated[timedelta, Field(ge=timedelta(), le=timedelta(minutes=5))] = timedelta(seconds=30)
    """How far our clock and the issuer's may be apart."""
    refresh: Annotated[timedelta, Field(ge=timedelta(seconds=10), le=timedelta(hours=12))] = timedelta(minutes=10)
    """How often the issuer's keys are fetched again. An unknown key id is looked for at once."""
    allow_http: bool = False
    """Fetch keys without TLS from another machine, too: whoever is in between can then sign tokens."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.jwks_url is not None and self.issuer is None:
            raise ValueError("jwks_url needs issuer")
        for name in ("issuer", "jwks_url"):
            url = getattr(self, name)
            if url is not None and not (self.allow_http or is_protected(url)):
                raise ValueError(f"{name} must begin with https://, see allow_http")
        return self


class ClaimSettings(Section):
    """Which claims of a token mean what."""

    subject: str = "sub"
    """Whose it is."""
    tenant: str | None = None
    """In which tenant; unset: there is only one. Machines without it need the scope `all-tenants`."""
    session_id: str = "sid"
    """The session."""
    client_id: tuple[str, ...] = ("client_id", "azp")
    """The client; the first that is there."""
    token_id: str = "jti"  # noqa: S105 - the name of a claim
    """The token itself."""
    established_at: str = "auth_time"
    """When the person signed in."""
    device_id: str | None = None
    """The device."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels, each with the claim that holds its value."""
    scope: tuple[str, ...] = ("scope", "scp")
    """What a machine may do; the first that is there."""
    roles: tuple[str, ...] = ("roles", "realm_access.roles")
    """What a person may do: all of these together. A dot leads into an object."""


class CheckSettings(Section):
    """`/check`, for gateways that ask a question a request."""

    name: str = "check"
    """The name of this gateway in receipts and lists."""
    mode: Literal["strict", "best_effort"] = "best_effort"
    """When the view is older than max_staleness: answer 503, or go on and say so."""
    max_staleness: Annotated[timedelta, Field(gt=timedelta())] = timedelta(seconds=10)
    """How old the view of what has ended may be."""
    identify: Literal["token", "headers"] = "token"
    """Who is meant: a JWT that is verified here, or headers of a proxy that has verified it and overwrites them."""
    cookies: tuple[str, ...] = ()
    """Cookies that may hold the JWT, where there is no Authorization header."""
    trusted_networks: tuple[Network, ...] = ()
    """From where `headers` are believed; nobody else is."""
    header_prefix: str = "x-revoker-"
    """What those headers begin with: x-revoker-subject, x-revoker-session and so on."""
    anonymous: Literal["refuse", "pass"] = "refuse"
    """The answer where there is nothing to check: 401 or 200."""
    tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """Verified tokens that are remembered until they expire."""
    presented: bool | None = None
    """Publish that sessions are in use, once a minute each. Unset: where `session-activity` is ours to write."""


class DeviceSettings(Section):
    """What people see of their own devices, at `/devices` and `/v1/me/sessions`."""

    show_ended: Annotated[timedelta, Field(ge=timedelta())] = timedelta(days=7)
    """For how long a device that was signed out is still listed, with the reason."""
    networks: Path | None = None
    """Says where a device is: a file in MaxMind's format, such as GeoLite2-City.mmdb; unset: no places are shown."""


class CookieSettings(Section):
    """A cookie that applications have set. Logging out deletes it with the very attributes that it was set with."""

    name: str
    """Its name. The same name may stand here several times, with other paths or domains."""
    holds: Literal["token", "hash", "remember-me", "nothing"] = "nothing"
    """`token`: a JWT. `hash`: the session id is its SHA-256 in hex. `remember-me`: a token id likewise."""
    path: str = "/"
    """Its Path."""
    domain: str | None = None
    """Its Domain; unset: of the host alone."""
    secure: bool = True
    """Whether it is Secure."""
    http_only: bool = True
    """Whether it is HttpOnly."""
    same_site: Literal["Strict", "Lax", "None"] | None = "Lax"
    """Its SameSite."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        """As browsers judge (RFC 6265bis, sections 4.1.3 and 5.7): a deletion that they refuse deletes nothing."""
        if not _COOKIE_NAME.fullmatch(self.name):
            raise ValueError("name: no name of a cookie")
        if not _COOKIE_PATH.fullmatch(self.path):
            raise ValueError("path must begin with a slash")
        if self.domain is not None and not _DOMAIN.fullmatch(self.domain):
            raise ValueError("domain: no name of a host")
        prefix = self.name.lower()
        of_host = prefix.startswith("__host-")
        if (of_host or prefix.startswith(("__secure-", "__http-")) or self.same_site == "None") and not self.secure:
            raise ValueError(f"{self.name}: browsers refuse it without Secure")
        if of_host and (self.path != "/" or self.domain is not None):
            raise ValueError(f"{self.name}: browsers refuse a __Host- cookie with a Domain, or a Path other than /")
        if prefix.startswith(("__http-", "__host-http-")) and not self.http_only:
            raise ValueError(f"{self.name}: browsers refuse it without HttpOnly")
        return self


class LogoutSettings(Section):
    """`POST /logout`."""

    sign_in: str = "/"
    """Where a browser lands that is signed out, and always where that failed: a path here, or an address."""
    default_redirect: str | None = None
    """Where a browser lands that asked for no place, or for one that is not allowed; unset: `sign_in`."""
    redirects: tuple[str, ...] = ()
    """Places that a browser may ask for (`return_to`), exactly; with /* at the end all below that."""
    fresh: Annotated[timedelta | None, Field(gt=timedelta())] = None
    """How recently one must have signed in to end other sessions than this one; unset: it does not matter."""
    clear_site_data: tuple[Literal["cache", "cookies", "storage", "executionContexts", "clientHints"], ...] = (
        "cache",
        "storage",
    )
    """What else the browser is told to forget of this host. `cookies` are those of all hosts of the domain."""

    @model_validator(mode="after")
    def _are_places(self) -> Self:
        for place in (self.sign_in, self.default_redirect, *(one.removesuffix("*") for one in self.redirects)):
            if place is not None and not is_place(place):
                raise ValueError(f"{place!r} is no place to send a browser to: a path, or an https:// address")
        for place in self.redirects:
            if place.endswith("*") and not place.endswith("/*"):
                raise ValueError(f"{place!r}: only /* at the end means all below")
        return self


def is_place(text: str) -> bool:
    """Whether a browser can be sent there, and every browser would understand the same place."""
    if _PATH.fullmatch(text):
        return True
    return bool(_ABSOLUTE.fullmatch(text)) and is_protected(text)
