"""A Dockerfile without a container engine: parsed, and its commands run in a folder that stands for the root.

Every path that the Dockerfile names begins below that folder instead of at `/`. The stages share it, because programs
are installed with their own path inside. The commands, their order and their environment are as they stand there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

#: Seconds that one command may take.
_PATIENCE_SECONDS: Final = 240

_INSTRUCTION: Final = re.compile(r"(?P<word>[A-Z]+)\s+(?P<rest>.+)", re.DOTALL)
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word and what follows, on one line."""

    word: str
    rest: str

    @property
    def listed(self) -> list[str]:
        """The words of the exec form."""
        found: list[str] = json.loads(self.rest)
        return found

    @property
    def pairs(self) -> dict[str, str]:
        """The `name=value` pairs of ENV and LABEL."""
        return dict(word.partition("=")[::2] for word in shlex.split(self.rest))


def parsed(path: Path) -> list[Instruction]:
    """The instructions of a Dockerfile."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    found = [_INSTRUCTION.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    assert all(found), "a line that is no instruction"
    return [Instruction(match["word"], match["rest"]) for match in found if match]


@dataclass
class Stage:
    """What a FROM begins: a root, an environment, a working folder."""

    root: Path
    environment: dict[str, str]
    instructions: list[Instruction] = field(default_factory=list)
    folder: str = "/"

    def at(self, path: str) -> Path:
        """Where a path of the image lies here."""
        absolute = path if path.startswith("/") else f"{self.folder.rstrip('/')}/{path}"
        return self.root / absolute.lstrip("/")

    def moved(self, text: str) -> str:
        """A text in which the image's own paths lead here."""
        return re.sub(r"(?<![\w.$/-])/(src|dist|opt/waitroom|var/lib/waitroom)\b", rf"{self.root}/\1", text)

    def last(self, word: str) -> Instruction:
        """The instruction of that word that counts."""
        return [instruction for instruction in self.instructions if instruction.word == word][-1]


class Builder:
    """Runs a Dockerfile's stages below a folder that stands for the root."""

    def __init__(self, context: Path, root: Path, *, environment: Mapping[str, str]) -> None:
        self._context = context
        self._root = root
        self._outside = dict(environment)
        self._allowed = Ignored(context / ".dockerignore")

    def build(self, dockerfile: Path) -> Stage:
        """Run it all; the last stage. Raises CalledProcessError with what the failing command said."""
        arguments: dict[str, str] = {}
        stage: Stage | None = None
        for instruction in parsed(dockerfile):
            if instruction.word == "FROM":
                stage = Stage(self._root, dict(self._outside))
            elif instruction.word == "ARG":
                name, _, value = instruction.rest.partition("=")
                arguments[name] = value
            if stage is not None:
                stage.instructions.append(instruction)
                self._do(stage, instruction, arguments)
        assert stage is not None
        return stage

    def _do(self, stage: Stage, instruction: Instruction, arguments: Mapping[str, str]) -> None:
        if instruction.word == "ENV":
            for name, value in instruction.pairs.items():
                known = {**arguments, **stage.environment}
                stage.environment[name] = stage.moved(
                    _VARIABLE.sub(lambda match: known[match[1] or match[2]], value)  # noqa: B023 - used at once
                )
        elif instruction.word == "WORKDIR":
            stage.folder = instruction.rest
            stage.at(".").mkdir(parents=True, exist_ok=True)
        elif instruction.word == "COPY":
            self._copy(stage, instruction.rest.split())
        elif instruction.word == "RUN":
            self._run(stage, stage.moved(instruction.rest))

    def _copy(self, stage: Stage, words: list[str]) -> None:
        if words[0].startswith("--from="):
            # From one stage to the other at the same path, which they share here.
            assert words[1] == words[2]
            assert stage.at(words[1]).exists()
            return
        *sources, target = words
        for name in sources:
            source = self._context / name
            files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
            copied = 0
            for file in files:
                inside = file.relative_to(self._context)
                if self._allowed.lets_through(inside):
                    place = stage.at(target) / (file.relative_to(source) if source.is_dir() else file.name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, place)
                    copied += 1
            assert copied, f"COPY {name}: nothing of it reaches the builder"

    def _run(self, stage: Stage, command: str) -> None:
        if os.getuid() != 0:
            # Giving a folder away needs root, as a builder is.
            command = re.sub(r" -[og] [0-9]+", "", command)
        subprocess.run(
            ["/bin/sh", "-c", command],
            check=True,
            env=stage.environment,
            cwd=stage.at("."),
            umask=0o022,
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
        )


class Ignored:
    """A .dockerignore: the last pattern that matches a path, or a folder above it, decides."""

    def __init__(self, file: Path) -> None:
        lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        self._patterns = [line for line in lines if line and not line.startswith("#")]

    def lets_through(self, path: Path) -> bool:
        """Whether the path is part of what the builder gets."""
        kept = True
        for pattern in self._patterns:
            name = pattern.removeprefix("!").rstrip("/")
            anywhere = name.startswith("**/")
            for part in (path, *path.parents):
                where = part.name if anywhere else str(part)
                # A star stops at a slash.
                if fnmatch(where, name.removeprefix("**/")) and where.count("/") == name.removeprefix("**/").count("/"):
                    kept = pattern.startswith("!")
        return kept
