"""`POST /v1/global-token-revocation`: an incident tool, or an identity provider, ends all that a person has
(draft-parecki-oauth-global-token-revocation-04).

It is told as `security-concern-reported` by an admin: of the events that end everything of a subject, the one that says
why, and the last that a policy would soften. Where a policy does spare anything of it, the answer is 422: the draft
wants all refresh tokens ended, and we do not pretend.

Nobody has to be known to be ended: a session that is registered later is born ended. So 404 means only that the person
cannot be one of ours, and nobody learns here whether a subject exists.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response

from revoker.api.parts import Parts
from revoker.api.prefer import Waiting
from revoker.api.problems import ProblemError
from revoker.api.who import Principal
from revoker.service.publish import Prepared
from revoker.settings import Settings
from schemas.fields import Id

KNOWN: Final = frozenset({"iss_sub", "opaque", "complex"})
_ANOTHER: Final = "Another kind of subject identifier is needed: iss_sub, opaque, or complex of user and tenant"


class _Identifier(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, regex_engine="rust-regex")


class IssuerAndSubject(_Identifier):
    """Whom the issuer of our tokens calls so."""

    format: Literal["iss_sub"]
    iss: Annotated[str, Field(max_length=2_000)]
    sub: Id


class Opaque(_Identifier):
    """A name as the events carry it."""

    format: Literal["opaque"]
    id: Id


Simple = Annotated[IssuerAndSubject | Opaque, Field(discriminator="format")]


class Complex(_Identifier):
    """A person of one tenant, for whoever may act in several."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["complex"]
    user: Simple
    tenant: Opaque


class GlobalRevocation(_Identifier):
    """Whose tokens and sessions are to end (RFC 9493)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"sub_id": {"format": "iss_sub", "iss": "https://login.example", "sub": "alice"}},
                {"sub_id": {"format": "opaque", "id": "alice"}},
            ]
        }
    )

    sub_id: Annotated[IssuerAndSubject | Opaque | Complex, Field(discriminator="format")]


async def end_everything(parts: Parts, machine: Principal, sent: bytes, waiting: Waiting) -> Response:
    """The answer to `machine`. Raises `ProblemError`."""
    tenant, subject = _whose(parts.settings, machine, _read(sent))
    prepared = parts.asking.prepare(
        type="security-concern-reported",
        tenant=tenant,
        subject=subject,
        data={
            "initiator": "admin",
            "severity": "high",
            "reason_admin": f"Global token revocation, asked for by {machine.claims.client_id or 'a machine'}",
        },
    )
    if not _ends_all(prepared):
        raise ProblemError(422, "The policy of this service does not let that end everything of a subject")
    asked = await parts.asking.ask(prepared, waiting)
    if not waiting.preferred:
        return Response(status_code=204, headers=asked.headers(waiting))
    return JSONResponse(asked.as_json(), asked.status(waiting), asked.headers(waiting))


def _read(sent: bytes) -> GlobalRevocation:
    try:
        return GlobalRevocation.model_validate_json(sent)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if all(one["type"] in {"union_tag_invalid", "extra_forbidden"} for one in found):
            raise ProblemError(422, _ANOTHER) from error
        told = [{"place": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in found]
        raise ProblemError(400, "The subject cannot be read", errors=told) from error


def _whose(settings: Settings, machine: Principal, wanted: GlobalRevocation) -> tuple[str, str]:
    """Tenant and subject. Raises `ProblemError`."""
    user: Any = wanted.sub_id
    tenant = machine.tenant if settings.claims.tenant is not None else ""
    if isinstance(user, Complex):
        if tenant is not None and user.tenant.id != tenant:
            raise ProblemError(404, "There is no such subject")
        user, tenant = user.user, user.tenant.id
    if tenant is None:
        raise ProblemError(422, "Say in which tenant: a complex subject of user and tenant")
    if isinstance(user, Opaque):
        return tenant, user.id
    if user.iss != settings.auth.issuer:
        raise ProblemError(404, "There is no such subject")
    if settings.claims.subject != "sub":
        raise ProblemError(422, "Subjects are not named by sub here: an opaque one is needed")
    return tenant, user.sub


def _ends_all(prepared: Prepared) -> bool:
    wanted = prepared.decision.revocation
    selector = wanted.selector
    return wanted.enforced and not wanted.keep_clients and selector.subject is not None and selector.client_id is None
