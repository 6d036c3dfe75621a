"""The names of cached copies: what applications keep of a session elsewhere, under a key that its ids tell.

A template is a key with gaps: `spring:session:sessions:{session_id}`. It works where our session id is the store's own.
Where that is a digest, because the store's key would be a credential, applications list their keys themselves.
"""

from collections.abc import Iterator, Sequence
from string import Formatter
from typing import Final

_GAPS: Final = frozenset({"session_id", "client_id", "subject", "tenant"})


class Templates:
    """Templates, each of them checked."""

    def __init__(self, templates: Sequence[str]) -> None:
        named = {template: check_template(template) for template in templates}
        self._by_session = [template for template in templates if "session_id" in named[template]]
        self._by_subject = [template for template in templates if "session_id" not in named[template]]

    def of_session(self, tenant: str, subject: str, session_id: str, client_id: str) -> Iterator[str]:
        """The copies of one session."""
        for template in self._by_session:
            yield template.format(tenant=tenant, subject=subject, session_id=session_id, client_id=client_id)

    def of_subject(self, tenant: str, subject: str) -> Iterator[str]:
        """The copies that are kept by subject."""
        for template in self._by_subject:
            yield template.format(tenant=tenant, subject=subject)


def check_template(template: str) -> frozenset[str]:
    """Which ids it names. Raises ValueError for one that names nobody, or what we do not know."""
    try:
        gaps = [(name, form, conversion) for _, name, form, conversion in Formatter().parse(template)]
    except ValueError:
        gaps = [("", "", "")]
    named = frozenset(name for name, _, _ in gaps if name is not None)
    plain = not any(form or conversion for _, form, conversion in gaps)
    whose = {"session_id"} if "client_id" in named else {"session_id", "subject"}
    if not (plain and named <= _GAPS and named & whose):
        raise ValueError(f"{template} needs {{session_id}} or {{subject}}, and knows {', '.join(sorted(_GAPS))} alone")
    return named
