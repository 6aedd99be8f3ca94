"""The tests of the scripts against one mutant after another.

Each mutant is judged in a process that is forked from this one, so that nothing is imported twice; the process has a
group of its own, which is killed when the tests hang.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import hypothesis  # noqa: F401  imported before the forks
import pytest
import redis.asyncio  # noqa: F401

from tests.mutants import lua
from waitroom.store import scripts, store  # noqa: F401

#: Where the tests of the scripts are.
_TESTS: Final = Path(__file__).parent.parent / "lua"

#: Seconds that the tests of the scripts may take on a busy machine.
_PATIENCE_SECONDS: Final = 600.0

#: One of the engines is enough: the scripts are the same.
_ARGUMENTS: Final = (
    *("-x", "-q", "-k", "valkey", "-p", "no:cacheprovider"),
    # Hypothesis was imported before pytest could rewrite its assertions.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


def rounds(file: str) -> tuple[list[str], list[str]]:
    """Files of tests: those of the scripts concerned and the quick ones, then all others.

    What only reads the texts is not asked.
    """
    every = sorted(path.stem for path in _TESTS.glob("test_*.py") if path.stem not in ("test_headers", "test_shared"))
    own = [f"test_{script}" for script in lua.scripts_with(file) if f"test_{script}" in every]
    first = [*own, *(name for name in ("test_edges", "test_silence") if name not in own)]
    then = ["test_faults", "test_repetition", "test_machine", *every]
    names = list(dict.fromkeys([*first, *then]))
    files = [str(_TESTS / f"{name}.py") for name in names]
    return files[: len(first)], files[len(first) :]


def is_noticed(file: str, text: str) -> bool:
    """Whether a test fails when that file, a script or a shared block, has this text."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "shared").mkdir()
        for name in lua.files():
            (Path(folder) / f"{name}.lua").write_text(text if name == file else scripts.source(name))
        return any(_verdict(files, Path(folder)) != 0 for files in rounds(file))


def _verdict(files: Sequence[str], folder: Path) -> int:
    child = os.fork()
    if child == 0:
        _run(files, folder)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"the tests did not end within {_PATIENCE_SECONDS:g} s")
        time.sleep(0.01)


def _run(files: Sequence[str], folder: Path) -> None:
    """In the child: the tests against the scripts of that folder."""
    os.setsid()
    os.environ["WAITROOM_MACHINE"] = "mutants"
    scripts.folder = lambda: folder
    scripts.load.cache_clear()
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(int(pytest.main([*_ARGUMENTS, *files])))
