"""What the documents name exists: commands, options, targets, settings, metrics, topics, types, files and headings."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from pydantic import BaseModel

from revoker.cli import app
from revoker.cli.demo import curl
from revoker.gateway.settings import VARIABLES
from revoker.settings import Settings
from revoker.telemetry.names import METRICS
from schemas.catalogue import PUBLISHED
from schemas.codec import Reason
from schemas.topics import REJECTED_HEADERS, Topic

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Read elsewhere than in the settings.
OTHER_VARIABLES: Final = {"REVOKER_CONFIG", "REVOKER_CACHE_DIR", "REVOKER_GATEWAY_FEED"} | {
    variable for variable, _ in VARIABLES.values()
}
SECRETS: Final = {f"REVOKER_{name}_FILE" for name in ("DATABASE_URL", "REDIS_URL", "KAFKA__PASSWORD")}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def spans(text: str) -> Iterator[str]:
    """Code in the text, and the lines of blocks of it."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield from (line.strip().removeprefix("$ ") for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def commands(text: str) -> list[list[str]]:
    # What follows two spaces in a block is said about the command.
    typed = [re.split(r"\s{2,}|…", span)[0] for span in spans(text) if re.match(r"revoker [a-z]", span)]
    return [shlex.split(line) for line in (*typed, *re.findall(r"\$\((revoker [^)]*)\)", text))]


def complaint(words: list[str]) -> str | None:
    """What `words` ask for that the program does not have."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while rest and hasattr(command, "commands"):
        name, *rest = rest
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    if hasattr(command, "commands") and not command.invoke_without_command:
        return f"{command.name} alone is no command"
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    values = iter(rest)
    arguments = 0
    for word in values:
        if not word.startswith("-"):
            arguments += 1
        elif word not in known:
            return f"{command.name} has no option {word}"
        elif not getattr(known[word], "is_flag", False):
            next(values, None)
    allowed = sum(parameter.param_type_name == "argument" for parameter in command.params)
    return f"{command.name} takes {allowed} arguments" if arguments > allowed else None


@each_document
def test_every_command_can_be_typed(document: Path) -> None:
    told = {shlex.join(words): complaint(words) for words in commands(document.read_text())}

    assert {words: wrong for words, wrong in told.items() if wrong} == {}


def test_every_command_is_in_the_readme() -> None:
    program: Any = typer.main.get_command(app)
    named = {tuple(words[1:3]) for words in commands((ROOT / "README.md").read_text())}

    for name, command in program.commands.items():
        for part in getattr(command, "commands", [None]):
            assert any(words[0] == name and part in {None, *words[1:]} for words in named), (name, part)


def test_the_lines_that_the_demo_prints_for_curl_are_in_the_readme() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    text = re.sub(r'"id":"demo-\w+","source"', '"id":"","source"', text)

    for step in curl.steps({"erin": "erin", "bob": "bob"}):
        for line in step.lines:
            assert re.sub(r'"id":"demo-\w+"', '"id":""', " ".join(line.split())) in text


@pytest.mark.parametrize(
    "words",
    [
        ["revoker", "nonsense"],
        ["revoker", "rejected"],
        ["revoker", "sessions", "alice", "--nonsense"],
        ["revoker", "migrate", "alice"],
    ],
)
def test_a_wrong_command_is_seen(words: list[str]) -> None:
    assert complaint(words)


@each_document
def test_every_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match[1] for span in spans(document.read_text()) if (match := re.match(r"make ([a-z-]+)", span))}

    assert named <= targets


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = document if not path else document.parent / path
        assert target.exists(), link
        if heading:
            slugs = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in _headings(target)}
            assert heading in slugs, link


@each_document
def test_every_file_exists(document: Path) -> None:
    named = {
        span for span in spans(document.read_text()) if re.fullmatch(r"(tests|revoker|schemas|docs)/[\w/.-]+", span)
    }

    assert {name for name in named if not (ROOT / name).exists()} == set()


@each_document
def test_every_setting_exists(document: Path) -> None:
    text = document.read_text()
    keys = set(_keys(Settings))
    variables = {f"REVOKER_{key.replace('.', '__').upper()}" for key in keys} | OTHER_VARIABLES | SECRETS
    sections = {key.partition(".")[0] for key in keys if "." in key}
    named = {span.partition(" =")[0] for span in spans(text)}

    assert set(re.findall(r"REVOKER_[A-Z_]+[A-Z]", text)) <= variables
    dotted = {name for name in named if re.fullmatch(r"[a-z_]+\.[a-z_]+", name) and name.partition(".")[0] in sections}
    assert dotted <= keys


@each_document
def test_every_metric_exists(document: Path) -> None:
    named = {name for span in spans(document.read_text()) for name in re.findall(r"\brevoker_[a-z_]+\b", span)}

    assert named <= set(METRICS)


def test_the_whole_contract_is_in_the_readme() -> None:
    named = set(spans((ROOT / "README.md").read_text()))

    assert {topic.value for topic in Topic} <= named
    assert {published.type for published in PUBLISHED} - {"heartbeat"} <= named
    assert {reason.value for reason in Reason} <= named
    assert set(REJECTED_HEADERS) <= named


def _headings(path: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
