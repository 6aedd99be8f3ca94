"""What this machine has, and what it lacks."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

#: Folders in which programs may lie that are not on every user's PATH: those of wheels first.
_FOLDERS: Final = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")


class Missing(Exception):
    """Something that is needed is not on this machine, or not allowed there; the message says what."""


def missing(what: str) -> NoReturn:
    """Raise Missing."""
    raise Missing(f"{what} is missing on this machine")


def program(name: str, *, package: str = "") -> str:
    """The program of that name, of a wheel or the system's. Raises Missing that names the Debian `package`."""
    found = shutil.which(name, path=os.pathsep.join(_FOLDERS))
    return found or missing(f"{name} (Debian: {package or name})")


def faketime() -> str:
    """The library that shifts the clock of a process that loads it. Raises Missing.

    Killed processes leave their shared memory behind, and one of the same number could not start: it is taken away.
    """
    found = [*Path("/usr/lib").glob(f"{platform.machine()}-*/faketime/libfaketime.so.1")]
    for left in Path("/dev/shm").glob("*faketime_*"):  # noqa: S108 - nothing of ours is put there
        if not Path("/proc", left.name.rpartition("_")[2]).exists():
            left.unlink(missing_ok=True)
    return str(found[0]) if found else missing("libfaketime (Debian: faketime)")


def allow_many_files() -> None:
    """Lift the soft limit on open files, for thousands of connections here and in every child."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
