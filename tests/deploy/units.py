"""systemd unit files as settings, in the order in which systemd reads them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

_UNITS_OF_TIME: Final = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}


class Unit:
    """A unit file: its settings, each of which may stand there more than once."""

    def __init__(self, path: Path) -> None:
        lines = (line.strip() for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines())
        pairs = [line.partition("=") for line in lines if line and line[0] not in "#;["]
        assert all(separator for _, separator, _ in pairs), path
        self._settings = [(name, value) for name, _, value in pairs]

    def all(self, name: str) -> list[str]:
        """What a setting was given, each time."""
        return [value for found, value in self._settings if found == name]

    def pairs(self) -> list[tuple[str, str]]:
        """Each setting and what it was given, in order."""
        return self._settings

    def one(self, name: str) -> str:
        """What a setting was given last."""
        return self.all(name)[-1]

    def environment(self) -> dict[str, str]:
        """The variables that the unit itself sets."""
        words = [word for value in self.all("Environment") for word in shlex.split(value)]
        return dict(word.partition("=")[::2] for word in words)


def in_seconds(span: str) -> float:
    """A span of time such as `25`, `30s` or `10min` in seconds."""
    digits = span.rstrip("abcdefghijklmnopqrstuvwxyz")
    return float(digits) * _UNITS_OF_TIME[span.removeprefix(digits)]
