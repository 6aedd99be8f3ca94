"""The image without a container engine: the Dockerfile's commands run once for all tests, below a folder in /tmp."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from rig.machine import missing
from tests.deploy import project
from tests.deploy.dockerfile import Builder, Instruction, Stage, parsed

DOCKERFILE: Final = project.DEPLOY / "Dockerfile"


def last_stage() -> list[Instruction]:
    """The instructions of the stage that becomes the image."""
    instructions = parsed(DOCKERFILE)
    begins = max(number for number, instruction in enumerate(instructions) if instruction.word == "FROM")
    return instructions[begins:]


def said(word: str) -> Instruction:
    """The one instruction of that word in the last stage."""
    (found,) = (instruction for instruction in last_stage() if instruction.word == word)
    return found


def identity() -> dict[str, Any]:
    """Arguments for subprocess that make it the image's user; none where this user is nobody in particular."""
    if os.getuid() != 0:
        return {}
    user = int(said("USER").rest.partition(":")[0])
    return {"user": user, "group": user, "extra_groups": []}


@contextmanager
def built() -> Iterator[Stage]:
    """The last stage, after every command of the Dockerfile was run; its folder is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="wr-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        base = folder / "base"
        subprocess.run([_public_python(), "-m", "venv", "--without-pip", str(base)], check=True, umask=0o022)
        # The base image has pip; here it is this environment's, with the packages that build a wheel.
        (site,) = base.glob("lib/python*/site-packages")
        borrowed = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "borrowed.pth").write_text(f"{borrowed}\n")
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
        environment = {"PATH": f"{base}/bin:/usr/bin:/bin", "HOME": str(folder), **pip}
        yield _run(Builder(project.ROOT, folder / "root", environment=environment))


def _run(builder: Builder) -> Stage:
    try:
        return builder.build(DOCKERFILE)
    except subprocess.CalledProcessError as error:
        text = (error.stdout + error.stderr).decode()
        if "Could not find a version" in text:
            missing(f"a package index to install from ({text[-300:]})")
        pytest.fail(f"{error.cmd}: {text[-2000:]}")


def _public_python() -> str:
    """A Python that the image's user may run."""
    names = (getattr(sys, "_base_executable", sys.executable), "/usr/local/bin/python3", "/usr/bin/python3")
    return next((name for name in names if _is_fit(name)), "") or missing("a Python 3.11 that other users may run")


def _is_fit(program: str) -> bool:
    command = [program, "-c", "import sys, ssl, venv; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(command, cwd="/", capture_output=True, check=False, **identity()).returncode == 0
    except OSError:
        return False
