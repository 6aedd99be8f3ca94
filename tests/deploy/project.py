"""What the project has, for tests that hold the files of deploy/ against it: settings, addresses, metrics, commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from typer.exceptions import TyperException
from typer.main import get_command

from waitroom.cli.main import app
from waitroom.errors import WaitroomError
from waitroom.serve.assemble import assemble
from waitroom.settings.server import ENVIRONMENT_PREFIX, ServerSettings
from waitroom.web.app import routes

ROOT: Final = Path(__file__).parent.parent.parent
DEPLOY: Final = ROOT / "deploy"

#: The pages on what the files of deploy/ are for.
DOCS: Final = ROOT / "docs" / "how-to"


def variables() -> set[str]:
    """The environment variables that are settings."""
    return {ENVIRONMENT_PREFIX + name.upper() for name in ServerSettings.model_fields}


@cache
def _paths() -> tuple[re.Pattern[str], ...]:
    settings = ServerSettings(redis_url="redis://127.0.0.1:1", signing_keys=["k1:" + "0123456789abcdef" * 3])
    return tuple(route.path_regex for route in routes(assemble(settings)))


def is_answered(path: str) -> bool:
    """Whether an instance has this address."""
    return any(pattern.match(path) for pattern in _paths())


def faults_of_command(words: Sequence[str]) -> list[str]:
    """What is wrong with `waitroom` followed by these words: an unknown command or option, an argument too few."""
    command: Any = get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0) if rest else ""
        if name not in command.commands:
            return [f"no command {name!r}"]
        command = command.commands[name]
    try:
        command.make_context(command.name, rest)
    except (TyperException, WaitroomError) as error:
        return [str(error)]
    return []


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]
