"""The shape of the code, and that each check of it can fail."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "revoker", "consumers")
LONGEST_FILE = 400
# In two halves, so that this file does not break its own rule.
REGISTRIES = tuple(
    ".".join(host)
    for host in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("maven", "org"),
        ("maven", "apache.org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("crates", "io"),
        ("proxy.golang", "org"),
        ("rubygems", "org"),
        ("anaconda", "org"),
    )
)
# A folder near the root may be called anything, and then says nothing.
PLACES = (str(ROOT),) if len(ROOT.parts) > 2 else ()
_SQL = re.compile(
    r"\bselect\b.+\bfrom\b|\binsert\s+into\b|\bupdate\b.+\bset\b|\bdelete\s+from\b|\b(create|alter|drop)\s+table\b",
    re.IGNORECASE | re.DOTALL,
)
_ASYNC = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)


def sources(root: Path, *packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text())


def impure(root: Path) -> list[str]:
    """The contract and the rule take values and give values: nothing there waits."""
    return [
        f"{name}:{getattr(node, 'lineno', 0)}: asynchronous"
        for name, tree in sources(root, "schemas", "revoker/core")
        for node in ast.walk(tree)
        if isinstance(node, _ASYNC) or (isinstance(node, ast.comprehension) and node.is_async)
    ]


def sql_outside_storage(root: Path) -> list[str]:
    return [
        f"{name}:{line}: {text[:40]!r}"
        for name, tree in sources(root, *PACKAGES)
        if not name.startswith("revoker/storage/")
        for line, text in _strings(tree)
        if _SQL.search(text)
    ]


def _strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """All but prose: a string that is a statement is a docstring. The gaps of an f-string are filled with `x`."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr():
                parts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
                skipped |= {id(part) for part in node.values}
                yield node.lineno, "".join(map(str, parts))
            case ast.Constant(value=str(text)) if id(node) not in skipped:
                yield node.lineno, text
            case _:
                pass


def overlong(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}: {count} lines"
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        if (count := len(path.read_text().splitlines())) > LONGEST_FILE
    ]


def unexplained(root: Path) -> list[str]:
    """Packages that do not say what they are for. Migrations are files, not a package."""
    return [
        f"{folder.relative_to(root)}: no docstring in __init__.py"
        for package in PACKAGES
        for folder in sorted({path.parent for path in (root / package).rglob("*.py")} | {root / package})
        if "migrations" not in folder.parts and not _docstring(folder / "__init__.py")
    ]


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text())) if path.exists() else None


def telltale(root: Path) -> list[str]:
    """Where packages come from is the business of whoever installs; where this tree lies is nobody's."""
    return [
        f"{name}: names {word}"
        for name in _tracked(root)
        if (root / name).is_file()
        for content in [(root / name).read_bytes().lower()]
        for word in (*REGISTRIES, *PLACES)
        if word.encode() in content
    ]


def _tracked(root: Path) -> list[str]:
    git = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


def broken_contracts(root: Path) -> list[str]:
    """What import-linter says; it reads the contracts in pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([program, "--no-cache"], check=False, capture_output=True, text=True, cwd=root)
    return [] if run.returncode == 0 else [run.stdout + run.stderr]


CHECKS = (impure, sql_outside_storage, overlong, unexplained, telltale, broken_contracts)


@pytest.mark.parametrize("check", CHECKS)
def test_the_code_keeps_its_shape(check: Callable[[Path], list[str]]) -> None:
    assert not check(ROOT), "\n".join(check(ROOT))


@pytest.mark.parametrize(
    ("check", "place", "code"),
    [
        (impure, "schemas/planted.py", "async def f() -> None: ..."),
        (impure, "revoker/core/planted.py", "async def f(): return [x async for x in g()]"),
        (sql_outside_storage, "revoker/planted.py", 'QUERY = "SELECT *\\n FROM sessions"'),
        (sql_outside_storage, "consumers/planted.py", 'def f(t): return f"update {t} set x = 1"'),
        (sql_outside_storage, "revoker/service/planted.py", 'QUERY = "insert into sessions values (1)"'),
        (overlong, "consumers/planted.py", "x = 1\n" * (LONGEST_FILE + 1)),
        (unexplained, "revoker/planted/__init__.py", "x = 1"),
        (unexplained, "revoker/planted/module.py", '"""No __init__.py beside it."""'),
        (telltale, "planted.md", f"see https://{REGISTRIES[0]}/simple"),
        (telltale, "planted.txt", f"--find-links {ROOT}/wheels"),
        (broken_contracts, "schemas/planted.py", "import sqlalchemy"),
        (broken_contracts, "revoker/core/planted.py", "from revoker.storage import tables"),
        (broken_contracts, "revoker/embedded/planted.py", "from revoker import settings"),
    ],
)
def test_each_check_can_fail(check: Callable[[Path], list[str]], place: str, code: str, tree: Path) -> None:
    assert not [finding for finding in check(tree) if "planted" in finding]

    (tree / place).parent.mkdir(parents=True, exist_ok=True)
    (tree / place).write_text(code)

    assert [finding for finding in check(tree) if "planted" in finding]


@pytest.mark.parametrize(
    "code",
    [
        '"""Select what to read from the topic."""',
        'HELP = "Set where the update goes"',
        'HELP = "From here on, select one"',
    ],
)
def test_prose_is_not_sql(code: str, tree: Path) -> None:
    (tree / "revoker/planted.py").write_text(code)

    assert not [finding for finding in sql_outside_storage(tree) if "planted" in finding]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code, to plant faults in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path
