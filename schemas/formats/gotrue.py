"""Supabase Auth (GoTrue): entries of its audit log, as rows of `auth.audit_log_entries`, as a database web hook sends
them ({"type": "INSERT", "record": {…}}), or as lines of its log ({"auth_audit_event": {…}}).

An entry names no session, and of a logout not its scope: what ends is told of the whole subject.
"""

from typing import Final

from schemas.formats.native import Meaning, Native, Tree, UnknownRecordError, branch, instant, named, text

_HARMLESS: Final = frozenset(
    """
    login invite_accepted user_signedup user_invited user_modified user_recovery_requested user_reauthenticate_requested
    user_confirmation_requested user_repeated_signup token_revoked token_refreshed generate_recovery_codes
    factor_in_progress factor_unenrolled challenge_created verification_attempted factor_deleted recovery_codes_deleted
    factor_updated mfa_code_login identity_linked identity_unlinked passkey_created passkey_updated passkey_deleted
    """.split()  # noqa: SIM905 - a list of them would be a page
)


def read(record: Tree) -> Native:
    """What an entry says. Raises `UnknownRecordError`."""
    entry = branch(record, "record") or branch(record, "auth_audit_event") or record
    payload = branch(entry, "payload") or entry
    name = text(payload, "action")
    if name is None:
        raise UnknownRecordError(None, "payload.action: an entry of the audit log has one")
    if name not in _MEANINGS and name not in _HARMLESS:
        raise UnknownRecordError(name, "payload.action: none of GoTrue that is known here")
    return Native(
        name=name,
        meaning=_meaning(name, payload) if name in _MEANINGS else None,
        id=named(text(entry, "id") or text(entry, "audit_log_id"), entry),
        time=instant(entry.get("created_at")),
    )


def _meaning(name: str, payload: Tree) -> Meaning:
    type_ = _MEANINGS[name]
    acting, target = text(payload, "actor_id"), text(payload, "traits", "user_id")
    initiator = "user" if target in {None, acting} else "admin"
    return Meaning(type=type_, subject=target or acting, data={"initiator": initiator})


_MEANINGS: Final = {
    "logout": "logged-out-everywhere",
    "user_updated_password": "password-changed",
    "user_deleted": "account-deleted",
}
