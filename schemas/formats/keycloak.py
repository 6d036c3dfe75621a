"""Keycloak: user events and admin events, the JSON of `org.keycloak.events.Event` and `AdminEvent` (26.7), as
event-listener extensions put them on Kafka.

Keycloak's `sessionId` is the `sid` of its tokens. A change of password names the session that made it in `code_id`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from schemas.formats import keycloak_admin
from schemas.formats.native import Meaning, Native, Tree, UnknownRecordError, address, instant, known, named, text

_ERROR: Final = "_ERROR"
_EXPIRED: Final = "expired"
_REUSED: Final = ("refresh token reuse exceeded", "Stale token")

_HARMLESS: Final = frozenset(
    """
    REGISTER CLIENT_LOGIN VALIDATE_ACCESS_TOKEN INTROSPECT_TOKEN FEDERATED_IDENTITY_LINK REMOVE_FEDERATED_IDENTITY
    UPDATE_PROFILE UPDATE_TOTP VERIFY_EMAIL VERIFY_PROFILE REMOVE_TOTP GRANT_CONSENT UPDATE_CONSENT SEND_VERIFY_EMAIL
    SEND_RESET_PASSWORD SEND_IDENTITY_PROVIDER_LINK RESET_PASSWORD RESTART_AUTHENTICATION INVALID_SIGNATURE
    REGISTER_NODE UNREGISTER_NODE USER_INFO_REQUEST IDENTITY_PROVIDER_LINK_ACCOUNT IDENTITY_PROVIDER_LOGIN
    IDENTITY_PROVIDER_FIRST_LOGIN IDENTITY_PROVIDER_POST_LOGIN IDENTITY_PROVIDER_RESPONSE
    IDENTITY_PROVIDER_RETRIEVE_TOKEN IMPERSONATE CUSTOM_REQUIRED_ACTION EXECUTE_ACTIONS EXECUTE_ACTION_TOKEN CLIENT_INFO
    CLIENT_REGISTER CLIENT_UPDATE CLIENT_DELETE CLIENT_INITIATED_ACCOUNT_LINKING TOKEN_EXCHANGE OAUTH2_DEVICE_AUTH
    OAUTH2_DEVICE_VERIFY_USER_CODE OAUTH2_DEVICE_CODE_TO_TOKEN AUTHREQID_TO_TOKEN PERMISSION_TOKEN
    PUSHED_AUTHORIZATION_REQUEST USER_DISABLED_BY_TEMPORARY_LOCKOUT OAUTH2_EXTENSION_GRANT JWT_BEARER
    FEDERATED_IDENTITY_OVERRIDE_LINK REMOVE_CREDENTIAL INVITE_ORG VERIFIABLE_CREDENTIAL_REQUEST
    VERIFIABLE_CREDENTIAL_OFFER_REQUEST VERIFIABLE_CREDENTIAL_NONCE_REQUEST VERIFIABLE_CREDENTIAL_CREATE_OFFER
    VERIFIABLE_CREDENTIAL_PRE_AUTHORIZED_GRANT JWT_AUTHORIZATION_GRANT
    """.split()  # noqa: SIM905 - a list of them would be a page
)


def read(record: Tree) -> Native:
    """What a user event or an admin event says. Raises `UnknownRecordError`."""
    if "operationType" in record:
        name, meaning = keycloak_admin.read(record)
    else:
        name, meaning = _user_event(record)
    return Native(
        name=name,
        meaning=meaning,
        id=named(text(record, "id"), record),
        time=instant(record.get("time")),
        realms=tuple(realm for realm in (text(record, "realmId"), text(record, "realmName")) if realm),
    )


def _user_event(record: Tree) -> tuple[str, Meaning | None]:
    name = text(record, "type")
    if name is None:
        raise UnknownRecordError(None, "type, operationType: a Keycloak event has one of them")
    if name in _MEANINGS:
        # An error means that it did not happen. One kind of error says that something else did.
        happened = name == _REFRESH_ERROR or text(record, "error") is None
        return name, _MEANINGS[name](record) if happened else None
    ordinary = name.removesuffix(_ERROR)
    if ordinary not in _HARMLESS and (ordinary == name or ordinary not in _MEANINGS):
        raise UnknownRecordError(name, "type: no event type of Keycloak that is known here")
    return name, None


def _established(record: Tree) -> Meaning | None:
    session_id = text(record, "sessionId")
    data = known(session_id=session_id, client_id=text(record, "clientId"), ip=address(record.get("ipAddress")))
    return _of(record, "session-established", data) if session_id else None


def _presented(record: Tree) -> Meaning | None:
    # The address is often that of the client's own server.
    session_id = text(record, "sessionId")
    data = known(session_id=session_id, client_id=text(record, "clientId"))
    return _of(record, "session-presented", data) if session_id else None


def _logged_out(record: Tree) -> Meaning:
    # `clientId` only asked for it: the whole sign-in is over.
    return _of(record, "logged-out", known(session_id=text(record, "sessionId"), initiator="user"))


def _reused(record: Tree) -> Meaning | None:
    reason = text(record, "details", "reason") or ""
    session_id = text(record, "sessionId")
    if session_id is None or not any(words in reason for words in _REUSED):
        return None
    return _of(record, "refresh-token-reused", {"session_id": session_id, "initiator": "system"})


def _password_changed(record: Tree) -> Meaning:
    return _of(record, "password-changed", _keeping(record))


def _credential_changed(record: Tree) -> Meaning | None:
    return _password_changed(record) if text(record, "details", "credential_type") == "password" else None


def _email_changed(record: Tree) -> Meaning:
    return _of(record, "email-changed", _keeping(record))


def _keeping(record: Tree) -> dict[str, object]:
    mine = text(record, "sessionId") or text(record, "details", "code_id")
    return known(initiator="user", keep=[mine] if mine else None)


def _revoked(record: Tree) -> Meaning | None:
    """RFC 7009: a refresh token ends its client's part of the sign-in, an access token only itself.

    Consent that was withdrawn names no session: nothing of ours ends one client everywhere.
    """
    session_id, token_id = text(record, "sessionId"), text(record, "details", "token_id")
    client_id = text(record, "details", "revoked_client") or text(record, "clientId")
    if session_id:
        return _of(record, "logged-out", known(session_id=session_id, client_id=client_id, initiator="user"))
    return _of(record, "token-revoked", {"token_id": token_id, "initiator": "user"}) if token_id else None


def _session_deleted(record: Tree) -> Meaning | None:
    if _EXPIRED in (text(record, "details", "reason") or ""):
        return None
    session_id = text(record, "sessionId")
    return _of(record, "session-revoked", known(session_ids=[session_id] if session_id else None, initiator="system"))


def _deleted(record: Tree) -> Meaning:
    return _of(record, "account-deleted", {"initiator": "user"})


def _locked_out(record: Tree) -> Meaning:
    return _of(record, "account-disabled", {"initiator": "policy"})


def _of(record: Tree, type_: str, data: Mapping[str, object]) -> Meaning:
    return Meaning(type=type_, subject=text(record, "userId"), data=data)


_REFRESH_ERROR: Final = "REFRESH_TOKEN_ERROR"
_MEANINGS: Final[Mapping[str, Callable[[Tree], Meaning | None]]] = {
    "LOGIN": _established,
    "CODE_TO_TOKEN": _presented,
    "REFRESH_TOKEN": _presented,
    _REFRESH_ERROR: _reused,
    "LOGOUT": _logged_out,
    "UPDATE_PASSWORD": _password_changed,
    "UPDATE_CREDENTIAL": _credential_changed,
    "UPDATE_EMAIL": _email_changed,
    "REVOKE_GRANT": _revoked,
    "USER_SESSION_DELETED": _session_deleted,
    "DELETE_ACCOUNT": _deleted,
    "USER_DISABLED_BY_PERMANENT_LOCKOUT": _locked_out,
}
