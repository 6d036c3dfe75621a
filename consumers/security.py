"""`[kafka]` in FastStream's words; `revoker.kafka` has the same for plain clients."""

from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from revoker.kafka import client_options
from revoker.settings import Settings

_MECHANISMS = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


def broker_security(settings: Settings) -> BaseSecurity | None:
    """How FastStream's consumers prove who they are; None on a plain listener."""
    kafka = settings.kafka
    context = client_options(settings).get("ssl_context")
    if kafka.security_protocol.startswith("SASL") and kafka.username and kafka.password:
        mechanism = _MECHANISMS[kafka.sasl_mechanism]
        return mechanism(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            ssl_context=context,
            use_ssl=context is not None,
        )
    return BaseSecurity(ssl_context=context, use_ssl=True) if context is not None else None
