"""Settings as a test gives them, and the lines of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from waitroom.errors import SettingsError
from waitroom.settings.server import ServerSettings
from waitroom.settings.sources import load

SECRET = "Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"


ADMIN = "9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"


def loaded(
    toml: str = "", tmp_path: Path | None = None, env: Mapping[str, str] | None = None, **given: Any
) -> ServerSettings:
    """The settings from a file with that text, that environment and what was given."""
    path = None
    if tmp_path is not None:
        path = tmp_path / "waitroom.toml"
        path.write_text(toml, encoding="utf-8")
    return load(path, environment=env or {}, **given)


def faults(
    toml: str = "", tmp_path: Path | None = None, env: Mapping[str, str] | None = None, **given: Any
) -> list[str]:
    """The lines of the refusal."""
    with pytest.raises(SettingsError) as refused:
        loaded(toml, tmp_path, env, **given)
    return str(refused.value).splitlines()
