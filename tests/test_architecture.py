"""The shape of the code: imports go down only, and what each module may touch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import waitroom
from tests import conftest

PACKAGE = Path(waitroom.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: What may import redis-py.
REDIS = ("store/", "checks/judgement.py", "checks/server.py")

#: Names that say nothing about what a module is for.
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "service", "base"}


def imported(path: Path) -> set[str]:
    """The dotted names that a module imports, also inside functions; `from a import b` counts as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def touches(path: Path, package: str) -> bool:
    """Whether a module imports that package or something in it."""
    return any(name == package or name.startswith(package + ".") for name in imported(path))


def relative(path: Path) -> str:
    """A module's path inside the package."""
    return path.relative_to(PACKAGE).as_posix()


def test_imports_go_down_only() -> None:
    """import-linter finds no import against the direction of the floors."""
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [str(linter), "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_a_floor() -> None:
    """No module is left out of the layers that import-linter holds."""
    declared = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    layers = set(re.findall(r"waitroom\.([a-z_]+)", declared.split("[tool.importlinter]")[1]))
    present = {relative(path).split("/")[0].removesuffix(".py") for path in MODULES} - {"__init__", "__main__"}
    assert present <= layers


def test_no_module_has_an_empty_name() -> None:
    """A module is named for a concept, never `utils` or the like."""
    assert [relative(path) for path in MODULES if set(re.split(r"[/_.]", relative(path))) & EMPTY_WORDS] == []


def test_few_modules_touch_redis() -> None:
    """redis-py is imported where its errors are mapped or judged, and nowhere else."""
    assert [relative(path) for path in MODULES if touches(path, "redis") and not relative(path).startswith(REDIS)] == []


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_http_stays_above(package: str) -> None:
    """Below the web floor nothing knows of HTTP."""
    above = ("web/", "serve/", "asgi/", "demo/")
    assert [relative(path) for path in MODULES if touches(path, package) and not relative(path).startswith(above)] == []


@pytest.mark.parametrize("name", ["model", "errors"])
def test_the_ground_floor_stands_alone(name: str) -> None:
    """model and errors import nothing of the package and nothing that does I/O."""
    allowed = {"__future__", "re", "dataclasses", "enum", "typing"}
    assert {imported_name.split(".")[0] for imported_name in imported(PACKAGE / f"{name}.py")} <= allowed


def test_every_module_says_what_it_is_for() -> None:
    """Each module begins with a docstring and takes annotations from the future."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if text:
            assert ast.get_docstring(ast.parse(text)), relative(path)
        if imported(path):
            assert "from __future__ import annotations" in text, relative(path)


def test_key_names_are_spelled_in_one_place() -> None:
    """Only store/keys.py spells the name of a key in Redis."""
    spelling = re.compile(r"[\"']waitroom:(\{|lease|rooms)")
    guilty = {relative(path) for path in MODULES if spelling.search(path.read_text(encoding="utf-8"))}
    # A pass and a token name their audience, `waitroom:<room>`.
    assert guilty <= {"store/keys.py", "proofs/passes.py", "proofs/tokens.py"}


def test_what_takes_longest_is_there() -> None:
    """A test file that was moved keeps its place at the start of the suite."""
    assert [name for name in conftest.LONGEST if not (conftest.HERE / name).is_file()] == []
