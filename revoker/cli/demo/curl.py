"""What can be asked over HTTP, as lines for a shell that has sourced the demo's `env`. Data only.

They can be pasted one by one or all at once, and once more: they use a person of their own, erin, and bob, whom nobody
else signs out.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from revoker.cli.demo.story import CALLER, CHROME_ON_MAC, EDGE_ON_WINDOWS, IPAD, IPHONE
from schemas.cloudevent import SPECVERSION

SIGN_INS: Final = "sign-ins.json"
_DEVICES: Final = {
    "phone": (IPHONE, "203.0.113.77"),
    "tablet": (IPAD, "203.0.113.77"),
    "laptop": (CHROME_ON_MAC, "203.0.113.77"),
    "office": (EDGE_ON_WINDOWS, "198.51.100.20"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """Some lines, and what they are for."""

    said: str
    lines: tuple[str, ...]


_JSON: Final = '-H "Content-Type: application/json"'
_MORE: Final = " \\\n      "
"""A command goes on in the next line."""
_CHECK: Final = "curl -i $API/check --oauth2-bearer $BOB"
_LAST: Final = f"{_MORE}-w '\\n' -d '{{event}}' &&{_MORE}{_CHECK}"
STEPS: Final = (
    Step(
        "a login service publishes: {erin} signs in on four devices",
        (
            'LOGIN=$(revoker demo token demo-login --scope "revoker.publish revoker.introspect")',
            f'curl $API/v1/events --oauth2-bearer $LOGIN {_JSON} -d "@$DEMO/sign-ins.json"',
        ),
    ),
    Step(
        "{erin}, on the phone: my devices; end one; end all others",
        (
            "PHONE=$(revoker demo token {erin} --session {erin}-phone)",
            "curl $API/v1/me/sessions --oauth2-bearer $PHONE",
            "curl -X DELETE $API/v1/me/sessions/{erin}-office --oauth2-bearer $PHONE",
            "curl $API/logout --oauth2-bearer $PHONE -d scope=others",
        ),
    ),
    Step(
        "log out: a link cannot do it (405), a POST does; what a resource server is told before and after",
        (
            "curl $API/v1/introspect --oauth2-bearer $LOGIN -d token=$PHONE",
            "curl -i $API/logout --oauth2-bearer $PHONE",
            'curl -X POST "$API/logout?until=enforced" -H "Prefer: wait=5" --oauth2-bearer $PHONE',
            "curl $API/v1/introspect --oauth2-bearer $LOGIN -d token=$PHONE",
        ),
    ),
    Step(
        "{bob} changes his password elsewhere: in the moment of the answer, /check refuses his desktop",
        (
            "BOB=$(revoker demo token {bob} --session {bob}-desktop)",
            _CHECK,
            f'curl "$API/v1/events?until=enforced" -H "Prefer: wait=5" --oauth2-bearer $LOGIN {_JSON}' + _LAST,
        ),
    ),
)


def steps(names: Mapping[str, str]) -> list[Step]:
    """The steps, with what these people are called."""
    erin, bob = names[CALLER], names["bob"]
    event = json.dumps(_event("password-changed", bob), separators=(",", ":"))
    words = {"erin": erin, "bob": bob, "event": event}
    return [Step(step.said.format(**words), tuple(line.format(**words) for line in step.lines)) for step in STEPS]


def sign_ins(names: Mapping[str, str]) -> str:
    """What the file of that name holds: events, as JSON."""
    erin = names[CALLER]
    events = [
        _event("session-established", erin, session_id=f"{erin}-{device}", client_id="app", user_agent=agent, ip=ip)
        for device, (agent, ip) in _DEVICES.items()
    ]
    return f"{json.dumps(events, indent=1)}\n"


def _event(type_: str, subject: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the type has
    event = {
        "specversion": SPECVERSION,
        "type": type_,
        "id": f"demo-{secrets.token_hex(4)}",
        "source": "demo-login",
        "subject": subject,
    }
    return event | ({"data": data} if data else {})
