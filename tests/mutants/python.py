"""Mutants of Python modules, made and run by mutmut in a copy of the project.

mutmut puts faults into functions. What stands at module level, properties and decorated functions it leaves alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutants import judging

_PROJECT: Final = Path(__file__).parent.parent.parent

#: What the copy needs.
_COPIED: Final = ("waitroom", "rig", "crowd", "tests", "lua", "deploy", "pyproject.toml")

_MUTMUT: Final = (sys.executable, "-m", "mutmut")

#: What pytest ends with when a test failed.
_FAILED: Final = 1


class Group(NamedTuple):
    """Modules, what of them is given faults (as mutmut calls it), and the tests that have to notice."""

    modules: tuple[str, ...]
    mutants: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS: Final = {
    "proofs": Group(
        ("proofs/keyring", "proofs/passes", "proofs/tickets"),
        ("*",),
        ("tests/proofs/test_keyring.py", "tests/proofs/test_passes.py", "tests/proofs/test_tickets.py"),
    ),
    "leadership": Group(("leader/leadership",), ("*",), ("tests/leader/test_leadership.py",)),
    "recovery": Group(
        ("rooms/recovery",),
        ("waitroom.rooms.recovery.x_happened*", "waitroom.rooms.recovery.x__is_made_anew*"),
        ("tests/rooms/test_recovery.py",),
    ),
    "returns": Group(
        ("returns", "web/forward", "web/page/address"),
        ("waitroom.returns.*", "waitroom.web.forward.x_requested*", "waitroom.web.page.address.x_asked_return*"),
        (
            "tests/test_returns.py",
            "tests/web/test_forward.py",
            "tests/web/page/test_address.py",
            "tests/web/test_wait.py",
        ),
    ),
    "gate": Group(
        ("rooms/memory", "rooms/room", "web/gate", "web/proofs"),
        (
            "waitroom.web.gate.*",
            "waitroom.web.proofs.*",
            "waitroom.rooms.room.*is_revoked*",
            "waitroom.rooms.room.*renew*",
            "waitroom.rooms.memory.*learn*",
        ),
        (
            "tests/rooms/test_broken_rooms.py",
            "tests/rooms/test_lost_rooms.py",
            "tests/rooms/test_registry.py",
            "tests/web/test_gate.py",
            "tests/web/test_gate_decision.py",
            "tests/web/test_proofs.py",
        ),
    ),
}


class Judged(NamedTuple):
    """One mutant. `exit_code` is what its tests ended with."""

    name: str
    exit_code: int

    @property
    def noticed(self) -> bool:
        """Whether a test failed. One that hangs has noticed nothing, nor has pytest when it cannot begin."""
        return self.exit_code == _FAILED


def run(group: Group, folder: Path) -> dict[str, Judged]:
    """The mutants of a group, by key, after mutmut has run them in that folder."""
    for name in _COPIED:
        source = _PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    configuration = folder / "pyproject.toml"
    chosen = f"only_mutate = {json.dumps([f'waitroom/{name}.py' for name in group.modules])}\n"
    chosen += f"pytest_add_cli_args_test_selection = {json.dumps(group.tests)}\n"
    text = configuration.read_text(encoding="utf-8")
    configuration.write_text(text.replace("[tool.mutmut]\n", f"[tool.mutmut]\n{chosen}"), encoding="utf-8")
    done = subprocess.run(
        [*_MUTMUT, "run", "--max-children", "1", *group.mutants],
        cwd=folder,
        capture_output=True,
        text=True,
        # mutmut's names of functions are not ASCII, and pytest writes them where a test fails.
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"mutmut ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return {_key(judged, folder): judged for module in group.modules for judged in _judged(folder, module)}


def _judged(folder: Path, module: str) -> Iterator[Judged]:
    results = json.loads((folder / "mutants" / "waitroom" / f"{module}.py.meta").read_text(encoding="utf-8"))
    for name, exit_code in results["exit_code_by_key"].items():
        if exit_code is not None:
            yield Judged(name, exit_code)


def _key(judged: Judged, folder: Path) -> str:
    """The function and what differs in it. Only survivors need it."""
    function = judged.name.partition("__mutmut_")[0].replace("x_", "").replace("xǁ", "").replace("ǁ", ".")
    if judged.noticed:
        return judged.name
    shown = subprocess.run(
        [*_MUTMUT, "show", judged.name], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    lines = [line for line in shown if not line.startswith(("---", "+++", "@@"))]
    before, after = ("\n".join(line[1:] for line in lines if not line.startswith(sign)) for sign in "+-")
    return judging.key(function, before, after)
