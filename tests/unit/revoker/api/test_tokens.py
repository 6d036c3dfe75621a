"""Tokens: what is believed, what is refused (RFC 8725), and how the issuer's keys are had."""

import asyncio
import base64
import hmac
import json
import time
from typing import Any

import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey
from joserfc.jws import JWSRegistry

from revoker.api.keys import Keys, KeysUnavailableError
from revoker.api.tokens import TokenRefusedError, Verified, Verifier
from revoker.settings import AuthSettings
from tests.issuer import AUDIENCE, ISSUER, Issuer, new_key


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys_of(issuer: Issuer, clock: Clock, **auth: Any) -> Keys:
    return Keys(settings(**auth), transport=httpx.ASGITransport(issuer), monotonic=clock)


def settings(**auth: Any) -> AuthSettings:
    return AuthSettings(**{"issuer": ISSUER, "audience": AUDIENCE} | auth)


async def verified(issuer: Issuer, token: str, **auth: Any) -> Verified:
    return await Verifier(settings(**auth), keys_of(issuer, Clock(), **auth)).verify(token.encode())


async def test_a_token_of_the_issuer_is_believed(issuer: Issuer) -> None:
    found = await verified(issuer, issuer.token(sid="s-1"))

    assert (found.claims["sub"], found.claims["sid"], found.kid) == ("alice", "s-1", "first")
    assert found.expires_at == pytest.approx(time.time() + 330, abs=5)


@pytest.mark.parametrize("kind", ["EC", "RSA", "OKP"])
async def test_each_kind_of_key_verifies(issuer: Issuer, kind: str) -> None:
    issuer.keys = [new_key("k", kind)]

    assert (await verified(issuer, issuer.token())).kid == "k"


async def test_ed25519_may_be_spelled_the_old_way(issuer: Issuer) -> None:
    issuer.keys = [new_key("k", "OKP")]
    with pytest.warns(match="EdDSA"):
        token = issuer.token(header={"alg": "EdDSA"})

    assert (await verified(issuer, token)).kid == "k"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"aud": "https://other.example"},
        {"aud": None},
        {"aud": ["https://other.example", 7]},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("inf")},
        {"lasts": -31},
        {"nbf": 4_000_000_000},
        {"nbf": "now"},
    ],
)
async def test_claims_that_do_not_hold(issuer: Issuer, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenRefusedError):
        await verified(issuer, issuer.token(**claims))


@pytest.mark.parametrize("claims", [{"aud": ["x", AUDIENCE]}, {"lasts": -20}, {"nbf": time.time() + 20}])
async def test_claims_that_hold(issuer: Issuer, claims: dict[str, Any]) -> None:
    await verified(issuer, issuer.token(**claims))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": 7},
        {"kid": "other"},
        {"kid": 7},
        {"crit": ["exp"]},
    ],
)
async def test_headers_that_do_not_hold(issuer: Issuer, header: dict[str, Any]) -> None:
    with pytest.raises(TokenRefusedError):
        await verified(issuer, resigned(issuer, header))


@pytest.mark.parametrize("header", [{"typ": None}, {"typ": "JWT"}, {"typ": "application/AT+jwt"}, {"kid": None}])
async def test_headers_that_hold(issuer: Issuer, header: dict[str, Any]) -> None:
    await verified(issuer, resigned(issuer, header))


async def test_without_an_id_only_one_key_can_be_meant(issuer: Issuer) -> None:
    issuer.rotate("second")

    with pytest.raises(TokenRefusedError):
        await verified(issuer, resigned(issuer, {"kid": None}))


async def test_the_public_key_is_no_shared_secret(issuer: Issuer) -> None:
    """The classic: HMAC with the public key's text, under the key's own id."""
    key = new_key("rsa", "RSA")
    assert isinstance(key, RSAKey)
    issuer.keys = [key]
    _, payload, _ = issuer.token().split(".")
    signed = f"{encoded({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{payload}"
    signature = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")

    with pytest.raises(TokenRefusedError):
        await verified(issuer, f"{signed}.{plain(signature)}")


async def test_a_secret_that_the_issuer_publishes_by_mistake_verifies_nothing(issuer: Issuer) -> None:
    secret = OctKey.generate_key(256, {"kid": "s"})
    issuer.published = {"keys": [secret.as_dict(private=True), issuer.keys[0].as_dict(private=False)]}

    with pytest.raises(TokenRefusedError):
        await verified(issuer, issuer.token(key=secret))


async def test_unsigned_tokens_are_refused(issuer: Issuer) -> None:
    _, payload, _ = issuer.token().split(".")
    for spelling in ("none", "None", "NONE"):
        with pytest.raises(TokenRefusedError):
            await verified(issuer, f"{encoded({'alg': spelling, 'kid': 'first'})}.{payload}.")


async def test_a_key_signs_only_as_it_says(issuer: Issuer) -> None:
    key = new_key("rsa", "RSA")
    issuer.keys = [key]
    issuer.published = {"keys": [key.as_dict(private=False) | {"alg": "PS256"}]}

    await verified(issuer, issuer.token(header={"alg": "PS256"}))
    with pytest.raises(TokenRefusedError):
        await verified(issuer, issuer.token(header={"alg": "RS256"}))


async def test_algorithms_can_be_narrowed(issuer: Issuer) -> None:
    with pytest.raises(TokenRefusedError):
        await verified(issuer, issuer.token(), algorithms=("RS256",))


