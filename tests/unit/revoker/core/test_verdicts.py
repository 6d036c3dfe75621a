"""What clients are told."""

import pytest

from revoker.core import verdicts
from revoker.core.verdicts import Hold, Revocation
from tests.factories import NOW


def over(cause: str = "password-changed", **reasons: str) -> Revocation:
    return Revocation(id="r-1", cause=cause, initiator="user", reason_user=reasons, requested_at=NOW)


HELD = Hold(id="h-1", reason_user={"en": "wait", "de-CH": "warten"}, until=NOW)
REASONS = {"en": "changed", "de": "geändert", "pt-BR": "alterada", "zh-Hant-TW": "變更"}


@pytest.mark.parametrize(
    ("languages", "told"),
    [
        (None, "changed"),
        ("", "changed"),
        ("de", "geändert"),
        ("DE-ch-1996", "geändert"),
        ("fr, de;q=0.8, en;q=0.9", "changed"),
        ("fr;q=0.9, de;q=0.8", "geändert"),
        ("pt", "alterada"),
        ("pt-PT", "changed"),
        ("zh-hant-tw-x", "變更"),
        ("de;q=0, en", "changed"),
        ("de;q=nonsense", "changed"),
        ("de;q=nan, de", "geändert"),
        ("*", "changed"),
        (";;,=,q=1,,-,", "changed"),
        ("x" * 100_000, "changed"),
    ],
)
def test_the_reason_is_told_in_the_language_asked_for(languages: str | None, told: str) -> None:
    assert verdicts.text(over(**REASONS), languages) == told


def test_there_are_always_words() -> None:
    assert verdicts.text(over(fr="modifié"), "de") == "modifié"
    assert verdicts.text(over()) == "This session was ended"
    assert verdicts.text(Hold(id="h-1", reason_user={})) == "This session is on hold"
    assert verdicts.text(HELD, "de-CH") == "warten"


def test_the_table() -> None:
    assert [(verdicts.answer(each).close_code, verdicts.answer(each).status) for each in (over(), HELD)] == [
        (4401, 401),
        (4403, 403),
    ]
    assert (verdicts.code(over()), verdicts.code(HELD)) == ("password-changed", "held")


@pytest.mark.parametrize("cause", ["password-changed", "x" * 300, "é" * 100, "🔐" * 40])
def test_a_close_frame_has_room_for_the_reason(cause: str) -> None:
    reason = verdicts.close_reason(over(cause))

    assert len(reason.encode()) <= 123
    assert cause.startswith(reason)


def test_the_header_of_a_refusal_is_one_line_of_ascii() -> None:
    assert verdicts.www_authenticate(over()) == 'Bearer error="invalid_token", error_description="password-changed"'
    hostile = verdicts.www_authenticate(over('a"b\\c\r\nSet-Cookie: é'))
    assert hostile == 'Bearer error="invalid_token", error_description="a?b?c??Set-Cookie: ?"'
    assert verdicts.www_authenticate(HELD) is None
