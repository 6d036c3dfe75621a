"""Which translator reads which format, and its word as an event of ours."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.cloudevent import SPECVERSION
from schemas.formats import auth0, gotrue, keycloak, kratos, okta
from schemas.formats.native import Meaning, Native, Tree
from schemas.inputs import Format

TRANSLATORS: Final[Mapping[Format, Callable[[Tree], Native]]] = {
    Format.KEYCLOAK: keycloak.read,
    Format.AUTH0: auth0.read,
    Format.OKTA: okta.read,
    Format.KRATOS: kratos.read,
    Format.GOTRUE: gotrue.read,
}


def as_event(native: Native, meaning: Meaning, *, source: str, tenant: str) -> dict[str, Any]:
    """What `native` means, as the event that the models then judge. Its id is the platform's: a redelivery is known."""
    event = {
        "specversion": SPECVERSION,
        "type": meaning.type,
        "id": native.id,
        "source": source,
        "tenant": tenant,
        "subject": meaning.subject,
        "time": native.time,
    }
    present = {name: value for name, value in event.items() if value is not None}
    return present | ({"data": dict(meaning.data)} if meaning.data else {})


def spokesman(format_: Format, native: Native) -> str:
    """Who says so where nobody is bound to: the platform, and which realm of it."""
    return f"{format_}/{native.realms[0]}" if native.realms else str(format_)
