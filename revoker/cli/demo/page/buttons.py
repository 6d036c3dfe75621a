"""What can be pressed for a person, on one of the devices, and the real event that it makes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from revoker.cli.demo.page.cast import Cast, Device
from revoker.cli.demo.stage import changed, established, revocation_id
from revoker.cli.demo.story import Change
from revoker.settings import Settings
from schemas.codec import encode
from schemas.topics import Topic

Send = Callable[[Topic, str, bytes], Awaitable[object]]
SIGN_IN: Final = "sign-in"


class RefusedError(Exception):
    """It cannot be pressed now, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """One identity event. `keeps` the device that presses it, or names its session."""

    name: str
    label: str
    meaning: str
    type: str
    keeps: bool
    data: dict[str, Any] = field(default_factory=dict)

    def pressed(self, device: Device) -> Change:
        """What happens."""
        word = device.word
        return Change(
            said=self.label,
            subject=device.subject,
            type=self.type,
            session=None if self.keeps else word,
            keep=(word,) if self.keeps else (),
            data=self.data,
        )


BUTTONS: Final = (
    Button(
        name="change-password",
        label="Change password",
        meaning="keeps this device",
        type="password-changed",
        keeps=True,
        data={"initiator": "user"},
    ),
    Button(
        name="change-email",
        label="Change e-mail",
        meaning="keeps this device",
        type="email-changed",
        keeps=True,
        data={"initiator": "user"},
    ),
    Button(name="sign-out", label="Sign out", meaning="this device alone", type="logged-out", keeps=False),
    Button(
        name="report-stolen",
        label="Report a stolen device",
        meaning="keeps only a fresh sign-in",
        type="security-concern-reported",
        keeps=True,
        data={"initiator": "user", "severity": "high", "reason_admin": "reported on the demo's page"},
    ),
)


class Pressing:
    """Publishes what the buttons mean, as a login service would."""

    def __init__(self, cast: Cast, settings: Settings, send: Send) -> None:
        self._cast = cast
        self._settings = settings
        self._send = send
        self._buttons = {button.name: button for button in BUTTONS}

    async def press(self, subject: str, name: str, session: str) -> None:
        """Returns once Kafka has it. Raises `RefusedError`."""
        if name == SIGN_IN:
            await self._sign_in_again(subject)
            return
        button = self._buttons.get(name)
        device = self._cast.device(subject, session)
        if button is None:
            raise RefusedError("there is no such button")
        if device is None or device.ending is not None:
            raise RefusedError("choose a device that is signed in")

        event = changed(button.pressed(device), subject)
        self._cast.begins(str(revocation_id(event, self._settings)))
        await self._send(Topic.IDENTITY_EVENTS, subject, encode(event))

    async def _sign_in_again(self, subject: str) -> None:
        """On every device that is out."""
        for old in [one for one in self._cast.devices(subject) if one.ending is not None]:
            number = old.number + 1
            now = datetime.now(UTC)
            again = replace(old.sign_in, device=f"{old.sign_in.device}-{number}", age=timedelta())
            await self._send(Topic.SESSION_ACTIVITY, subject, encode(established(again, subject, now)))
            # Somebody else may have pressed it meanwhile: it is the same sign-in then.
            if self._cast.device(subject, old.session_id) is old:
                self._cast.sign_in(subject, old.sign_in, now, number=number)
