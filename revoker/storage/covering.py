"""The SQL twin of `revoker.core.revocation`: one text each, used wherever rows are covered.

`r` is a revocation (a stored row or one of the same columns), `s` a session, `t` a token. An attribute that a row does
not have is null, a comparison with null is not true, so UNKNOWN ends nothing here. A property test holds these and the
Python together on random histories.
"""

from typing import Final

_HOME: Final = """
    (r.any_tenant or r.tenant = {c}.tenant) and (r.subject = '' or r.subject = {c}.subject)"""

_BOUND: Final = """
    (r.session_ids is not null or r.token_id is not null or r.key_id is not null or {established} <= r.not_before)"""

SESSION: Final = f"""(r.enforced and r.token_id is null and {_HOME.format(c="s")}
    and (r.session_ids is null or s.session_id = any (r.session_ids))
    and (r.client_id is null or r.client_id = s.client_id)
    and (r.key_id is null or r.key_id = s.key_id)
    and (r.device_id is null or r.device_id = s.device_id)
    and (r.ip_network is null or s.ip <<= r.ip_network)
    and (r.labels = '{{}}' or s.labels @> r.labels)
    and (r.established_after is null or s.established_at > r.established_after)
    and {_BOUND.format(established="s.established_at")}
    and s.session_id <> all (r.keep) and s.client_id <> all (r.keep_clients))"""
"""Whether `r` covers the session `s`."""

TOKEN: Final = f"""(r.enforced and {_HOME.format(c="t")}
    and (r.token_id = t.token_id or (r.token_id is null and t.session_id is null))
    and (r.session_ids is null or t.session_id = any (r.session_ids))
    and (r.client_id is null or r.client_id = t.client_id)
    and r.key_id is null and r.device_id is null and r.ip_network is null and r.labels = '{{}}'
    and (r.established_after is null or t.issued_at > r.established_after)
    and {_BOUND.format(established="t.issued_at")}
    and coalesce(t.session_id, '') <> all (r.keep) and coalesce(t.client_id, '') <> all (r.keep_clients))"""
"""Whether `r` covers the token `t` by itself: it names it, or the token has no session and stands for itself."""

DOMINATES: Final = """(r.enforced
    and (r.any_tenant or r.tenant = n.tenant) and (r.subject = '' or r.subject = n.subject)
    and (r.session_ids is null or n.session_ids <@ r.session_ids)
    and (r.token_id is null or r.token_id = n.token_id)
    and (r.client_id is null or r.client_id = n.client_id)
    and r.key_id is null and r.device_id is null and r.ip_network is null and r.labels = '{}'
    and r.established_after is null
    and (r.session_ids is not null or r.token_id is not null
         or (n.session_ids is null and n.token_id is null and n.not_before <= r.not_before))
    and r.keep <@ n.keep and r.keep_clients <@ n.keep_clients
    and r.covers_until >= n.covers_until)"""
"""Whether the stored `r` covers all that `n` covers; conservative, as `core.revocation.dominates`."""
