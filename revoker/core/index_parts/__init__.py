"""What the gateway's index is made of. Everybody else imports `revoker.core.index`."""
