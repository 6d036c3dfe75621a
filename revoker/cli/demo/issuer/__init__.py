"""The demo's own small issuer, as a login service would be one: keys, tokens, and a page to sign in on.

    tokens.py     what is asked for, and the token that says so
    codes.py      links that sign in once
    desk.py       a person signs in: a session is published, and a cookie made
    app.py        discovery, the public keys, the page, and tokens for `revoker demo token`
    running.py    up, and down again
    asking.py     the other end of `revoker demo token`, in a process of its own

Nobody here has a password: whoever can reach the page may be anybody, so it listens on this machine alone. Its private
key is made anew with each start and never leaves the process. Whoever may have tokens by `revoker demo token` proves it
by a secret in a file that nobody else can read.
"""

from typing import Final

AUDIENCE: Final = "revoker-demo"
"""Whom its tokens are for, unless somebody asks for another."""
COOKIE: Final = "revoker-demo-session"
"""Browsers keep a host's cookies for all its ports: the name is one that no other program of the reader has."""
SIGN_IN_PATH: Final = "/sign-in"
SIGNED_OUT: Final = "signed-out"
"""What a browser brings along that comes from signing out: `done`, `failed` or `reauthenticate`."""
ADDRESS_FILE: Final = "issuer.json"
"""In the demo's folder: where the issuer is, and what to show it."""
