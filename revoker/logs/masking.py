"""What may be read in a log: the fence between values and lines. Pure.

- A field whose name says secret (token, password, cookie ...) is masked, a subject or record key becomes a digest.
- In every text, also of exceptions and libraries: addresses of people, credentials in URLs, headers and assignments,
  JWTs, bearer tokens and whatever else looks random. Session and token ids are no secrets here: UUIDs and hexadecimal
  digests of the usual lengths stay readable.
- Control characters, line ends and text direction marks are escaped: one line stays one line. Lengths are capped.
- An exception is its type, its masked message and where it passed, without a local value, a statement or its
  parameters.

A mask guesses; it is the last fence, not a licence to log what should not be.
"""

import math
import re
import traceback
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from hashlib import sha256
from itertools import islice
from typing import Final

MASK: Final = "[masked]"
MAX_TEXT: Final = 2_000

_MAX_READ: Final = 4_000
_MAX_NAME: Final = 64
_MAX_ITEMS: Final = 50
_MAX_DEPTH: Final = 3
_MAX_CHAIN: Final = 8
_MAX_FRAMES: Final = 20
_CUT: Final = "...[cut]"
_INT64: Final = 2**63

_SECRET_NAME: Final = re.compile(
    r"passw|pwd|secret|cookie|authorization|credential|bearer|jwt|api_?key|private_?key|e_?mail|token(?!_ids?$)"
)
_DIGESTED_NAMES: Final = frozenset({"subject", "subjects", "key", "keys", "record_key", "user", "user_id", "username"})

_IS = r"""(?:["']?\s{0,3}[=:]|["'],)\s{0,3}"""
_SECRETS = (
    "passw",
    "pwd",
    "passphrase",
    "secret",
    "credential",
    "api_key",
    "api-key",
    "apikey",
    "private_key",
    "token",
)
_VALUE = r"""(?:b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'|\S+)"""
_HOST = r"(?:\[[^\]\s]{1,45}\]|[\w-]{1,63}(?:\.[\w-]{1,63}){0,8})"
_LOCAL = r"[\w.!#$%&'*+/=?^`{|}~-]"
_MASKS: Final = tuple(
    (triggers, re.compile(pattern, re.IGNORECASE), replacement)
    for triggers, pattern, replacement in (
        # Headers: whatever follows on the line.
        (("authorization", "cookie"), rf"((?:authorization|cookie)s?{_IS})[^\r\n]+", rf"\1{MASK}"),
        # URLs and DSNs with credentials, up to the last @: passwords hold @ and / more often than they should.
        (("@",), r"([a-z][a-z0-9+.-]{1,30}://)(?:[^\s@]*+@)+", rf"\1{MASK}@"),
        (("@",), r"(?<![\w.+-])[\w.+-]{1,64}:(?!//)[^\s@]{1,200}@(?=[\w\[])", f"{MASK}@"),
        (_SECRETS, rf"((?:{'|'.join(_SECRETS)})(?!_ids?\b)[\w-]{{0,40}}{_IS}){_VALUE}", rf"\1{MASK}"),
        (("bearer", "dpop"), r"\b(bearer\s+|dpop\s+)[\w.~+/=-]{6,}", rf"\1{MASK}"),
        (("basic",), r"\b(basic\s+)[\w+/=-]{12,}", rf"\1{MASK}"),
        # Addresses of people, also percent-encoded, quoted, or at a bare host.
        (("@", "%40"), rf"""(?:"[^"\s]{{1,64}}"|(?<!{_LOCAL}){_LOCAL}+)(?:@|%40){_HOST}""", MASK),
    )
)
"""Words of which one must be there (looking for them is ten times as fast), what to look for, what to write."""
_JWT: Final = re.compile(r"(?<![\w-])[\w-]*?eyJ[\w-]{6,}(?:\.[\w-]*){0,4}")
_RUN: Final = re.compile(r"[A-Za-z0-9_+/=~%-]{32,}")
_BETWEEN: Final = re.compile(r"[^A-Za-z0-9]+")
_WORD: Final = re.compile(r"(?:(?:[A-Z]?[a-z]{2,}+)+[0-9]*|[A-Z]?[a-z]?|[A-Z]+[0-9]*|[0-9a-f]*|[0-9A-F]*)\Z")
_DIGEST: Final = re.compile(r"(?:[0-9]+|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})\Z")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_QUOTED_VALUES: Final = re.compile(r"\[SQL:.*|\[parameters:.*|DETAIL:.*|input_value=.*", re.DOTALL)
"""How SQLAlchemy, PostgreSQL and pydantic repeat values in their messages; everything from there on goes."""