@pytest.mark.parametrize("member", [{"use": "enc"}, {"key_ops": ["sign"]}])
async def test_keys_for_something_else_verify_nothing(issuer: Issuer, member: dict[str, Any]) -> None:
    first = issuer.keys[0].as_dict(private=False)
    issuer.published = {"keys": [first | member, new_key("good").as_dict(private=False)]}

    with pytest.raises(TokenRefusedError):
        await verified(issuer, issuer.token())


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "e30.e30.", "\x00.\xff.", "x" * 20_000, "bm90anNvbg.e30.x", "[" * 5000 + ".a.b"],
)
async def test_junk_is_refused_and_nothing_more(issuer: Issuer, token: str) -> None:
    with pytest.raises(TokenRefusedError):
        await Verifier(settings(), keys_of(issuer, Clock())).verify(token.encode("latin-1"))


async def test_a_changed_token_is_refused(issuer: Issuer) -> None:
    head, payload, signature = issuer.token().split(".")
    other = encoded({"sub": "mallory", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60})

    for changed in (f"{head}.{other}.{signature}", f"{head}.{payload}.{signature[:-4]}AAAA"):
        with pytest.raises(TokenRefusedError):
            await verified(issuer, changed)


# The issuer's keys


async def test_a_new_key_is_found_at_once_and_by_one_fetch(issuer: Issuer, clock: Clock) -> None:
    keys = keys_of(issuer, clock)
    await keys.refresh()
    clock.seconds += 11
    issuer.rotate("second")

    found = await asyncio.gather(*(keys.find("second", "ES256") for _ in range(50)))

    assert {key.get("kid") for key in found if key is not None} == {"second"}
    assert issuer.fetched == 2


async def test_invented_key_ids_do_not_make_us_ask_again_and_again(issuer: Issuer, clock: Clock) -> None:
    keys = keys_of(issuer, clock)
    for number in range(100):
        assert await keys.find(f"invented-{number}", "ES256") is None

    assert issuer.fetched == 1
    clock.seconds += 11
    await keys.find("invented", "ES256")
    assert issuer.fetched == 2


async def test_without_any_key_nobody_is_judged(issuer: Issuer, clock: Clock) -> None:
    issuer.failing = True
    keys = keys_of(issuer, clock)

    with pytest.raises(KeysUnavailableError):
        await keys.find("first", "ES256")
    assert await keys.why_unready() is not None
    issuer.failing = False
    clock.seconds += 3
    assert await keys.find("first", "ES256") is not None
    assert await keys.why_unready() is None


async def test_while_the_issuer_is_away_the_keys_count_for_a_day(issuer: Issuer, clock: Clock) -> None:
    keys = keys_of(issuer, clock)
    await keys.refresh()
    issuer.failing = True
    clock.seconds += 86_000
    await keys.refresh()
    assert await keys.find("first", "ES256") is not None
    clock.seconds += 1_000

    with pytest.raises(KeysUnavailableError):
        await keys.find("first", "ES256")


async def test_a_key_that_goes_away_starts_a_new_generation(issuer: Issuer, clock: Clock) -> None:
    keys = keys_of(issuer, clock)
    await keys.refresh()
    before = keys.generation
    issuer.rotate("second")
    await keys.refresh()
    assert keys.generation == before

    issuer.rotate("third", keep=False)
    await keys.refresh()

    assert keys.generation == before + 1
    assert await keys.find("first", "ES256") is None


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": f"{ISSUER}/keys"},
        {"issuer": ISSUER, "jwks_uri": "http://login.example/keys"},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": 7},
    ],
)
async def test_a_discovery_document_that_is_not_the_issuers_is_not_followed(
    issuer: Issuer, clock: Clock, document: dict[str, Any]
) -> None:
    issuer.documents["/.well-known/openid-configuration"] = document

    with pytest.raises(KeysUnavailableError):
        await keys_of(issuer, clock).find("first", "ES256")


async def test_an_oauth_server_is_discovered_too(issuer: Issuer, clock: Clock) -> None:
    issuer.documents["/.well-known/oauth-authorization-server"] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}

    assert await keys_of(issuer, clock).find("first", "ES256") is not None


@pytest.mark.parametrize("published", [{"keys": []}, {"keys": "none"}, {"keys": [7, {"kty": "EC"}, {"kty": "?"}]}])
async def test_a_key_set_without_a_usable_key_changes_nothing(
    issuer: Issuer, clock: Clock, published: dict[str, Any]
) -> None:
    keys = keys_of(issuer, clock)
    await keys.refresh()
    issuer.published = published
    await keys.refresh()

    assert await keys.find("first", "ES256") is not None


@pytest.mark.parametrize("auth", [{"jwks_url": "http://a.example/k"}, {"issuer": "http://a.example"}])
def test_keys_are_not_fetched_in_the_open(auth: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="https"):
        settings(**auth)

    settings(**auth, allow_http=True)


def resigned(issuer: Issuer, header: dict[str, Any]) -> str:
    """A token with that header and a signature that is good, whatever the library would refuse to write."""
    head, payload, _ = issuer.token().split(".")
    members = json.loads(base64.urlsafe_b64decode(head + "==")) | header
    signed = f"{encoded({name: value for name, value in members.items() if value is not None})}.{payload}"
    return f"{signed}.{plain(JWSRegistry.algorithms['ES256'].sign(signed.encode(), issuer.keys[-1]))}"


def encoded(members: dict[str, Any]) -> str:
    return plain(json.dumps(members).encode())


def plain(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
