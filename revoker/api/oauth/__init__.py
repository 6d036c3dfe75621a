"""What OAuth asks of whoever ends tokens: introspection (RFC 7662), revocation by a client (RFC 7009) and global token
revocation (draft-parecki-oauth-global-token-revocation-04).

We are not the authorization server: its metadata may name these endpoints, and its token
endpoint asks one of them before it answers a refresh.
"""

from revoker.api.oauth.routes import routes

__all__ = ["routes"]
