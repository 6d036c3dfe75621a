"""Keycloak's admin events. What was done to whom is in the path; the representation is the request as it was sent."""

import re
from typing import Any, Final

from pydantic_core import from_json

from schemas.formats.native import Meaning, Tree, UnknownRecordError, text

_OPERATIONS: Final = frozenset({"CREATE", "UPDATE", "DELETE", "ACTION"})
_RESOURCES: Final = frozenset(
    """
    REALM REALM_ROLE REALM_ROLE_MAPPING REALM_SCOPE_MAPPING AUTH_FLOW AUTH_EXECUTION_FLOW AUTH_EXECUTION
    AUTHENTICATOR_CONFIG REQUIRED_ACTION_CONFIG REQUIRED_ACTION IDENTITY_PROVIDER IDENTITY_PROVIDER_MAPPER
    PROTOCOL_MAPPER USER USER_LOGIN_FAILURE USER_SESSION USER_FEDERATION_PROVIDER USER_FEDERATION_MAPPER GROUP
    GROUP_MEMBERSHIP CLIENT CLIENT_INITIAL_ACCESS_MODEL CLIENT_ROLE CLIENT_ROLE_MAPPING CLIENT_SCOPE
    CLIENT_SCOPE_MAPPING CLIENT_SCOPE_CLIENT_MAPPING CLUSTER_NODE COMPONENT AUTHORIZATION_RESOURCE_SERVER
    AUTHORIZATION_RESOURCE AUTHORIZATION_SCOPE AUTHORIZATION_POLICY CUSTOM USER_PROFILE ORGANIZATION
    ORGANIZATION_MEMBERSHIP ORGANIZATION_GROUP ORGANIZATION_GROUP_MEMBERSHIP
    """.split()  # noqa: SIM905 - a list of them would be a page
)
_USER: Final = re.compile(r"users/([^/]+)(?:/(.+))?")
_SESSION: Final = re.compile(r"sessions/([^/]+)")
_EVERYBODY: Final = ("logout-all", "push-revocation")


def read(record: Tree) -> tuple[str, Meaning | None]:
    """What is called how, and what it means. Raises `UnknownRecordError`."""
    operation, resource = text(record, "operationType") or "", text(record, "resourceType") or ""
    name = f"{resource}.{operation}"
    if operation not in _OPERATIONS or resource not in _RESOURCES:
        raise UnknownRecordError(name, "operationType, resourceType: none of Keycloak that is known here")
    if text(record, "error") is not None:
        return name, None
    path = text(record, "resourcePath") or ""
    if operation == "ACTION" and path.endswith(_EVERYBODY):
        # Too much to end on the word of one event, and too much to pass over in silence.
        raise UnknownRecordError(f"{name}.{path.rpartition('/')[2]}", "resourcePath: ends everybody's: order it here")
    if resource == "USER" and (of_user := _USER.fullmatch(path)):
        return name, _about_user(record, operation, of_user[1], of_user[2])
    if name == "USER_SESSION.DELETE":
        of_session = _SESSION.fullmatch(path)
        if of_session is None:
            raise UnknownRecordError(name, "resourcePath: names no session")
        # Whose it is, the registry knows.
        data = {"session_ids": [of_session[1]], "initiator": "admin"}
        return name, Meaning(type="session-revoked", subject=None, data=data)
    return name, None


def _about_user(record: Tree, operation: str, subject: str, what: str | None) -> Meaning | None:
    type_ = _TYPES.get((operation, what))
    if (operation, what) == ("UPDATE", None) and _representation(record).get("enabled") is False:
        type_ = "account-disabled"
    if type_ is None:
        return None
    initiator = "user" if text(record, "authDetails", "userId") == subject else "admin"
    return Meaning(type=type_, subject=subject, data={"initiator": initiator})


def _representation(record: Tree) -> dict[str, Any]:
    found = record.get("representation")
    if isinstance(found, str):
        try:
            found = from_json(found, allow_inf_nan=False)
        except ValueError:
            return {}
    return found if isinstance(found, dict) else {}


_TYPES: Final = {
    ("DELETE", None): "account-deleted",
    ("ACTION", "logout"): "logged-out-everywhere",
    ("ACTION", "reset-password"): "password-changed",
}
