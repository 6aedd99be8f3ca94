"""What a command acts on: which waitroom, by three options that commands take as one parameter, and which room."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from waitroom.cli.printing import warn
from waitroom.errors import SettingsError
from waitroom.model import room_name
from waitroom.rooms.registry import Rooms
from waitroom.settings import sources
from waitroom.settings.server import ServerSettings
from waitroom.store.clock import Clock
from waitroom.store.embedded.folder import running_url
from waitroom.store.servers import connect
from waitroom.store.store import Store
from waitroom.store.url import has_password

Result = TypeVar("Result")

Config = Annotated[Path | None, typer.Option(help="TOML file with settings and rooms")]


def _without_password(url: str | None) -> str | None:
    """The URL. Raises SettingsError where it has a password: every process of the machine can read a command line."""
    if url and has_password(url):
        raise SettingsError(
            "redis_url: a password on the command line would show in the process list. Set WAITROOM_REDIS_URL, "
            "write the URL into the config file, or leave the password out and set redis_password_file"
        )
    return url


RedisUrl = Annotated[
    str | None,
    typer.Option(
        callback=_without_password, help="URL of the Redis or Valkey to use, by default the embedded server's"
    ),
]
DataDir = Annotated[str | None, typer.Option(help="folder of the embedded server's data and of generated keys")]


def _room_name(name: str) -> str:
    try:
        return room_name(name)
    except ValueError as error:
        raise SettingsError(str(error)) from None


Name = Annotated[str, typer.Argument(callback=_room_name, help="the room's name")]


@dataclass(frozen=True)
class Target:
    """The waitroom that a command acts on, as its options name it."""

    config: Config = None
    redis_url: RedisUrl = None
    data_dir: DataDir = None

    def load(self, **given: Any) -> ServerSettings:
        """Its settings, with those `given` on the command line. Raises SettingsError."""
        return sources.load(self.config, redis_url=self.redis_url, data_dir=self.data_dir, **given)

    @cached_property
    def settings(self) -> ServerSettings:
        """Its settings, as this command sees them. Raises SettingsError."""
        settings = self.load()
        # Else a command would act on the embedded server where another one is meant.
        for line in sources.strangers():
            warn(line)
        return settings

    @cached_property
    def url(self) -> str:
        """The URL of its Redis. Raises SettingsError where none is named and no embedded server runs."""
        folder = Path(self.settings.data_dir)
        url = self.settings.redis_url or running_url(folder)
        if url is None:
            raise SettingsError(
                f"redis_url: none given, and no embedded server runs on {str(folder.absolute())!r}. "
                "Name one with --redis-url, or the server's folder with --data-dir"
            )
        return url

    def with_rooms(self, work: Callable[[Rooms], Awaitable[Result]]) -> Result:
        """Do something with the rooms that its Redis holds, without being an instance."""
        url = self.url

        async def connected() -> Result:
            store = Store(connect(url, timeout_seconds=2), Clock(), timeout_seconds=2)
            try:
                return await work(Rooms(store, {}))
            finally:
                await store.close()

        return asyncio.run(connected())


def on_target(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the options of Target instead of its keyword `target`."""
    signature = inspect.signature(command, eval_str=True)
    options = inspect.signature(Target, eval_str=True).parameters

    @wraps(command)
    def with_options(**given: Any) -> None:
        target = Target(**{name: given.pop(name) for name in options})
        command(target=target, **given)

    own = [parameter for name, parameter in signature.parameters.items() if name != "target"]
    with_options.__signature__ = signature.replace(parameters=[*own, *options.values()])  # type: ignore[attr-defined]
    return with_options
