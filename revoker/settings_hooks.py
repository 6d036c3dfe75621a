"""`[[hooks]]`: identity platforms that send what happened to us over HTTP (the other settings: `revoker.settings`)."""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, model_validator

from revoker.errors import ConfigurationError
from schemas.inputs import Format, Publisher

_LEAST_SECRET: Final = 16
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"


class HookSettings(Publisher):
    """A platform that may post to `/v1/hooks/<name>`. See docs/formats.md."""

    name: Annotated[str, Field(pattern=_NAME)]
    """The end of its address: `/v1/hooks/okta`."""
    format: Format
    """How the platform writes; see docs/formats.md."""
    secret: SecretStr | None = None
    """What its `Authorization` header must hold, all of it."""
    secret_file: Path | None = None
    """Instead of `secret`: the file that holds it."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.format is Format.CLOUDEVENTS:
            raise ValueError("CloudEvents are posted to /v1/events, with a token")
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("one of secret and secret_file is needed")
        if self.secret is not None and len(self.secret.get_secret_value()) < _LEAST_SECRET:
            raise ValueError(f"secret must have {_LEAST_SECRET} characters or more")
        return self

    def proof(self) -> str:
        """The secret, from wherever it is. Raises `ConfigurationError`."""
        if self.secret_file is None:
            return self.secret.get_secret_value() if self.secret else ""
        try:
            found = self.secret_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = f"[[hooks]] {self.name}: secret_file cannot be read ({type(error).__name__})"
            raise ConfigurationError(why) from error
        if len(found) < _LEAST_SECRET:
            raise ConfigurationError(f"[[hooks]] {self.name}: secret_file holds less than {_LEAST_SECRET} characters")
        return found
