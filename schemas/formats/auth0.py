"""Auth0: tenant log events as log streams send them, by themselves or as {"log_id": …, "data": {…}}.

The `session_id` in `details` is the `sid` of Auth0's tokens. The types are those of Auth0's own list (July 2026).
"""

from collections.abc import Callable, Mapping
from typing import Final

from schemas.formats import auth0_api
from schemas.formats.native import (
    Meaning,
    Native,
    Tree,
    UnknownRecordError,
    address,
    branch,
    instant,
    known,
    named,
    text,
)

_HARMLESS: Final = frozenset(
    """
    acls_summary actions_execution_failed acul_sdk_notice api_limit api_limit_warning appi ciba_exchange_failed
    ciba_exchange_succeeded ciba_start_failed ciba_start_succeeded cls coff con connected_accounts_connection_failed
    connected_accounts_connection_succeeded connected_accounts_delete_failed connected_accounts_delete_succeeded cs
    custom_domain_verification_failed depnote directory_sync_completed directory_sync_failed directory_sync_started f
    failed_on_behalf_of_token_exchange fc fce fco fcoa fcp fcph fcpn fcpr fcpro fcu fd fdeac fdeaz fdecc fdeleacft
    fdelsa fdu feacft feccft fecte fede federated_logout_failed fens feoobft feotpft fepft fepotpft fercft fertft feta
    fi flo flows_execution_completed flows_execution_failed fn forms_submission_failed forms_submission_succeeded fp
    fpar fpurh fs fsa fscim fu fui fv fvr gd_auth_email_verification gd_auth_fail_email_verification gd_auth_failed
    gd_auth_rejected gd_auth_succeed gd_enrollment_complete gd_otp_rate_limit_exceed gd_recovery_failed
    gd_recovery_rate_limit_exceed gd_recovery_succeed gd_send_email gd_send_email_verification
    gd_send_email_verification_failure gd_send_pn gd_send_pn_failure gd_send_sms gd_send_sms_failure gd_send_voice
    gd_send_voice_failure gd_start_auth gd_start_enroll gd_start_enroll_failed gd_tenant_update gd_unenroll
    gd_update_device_account gd_webauthn_challenge_failed gd_webauthn_enrollment_failed idjag_exchange_failed
    idjag_exchange_succeeded jwt_bearer_exchange_failed kms_key_management_failure kms_key_management_success
    kms_key_state_changed limit_delegation limit_mu limit_phone limit_sul limit_wc mfar mgmt_api_read
    my_account_authentication_method_failed my_account_authentication_method_succeeded oidc_backchannel_logout_failed
    oidc_backchannel_logout_succeeded organization_member_added passkey_challenge_failed passkey_challenge_started
    passkey_register_failed passkey_register_started pla pwd_leak reset_pwd_leak resource_cleanup
    rich_consents_access_error scoa scpn scpr scu scv sd sdel sdeleacft sdelsa seccft secte sede sens seoobft seotpft
    sepft sepkoobft sepkotpft sepkrcft sercft seta si signup_pwd_leak ss ss_sso_failure ss_sso_info ss_sso_success sscim
    success_on_behalf_of_token_exchange sui sv svr too_many_records ublkdu universal_logout_failed w wn wum
    """.split()  # noqa: SIM905 - a list of them would be a page
)


def read(record: Tree) -> Native:
    """What a log event says. Raises `UnknownRecordError`."""
    event = branch(record, "data") if "type" not in record else record
    name = text(event, "type")
    if name is None:
        raise UnknownRecordError(None, "type: an Auth0 log event has one")
    if name not in _MEANINGS and name not in _HARMLESS:
        raise UnknownRecordError(name, "type: no log event type of Auth0 that is known here")
    tenant = text(event, "tenant_name")
    return Native(
        name=name,
        meaning=_MEANINGS[name](event) if name in _MEANINGS else None,
        id=named(text(event, "log_id") or text(record, "log_id"), event),
        time=instant(event.get("date")),
        realms=(tenant,) if tenant else (),
    )


def _established(event: Tree) -> Meaning | None:
    session_id = text(event, "details", "session_id")
    data = known(
        session_id=session_id,
        client_id=text(event, "client_id"),
        ip=address(event.get("ip")),
        user_agent=text(event, "user_agent"),
    )
    return _of(event, "session-established", data) if session_id else None


def _presented(event: Tree) -> Meaning | None:
    """A client asked for tokens in a session that was there before."""
    session_id = _session(event)
    data = known(session_id=session_id, client_id=text(event, "client_id"))
    return _of(event, "session-presented", data) if session_id else None


def _logged_out(event: Tree) -> Meaning:
    # `client_id` only asked for it: the whole sign-in is over.
    return _of(event, "logged-out", known(session_id=text(event, "details", "session_id"), initiator="user"))


def _reused(event: Tree) -> Meaning | None:
    """Only where the log says whose session the family of tokens belonged to."""
    session_id = _session(event)
    return _of(event, "refresh-token-reused", {"session_id": session_id, "initiator": "system"}) if session_id else None


def _token_revoked(event: Tree) -> Meaning:
    return _of(event, "token-revoked", known(token_id=text(event, "details", "credential_id")))


def _session(event: Tree) -> str | None:
    return text(event, "details", "refresh_token", "session_id") or text(event, "details", "session_id")


def _simply(type_: str, **data: str) -> Callable[[Tree], Meaning]:
    return lambda event: _of(event, type_, data)


def _of(event: Tree, type_: str, data: Mapping[str, object]) -> Meaning:
    return Meaning(type=type_, subject=text(event, "user_id"), data=data)


_MEANINGS: Final[Mapping[str, Callable[[Tree], Meaning | None]]] = {
    "s": _established,
    "ssa": _presented,
    "seacft": _presented,
    "sertft": _presented,
    "slo": _logged_out,
    "scp": _simply("password-changed"),
    "sce": _simply("email-changed"),
    "sdu": _simply("account-deleted"),
    "srrt": _token_revoked,
    "ferrt": _reused,
    "universal_logout_succeeded": _simply("logged-out-everywhere", initiator="admin"),
    "sapi": auth0_api.read,
}
