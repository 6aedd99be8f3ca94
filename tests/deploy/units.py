"""systemd unit files as sections of settings, in the order in which systemd reads them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNITS_OF_TIME: Final = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Unit:
    """A unit file: for each section its settings, which may stand there more than once."""

    path: Path
    settings: tuple[tuple[str, str, str], ...]

    def all(self, name: str) -> list[str]:
        """What a setting was given, each time; an empty value throws away what came before."""
        values: list[str] = []
        for _, found, value in self.settings:
            if found == name:
                values = [*values, value] if value else []
        return values

    def one(self, name: str) -> str:
        """What a setting was given last."""
        return self.all(name)[-1]

    def seconds(self, name: str) -> float:
        """A setting that is a span of time."""
        return in_seconds(self.one(name))

    def environment(self) -> dict[str, str]:
        """The variables that the unit itself sets."""
        words = [word for value in self.all("Environment") for word in shlex.split(value)]
        return dict(word.partition("=")[::2] for word in words)


def in_seconds(span: str) -> float:
    """A span of time such as `25`, `30s` or `10min` in seconds."""
    digits = span.rstrip("abcdefghijklmnopqrstuvwxyz")
    return float(digits) * _UNITS_OF_TIME[span.removeprefix(digits)]


def read(path: Path) -> Unit:
    """A unit file, parsed."""
    section, settings = "", []
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text.strip("[]")
        elif text and text[0] not in "#;":
            name, separator, value = text.partition("=")
            assert section, f"{path.name}: {line!r}"
            assert separator, f"{path.name}: {line!r}"
            settings.append((section, name, value))
    return Unit(path, tuple(settings))
