"""What tests of the embedded server look at: processes, groups, a client."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis import Redis


@contextlib.contextmanager
def client(url: str) -> Iterator[Any]:
    with Redis.from_url(url, decode_responses=True) as connected:
        yield connected


def process_id(url: str) -> int:
    with client(url) as redis:
        return int(redis.info("server")["process_id"])


def group_of(url: str) -> int:
    """The process group that the guard, its watcher and the server form."""
    return os.getpgid(process_id(url))


def living(group: int) -> list[str]:
    """The processes of a group that still run; a zombie no longer does."""
    return list(_listed(group).values())


def members(group: int) -> set[int]:
    """The ids of the same."""
    return set(_listed(group))


def _listed(group: int) -> dict[int, str]:
    said = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=3) for line in said.stdout.splitlines()]
    return {int(row[0]): row[-1] for row in rows if int(row[1]) == group and not row[2].startswith("Z")}


def script(path: Path, text: str, *, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path
