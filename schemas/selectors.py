"""The wire form of a selector: which sessions a revocation or a hold speaks of."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictBool, model_validator

from schemas.fields import MAX_IDS, Id, Instant, Labels, Message, Network, Tenant


class Selector(Message):
    """Every attribute that is named must equal the session's; `session_id` may name several, of which one must.

    It must name something beside the tenant, or say `everyone: true` and nothing beside the tenant. An attribute that
    is not known is refused, unlike anywhere else: to ignore it would end more than was asked for.
    """

    model_config = ConfigDict(extra="forbid")

    tenant: Tenant | None = None
    subject: Id | None = None
    session_id: Id | Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_IDS)] | None = None
    token_id: Id | None = None
    client_id: Id | None = None
    key_id: Id | None = None
    device_id: Id | None = None
    ip_network: Network | None = None
    labels: Labels | None = None
    established_after: Instant | None = None
    everyone: StrictBool | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        narrowing = any(getattr(self, name) for name in _NARROWING)
        if not narrowing and not self.everyone:
            raise ValueError("an empty selector is refused; say everyone: true")
        if narrowing and self.everyone:
            raise ValueError("everyone: true stands alone or beside tenant")
        return self


_NARROWING = frozenset(Selector.model_fields) - {"tenant", "everyone"}
