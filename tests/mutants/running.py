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


def rounds(script: str) -> tuple[list[str], list[str]]:
    """Files of tests: the script's own and the quick ones, then all others. What only reads the texts is not asked."""
    first = [f"test_{script}", "test_edges", "test_silence", "test_faults", "test_repetition", "test_machine"]
    others = sorted(path.stem for path in _TESTS.glob("test_*.py") if path.stem not in (*first, "test_headers"))
    files = [str(_TESTS / f"{name}.py") for name in (*first, *others)]
    return files[:3], files[3:]


def is_noticed(script: str, text: str) -> bool:
    """Whether a test fails when that script has this text."""
    with tempfile.TemporaryDirectory() as folder:
        for path in Path(str(scripts.folder())).glob("*.lua"):
            (Path(folder) / path.name).write_text(text if path.stem == script else path.read_text())
        return any(_verdict(files, Path(folder)) != 0 for files in rounds(script))


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
