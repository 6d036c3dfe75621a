"""The names of cached copies."""

import pytest
from pydantic import ValidationError

from revoker.core.copies import Templates, check_template
from revoker.settings import DenylistSettings


def test_each_gap_is_filled() -> None:
    templates = Templates(["sess:{session_id}", "{tenant}/{client_id}/{session_id}", "menu:{tenant}:{subject}"])

    assert list(templates.of_session("acme", "alice", "s-1", "web")) == ["sess:s-1", "acme/web/s-1"]
    assert list(templates.of_subject("acme", "alice")) == ["menu:acme:alice"]


def test_what_fills_a_gap_is_not_a_template_itself() -> None:
    assert list(Templates(["sess:{session_id}"]).of_session("", "alice", "{subject}", "")) == ["sess:{subject}"]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "everything",
        "{tenant}",
        "{client_id}:{subject}",
        "{session_id}:{sessionid}",
        "{session_id!r}",
        "{session_id:>9}",
        "{session_id.__class__}",
        "{session_id",
        "{}:{session_id}",
    ],
)
def test_a_template_that_names_nobody_or_the_unknown_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"needs .session_id. or .subject."):
        check_template(template)
    with pytest.raises(ValidationError, match=r"needs .session_id. or .subject."):
        DenylistSettings(cached=(template,))
