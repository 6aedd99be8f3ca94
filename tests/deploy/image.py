"""The image without a container engine: the Dockerfile parsed, and its commands run once for all tests.

Every path that the Dockerfile names begins below a folder in /tmp instead of at `/`. The stages share it, because
programs are installed with their own path inside. The commands, their order and their environment are as they stand
there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from docker.utils.build import PatternMatcher

from rig.machine import missing
from tests.deploy import project

DOCKERFILE: Final = project.DEPLOY / "Dockerfile"

#: Seconds that one command may take.
_PATIENCE_SECONDS: Final = 240


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word and what follows, on one line."""

    word: str
    rest: str

    @property
    def listed(self) -> list[str]:
        """The words of the exec form, behind options."""
        found: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return found

    @property
    def pairs(self) -> dict[str, str]:
        """The `name=value` pairs of ENV, LABEL and ARG."""
        return dict(word.partition("=")[::2] for word in shlex.split(self.rest))


def parsed() -> list[Instruction]:
    """The instructions of the Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found = [re.fullmatch(r"([A-Z]+)\s+(.+)", line.strip()) for line in text.splitlines() if line.strip()]
    assert all(found), "a line that is no instruction"
    return [Instruction(match[1], match[2]) for match in found if match]


def said(word: str) -> Instruction:
    """The one instruction of that word in the last stage, which becomes the image."""
    found: list[Instruction] = []
    for instruction in parsed():
        if instruction.word == "FROM":
            found.clear()
        if instruction.word == word:
            found.append(instruction)
    (only,) = found
    return only


def ignored(context: Path) -> PatternMatcher:
    """What the .dockerignore of a folder keeps from the builder."""
    lines = (line.strip() for line in (context / ".dockerignore").read_text(encoding="utf-8").splitlines())
    return PatternMatcher([line for line in lines if line and not line.startswith("#")])


def identity() -> dict[str, Any]:
    """Arguments for subprocess that make it the image's user; none where this user is nobody in particular."""
    if os.getuid() != 0:
        return {}
    user = int(said("USER").rest.partition(":")[0])
    return {"user": user, "group": user, "extra_groups": []}


@dataclass
class Image:
    """What comes of a FROM: a root, an environment, a working folder."""

    root: Path
    environment: dict[str, str]
    folder: str = "/"

    def at(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / os.path.join(self.folder, path).lstrip("/")

    def moved(self, text: str) -> str:
        """A text in which the image's own paths lead here."""
        return re.sub(r"(?<![\w.$/-])/(src|dist|opt/waitroom|var/lib/waitroom)\b", rf"{self.root}/\1", text)

    def copy(self, *words: str) -> None:
        """COPY, from the project or from another stage."""
        if words[0].startswith("--from="):
            # From one stage to the other at the same path, which they share here.
            assert words[1] == words[2]
            assert self.at(words[1]).exists()
            return
        *sources, target = words
        sent = [path for path in map(Path, ignored(project.ROOT).walk(project.ROOT)) if (project.ROOT / path).is_file()]
        for source in sources:
            files = [path for path in sent if path.is_relative_to(source)]
            assert files, f"COPY {source}: nothing of it reaches the builder"
            for path in files:
                inside = path.relative_to(source) if (project.ROOT / source).is_dir() else path.name
                place = self.at(target) / inside
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(project.ROOT / path, place)

    def run(self, command: str) -> None:
        """RUN. Raises CalledProcessError."""
        if os.getuid() != 0:
            # Giving a folder away needs root, as a builder is.
            command = re.sub(r" -[og] [0-9]+", "", command)
        subprocess.run(
            ["/bin/sh", "-c", self.moved(command)],
            check=True,
            env=self.environment,
            cwd=self.at("."),
            umask=0o022,
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
        )


def _build(root: Path, outside: dict[str, str]) -> Image:
    image, arguments = Image(root, {}), dict[str, str]()
    for instruction in parsed():
        match instruction.word:
            case "FROM":
                image = Image(root, dict(outside))
            case "ARG":
                arguments |= instruction.pairs
            case "ENV":
                known = arguments | image.environment
                for name, value in instruction.pairs.items():
                    used = re.sub(r"\$\{?(\w+)\}?", lambda found: known[found[1]], value)  # noqa: B023 - used at once
                    image.environment[name] = image.moved(used)
            case "WORKDIR":
                image.folder = instruction.rest
                image.at(".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                image.copy(*instruction.rest.split())
            case "RUN":
                image.run(instruction.rest)
    return image


@contextmanager
def built() -> Iterator[Image]:
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
        try:
            image = _build(folder / "root", {"PATH": f"{base}/bin:/usr/bin:/bin", "HOME": str(folder), **pip})
        except subprocess.CalledProcessError as error:
            text = (error.stdout + error.stderr).decode()
            if "Could not find a version" in text:
                missing(f"a package index to install from ({text[-300:]})")
            pytest.fail(f"{error.cmd}: {text[-2000:]}")
        yield image


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
