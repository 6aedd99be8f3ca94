"""The embedded server's log: begun anew when it is large, and asked why a server stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

#: Bytes from which the log is begun anew at the next start.
LOG_BYTES = 4 * 1024 * 1024


def opened(path: Path) -> BinaryIO:
    """The log, to be written on and readable by this user alone."""
    path.touch(mode=0o600)
    log = path.open("ab")
    if log.tell() > LOG_BYTES:
        log.truncate(0)
        log.seek(0)
    return log


def reason(path: Path, began: int) -> str:
    """The last line of the log since its size was `began`, or what the server means by it."""
    with path.open("rb") as file:
        file.seek(began)
        said = file.read().decode(errors="replace")
    if "handle RDB format version" in said:
        return "a newer server wrote its data: install that server again, or give another --data-dir"
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    # Without process id and time: 7:M 02 Jan 2026 03:04:05.678 # What it says
    return re.sub(r"^\d+:\w [^*#]*[*#] ", "", lines[-1]) if lines else "it said nothing"
