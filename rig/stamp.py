"""Where and with what something was measured: a figure without it means nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from waitroom.demo.nginx import nginx_binary
from waitroom.demo.processes import DemoError
from waitroom.store.embedded.program import find_server

_LIBRARIES = ("waitroom", "starlette", "uvicorn", "uvloop", "httptools", "redis", "hiredis", "orjson", "pyjwt")


def stamp(**more: Any) -> dict[str, Any]:
    """Machine, kernel and versions; `more` is what a measurement adds, such as its own settings."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: version(name) for name in _LIBRARIES},
        "redis": _said([str(find_server()), "--version"], r"v=([\d.]+)", name=find_server().name),
        "nginx": _nginx(),
        "wrk": _said(["wrk", "-v"], r"wrk (\S+)"),
        **more,
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return f"{platform.machine()}, {found[1]}" if found else platform.machine()


def _nginx() -> str:
    try:
        return _said([str(nginx_binary()), "-v"], r"nginx/([\d.]+)")
    except DemoError:
        return "none"


def _said(command: list[str], pattern: str, *, name: str = "") -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "none"
    found = re.search(pattern, done.stdout + done.stderr)
    return f"{name} {found[1]}".strip() if found else "unknown"
