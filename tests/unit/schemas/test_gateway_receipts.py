"""A receipt cannot break the batch that it arrives in."""

import copy
import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.catalogue import PUBLISHED
from schemas.codec import encode
from schemas.gateway_receipts import GatewayReceipt
from schemas.topics import Topic

[EXAMPLE] = [json.loads(encode(message.example)) for message in PUBLISHED if message.topic is Topic.GATEWAY_RECEIPTS]


def read(**changes: Any) -> GatewayReceipt:
    return GatewayReceipt.model_validate_json(json.dumps(EXAMPLE | {"data": EXAMPLE["data"] | changes}))


def changed(part: str, **changes: Any) -> dict[str, Any]:
    [entry] = copy.deepcopy(EXAMPLE["data"][part])
    return {part: [entry | changes]}


@pytest.mark.parametrize(
    "changes",
    [
        {"max_staleness": 0},
        {"max_staleness": float("inf")},
        {"max_staleness": float("nan")},
        {"kind": "gate\x00way"},
        {"kind": ""},
        {"position": "0:1\x00"},
        {"position": "x" * 10_001},
        {"attributes": ["x"] * 501},
        {"state": "dead"},
        {"mode": "lax"},
        changed("applied", connections_dropped=-1),
        changed("applied", connections_dropped=2**31),
        changed("applied", cached_sessions_dropped=2**31),
        changed("refused", count=0),
        changed("refused", count=2**31),
        changed("refused", last_ip="fe80::1%eth0"),
        {"applied": EXAMPLE["data"]["applied"] * 501},
        {"refused": EXAMPLE["data"]["refused"] * 501},
    ],
)
def test_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        read(**changes)


def test_an_instance_that_has_applied_nothing_yet() -> None:
    receipt = read(position="", applied=[], refused=[], state="replaying")

    assert (receipt.data.applied, receipt.data.refused) == ((), ())
