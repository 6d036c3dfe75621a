"""Tokens that nobody may get in with, each by what is wrong with it; the rest of each is as it should be."""

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from joserfc.jws import JWSRegistry

from tests.issuer import AUDIENCE, ISSUER, Issuer, new_key

SCOPES = "revoker.publish revoker.gateway revoker.introspect revoker.global-revocation all-tenants"
ROLES = ["responder", "auditor", "support"]
_BACK_CHANNEL: Mapping[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}


def tokens(issuer: Issuer) -> Mapping[str, str]:
    """All of them, as alice's, who may do everything."""
    key = issuer.keys[-1]
    stranger = new_key("stranger")
    twin = new_key(str(key.kid))
    rights = {"sid": "s-1", "jti": "t-1", "azp": "web", "scope": SCOPES, "roles": ROLES}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": time.time() + 300, **rights}
    own = {"jwk": stranger.as_dict(private=False)}

    def made(*, header: dict[str, Any] | None = None, key: Any = key, **given: Any) -> str:
        return _signed(key, _given(_typical(key) | (header or {})), _given(claims | given))

    def of_stranger(**header: Any) -> str:
        return made(key=stranger, header=header)

    good = made()
    head, body, signature = good.split(".")
    return {
        "no signature": f"{head}.{body}.",
        "alg none": _unsigned({"alg": "none", "typ": "at+jwt"}, claims),
        "alg None": _unsigned({"alg": "NonE", "typ": "at+jwt", "kid": key.kid}, claims),
        "no alg": _unsigned({"typ": "at+jwt", "kid": key.kid}, claims),
        "two algs": ".".join((_part(b'{"alg":"ES256","alg":"none","typ":"at+jwt"}'), body, "")),
        "HS256 with the public key": _hashed(key, claims),
        "another's key of the same name": made(key=twin),
        "another's key": of_stranger(),
        "another's key, kid of ours": of_stranger(kid=key.kid),
        "another's key, without kid": of_stranger(kid=None),
        "kid is a path": of_stranger(kid="../../../../dev/null"),
        "kid is SQL": of_stranger(kid="x' UNION SELECT 'secret' --"),
        "kid is a number": _signed(stranger, {"alg": "ES256", "typ": "at+jwt", "kid": 1}, claims),
        "kid is huge": of_stranger(kid="k" * 5_000),
        "jwk of their own": of_stranger(**own),
        "jku of their own": of_stranger(jku="https://evil.example/keys", kid="evil"),
        "x5u of their own": of_stranger(x5u="https://evil.example/cert"),
        "critical": made(header={"crit": ["exp"], "exp": 1}),
        "a security event": made(header={"typ": "secevent+jwt"}, events={"https://x.example/e": {}}, exp=None),
        "a security event that expires": made(header={"typ": "secevent+jwt"}, events={"https://x.example/e": {}}),
        "a logout token": made(header={"typ": "logout+jwt"}, events=_BACK_CHANNEL),
        "a logout token that does not say so": made(header={"typ": "JWT"}, events=_BACK_CHANNEL),
        "a status list": made(header={"typ": "statuslist+jwt"}),
        "typ is a list": _signed(key, _typical(key) | {"typ": ["at+jwt"]}, claims),
        "another issuer": made(iss="https://elsewhere.example"),
        "an issuer that begins like ours": made(iss=f"{ISSUER}.evil.example"),
        "no issuer": made(iss=None),
        "two issuers, ours first": _signed(key, _typical(key), _text(claims)[:-1] + ', "iss": "https://x.example"}'),
        "several issuers": made(iss=[ISSUER]),
        "another audience": made(aud="https://elsewhere.example"),
        "no audience": made(aud=None),
        "an audience within an object": made(aud={"x": AUDIENCE}),
        "expired": made(exp=int(time.time()) - 3_600),
        "never expires": made(exp=None),
        "expires in words": made(exp="tomorrow"),
        "expires at infinity": _signed(key, _typical(key), _text(claims | {"exp": float("inf")})),
        "not yet": made(nbf=int(time.time()) + 3_600),
        "not before never": made(nbf="x"),
        "changed": f"{head}.{_part(_text(claims | {'sub': 'mallory'}).encode())}.{signature}",
        "a list": _signed(key, _typical(key), "[1]"),
        "a number": _signed(key, _typical(key), "1"),
        "no JSON": _signed(key, _typical(key), "x"),
        "no UTF-8": _signed(key, _typical(key), b'{"sub":"\xff"}'),
        "nested deeply": _signed(key, _typical(key), '{"a":' * 3_000 + "1" + "}" * 3_000),
        "a header nested deeply": ".".join((_part(b'{"a":' * 600), body, signature)),
        "huge": made(padding="x" * 20_000),
        "a subject with a line break": made(sub="alice\r\nX-Evil: 1"),
        "a subject that is an object": made(sub={"$ne": None}),
        "a subject without an end": made(sub="x" * 600),
        "half a surrogate": _signed(key, _typical(key), _text(claims | {"sub": "\ud800"})),
        "five parts": f"{good}.x.y",
        "two parts": f"{head}.{body}",
        "dots": "..",
        "no base64": "%%%.%%%.%%%",
        "words": "let me in please",
    }


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _typical(key: Any) -> dict[str, Any]:
    return {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}


def _signed(key: Any, header: dict[str, Any], payload: Mapping[str, Any] | str | bytes) -> str:
    text = _text(payload) if isinstance(payload, Mapping) else payload
    registry = JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    head = _part(json.dumps(header).encode())
    body = _part(text.encode() if isinstance(text, str) else text)
    # By the algorithm itself: the library would refuse to make some of these.
    signing = registry.algorithms["ES256"].sign(f"{head}.{body}".encode(), key)
    return f"{head}.{body}.{_part(signing)}"


def _hashed(key: Any, claims: Mapping[str, Any]) -> str:
    """By the public key as if it were a secret. The library refuses to: so by hand, as a thief would."""
    signed = _unsigned(_typical(key) | {"alg": "HS256"}, claims)[:-1]
    return f"{signed}.{_part(hmac.digest(key.as_pem(private=False), signed.encode(), 'sha256'))}"


def _unsigned(header: dict[str, Any], claims: Mapping[str, Any]) -> str:
    return f"{_part(json.dumps(header).encode())}.{_part(_text(claims).encode())}."


def _text(claims: Mapping[str, Any]) -> str:
    return json.dumps(claims)


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
