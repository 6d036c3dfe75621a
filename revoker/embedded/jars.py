"""Which jars make Kafka, and the check that a folder holds these and nothing else.

`kafka_jars.sha256` pins every one of them. What a registry or a cache gives us is used only if it matches, on every
start. That guards against a changed or broken download, not against somebody who may write into our user's cache.

Kafka alone is 45 jars. slf4j-simple is the one we add: without a binding Kafka logs nothing, not even why it failed.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from revoker.embedded.errors import KafkaUnavailableError

COORDINATES = (
    ("org.apache.kafka", "kafka_2.13", "4.3.1"),
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)
VERSION = COORDINATES[0][2]
_PINS = Path(__file__).with_name("kafka_jars.sha256")


@cache
def pins() -> Mapping[str, str]:
    """File name to sha256."""
    return {name: digest for digest, name in map(str.split, _PINS.read_text().splitlines())}


def fingerprint() -> str:
    """Changes with any pin, so that a new release of ours never meets the old jars."""
    return hashlib.sha256(_PINS.read_bytes()).hexdigest()[:12]


def matches(jar: Path) -> bool:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == pins().get(jar.name)


def require_pinned(folder: Path) -> tuple[Path, ...]:
    """The jars of the folder, if they are exactly the pinned ones."""
    present = {entry.name for entry in folder.iterdir()}
    problems = [f"missing: {name}" for name in sorted(pins().keys() - present)]
    problems += [f"unexpected: {name}" for name in sorted(present - pins().keys())]
    problems += [f"checksum mismatch: {name}" for name in sorted(present & pins().keys()) if not matches(folder / name)]
    if problems:
        raise KafkaUnavailableError(
            f"the Kafka jars in {folder} are not the pinned ones and will not be run "
            f"({'; '.join(problems)}). Remove that folder to have them fetched again."
        )
    return tuple(folder / name for name in sorted(present))