Safe = str | int | float | bool | list["Safe"] | dict[str, "Safe"] | None


def mask_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text` on one line, of at most about `limit` characters, without what looks like a secret."""
    read = text
    if len(text) > _MAX_READ:
        # The last word may be half of a secret that nothing recognises any more.
        read = text[:_MAX_READ].rpartition(" ")[0]
    if "eyJ" in read:
        read = _JWT.sub(MASK, read)
    # Before names are looked for: one may occur in the middle of a random text, and cut it.
    read = _RUN.sub(_unless_readable, read)
    folded = read.lower()
    for triggers, pattern, replacement in _MASKS:
        if any(trigger in folded for trigger in triggers):
            read = pattern.sub(replacement, read)
    read = _UNSAFE.sub(_escaped, read)
    if len(read) > limit or len(text) > _MAX_READ:
        return read[:limit] + _CUT
    return read


def mask_field(name: str, value: object, depth: int = 0) -> Safe:
    """`value` as plain data, as far as a field of this name may be read."""
    if value is None or isinstance(value, bool):
        return value
    folded = name.lower().replace("-", "_")
    if _SECRET_NAME.search(folded) and not (isinstance(value, int | float) and folded.endswith("s")):
        return MASK
    if folded in _DIGESTED_NAMES:
        return _digests(value)
    return _number(value) if isinstance(value, int | float) else _masked(name, value, depth)


def mask_error(error: BaseException) -> str:
    """The type of `error` and what it says."""
    return f"{_type_name(error)}: {_message(error)}".removesuffix(": ")


def without_values(text: str) -> str:
    """`text` up to where a database or a model begins to repeat what it was given."""
    return _QUOTED_VALUES.sub(MASK, text)


def describe_error(error: BaseException) -> list[Safe]:
    """`error`, the members of a group and the causes, outermost first: type, message, frames."""
    return [
        {"type": _type_name(one), "message": _message(one), "frames": [*_frames(one)]}
        for one in islice(_chain(error), _MAX_CHAIN)
    ]


def _masked(name: str, value: object, depth: int) -> Safe:
    match value:
        case Mapping() | list() | tuple() | AbstractSet() if depth >= _MAX_DEPTH:
            return f"<{len(value)} items>"
        case Mapping():
            items = islice(value.items(), _MAX_ITEMS)
            return {mask_text(_text(key), _MAX_NAME): mask_field(_text(key), one, depth + 1) for key, one in items}
        case list() | tuple() | AbstractSet():
            return [mask_field(name, one, depth + 1) for one in islice(value, _MAX_ITEMS)]
        case BaseException():
            return mask_error(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case _:
            return mask_text(_text(value))


def _number(value: float) -> Safe:
    """What every reader of JSON takes."""
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else "<huge number>"
    return float(value) if math.isfinite(value) else str(value)


def _digests(value: object) -> Safe:
    if isinstance(value, list | tuple | AbstractSet):
        return [_digests(one) for one in islice(value, _MAX_ITEMS)]
    plain = bytes(value) if isinstance(value, bytes | bytearray) else _text(value).encode("utf-8", "surrogatepass")
    return f"sha256:{sha256(plain).hexdigest()[:12]}"


def _unless_readable(run: re.Match[str]) -> str:
    """Ids, hosts and paths are made of words and digests; what is random mixes cases and digits, or has no end."""
    words = _BETWEEN.split(run[0])
    odd = sum(len(word) for word in words if not _WORD.match(word))
    endless = any(len(word) >= 24 and not word.isalpha() and not _DIGEST.match(word) for word in words)
    return MASK if endless or odd * 2 >= len(run[0]) else run[0]


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever it is: it is a value of somebody else, and we are logging
        return f"<{type(value).__name__}>"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    return mask_text(without_values(_text(error)))


def _frames(error: BaseException) -> Iterator[str]:
    passed = [
        (frame.f_globals.get("__name__", "?"), line, frame.f_code.co_qualname)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    for module, line, function in passed[-_MAX_FRAMES:]:
        yield mask_text(f"{module}:{line} {function}", 200)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    ahead = [error]
    while ahead:
        one = ahead.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            ahead += one.exceptions
        because = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if because is not None:
            ahead.append(because)
