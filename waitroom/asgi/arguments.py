"""The middleware's arguments: what is wrong with them, all at once, by name and value."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final, Literal, TypedDict
from urllib.parse import urlsplit

from waitroom.asgi.instance import own_instance
from waitroom.asgi.keeper import Opening
from waitroom.asgi.paths import is_plain
from waitroom.errors import SettingsError
from waitroom.model import ROOM_NAME, ROOM_NAME_RULE
from waitroom.serve.assemble import assemble
from waitroom.settings import sources
from waitroom.settings.room import RoomSettings
from waitroom.settings.server import ServerSettings
from waitroom.texts import stripped

#: Settings of `waitroom serve`: here the application's server listens, logs and stops, and there is no admin API.
#: There are no event streams: they could not be told of the server's end, and would hold it up.
OF_SERVE: Final = frozenset(
    {
        *("admin_key", "data_dir", "drain_seconds", "host", "log_level", "port", "production", "workers"),
        *("max_streams", "max_streams_per_address"),
    }
)


class Settings(TypedDict, total=False):
    """The settings that the middleware takes with `redis_url`, as `waitroom.settings.server` declares them."""

    redis_password_file: str
    signing_keys: list[str]
    enqueue_keys: list[str]
    trusted_proxies: list[str]
    public_url: str
    same_site: Literal["lax", "none"]
    tick_seconds: float
    lease_seconds: float
    redis_timeout_seconds: float
    max_backlog: int
    rooms: Mapping[str, RoomSettings | Mapping[str, Any]]


def exemptions(exempt: object, exempt_prefixes: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The exact paths and the prefixes. Raises SettingsError."""
    faults = [*_path_faults("exempt", exempt), *_path_faults("exempt_prefixes", exempt_prefixes)]
    if isinstance(exempt_prefixes, Collection) and "/" in exempt_prefixes:
        faults.append("exempt_prefixes: '/' would exempt every path")
    if faults:
        raise SettingsError("\n".join(faults))
    return tuple(exempt), tuple(exempt_prefixes)  # type: ignore[arg-type]  # judged above


def _path_faults(name: str, paths: object) -> list[str]:
    if isinstance(paths, str | bytes) or not isinstance(paths, Collection):
        return [f"{name}: must be a list of paths, got {paths!r}"]
    return [
        f"{name}: must be a path without %, ;, dot segments and double slashes, got {path!r}"
        for path in paths
        if not isinstance(path, str) or not is_plain(path)
    ]


def opening(room: object, server: object, redis_url: object, settings: Mapping[str, Any]) -> Opening:
    """How the keeper is opened. Raises SettingsError, or ImportError without httpx."""
    if not isinstance(room, str) or not ROOM_NAME.match(room):
        raise SettingsError(f"room: must be a room's name ({ROOM_NAME_RULE}), got {room!r}")
    if (server is None) == (redis_url is None):
        given = "both" if server is not None else "none"
        raise SettingsError(f"server, redis_url: exactly one of the two is needed, got {given}")
    return _asking(room, server, settings) if server is not None else _own(room, redis_url, settings)


def _asking(room: str, server: object, settings: Mapping[str, Any]) -> Opening:
    faults = [f"{name}: goes with redis_url, not with server" for name in settings]
    if not _is_address(server):
        # Where there is an @ there may be a password.
        shown = "" if "@" in str(server) else f", got {server!r}"
        faults.insert(0, f"server: must be http://host:port or https://host:port{shown}")
    if faults:
        raise SettingsError("\n".join(faults))
    # Imported here: httpx is needed for this alone.
    from waitroom.asgi.remote import remote_server

    return partial(remote_server, str(server).rstrip("/"), room)


def _is_address(server: object) -> bool:
    try:
        parts = urlsplit(server) if isinstance(server, str) else None
        return (
            parts is not None
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port or 1) > 0
            and parts.username is None
            and parts.path in ("", "/")
            and not parts.query
            and not parts.fragment
            and str(server).isascii()
            and str(server).isprintable()
        )
    except ValueError:
        return False


def _own(room: str, redis_url: object, settings: Mapping[str, Any]) -> Opening:
    checked = _settings(room, redis_url, settings)
    # Thrown away: it raises SettingsError for files of `redis_url` that cannot be read.
    assemble(checked)
    return partial(own_instance, checked, room)


def _settings(room: str, redis_url: object, given: Mapping[str, Any]) -> ServerSettings:
    known = {name: value for name, value in given.items() if name in ServerSettings.model_fields.keys() - OF_SERVE}
    faults = [f"{name}: no such setting" for name in given.keys() - ServerSettings.model_fields.keys()]
    faults += [f"{name}: a setting of `waitroom serve`, without effect here" for name in given if name in OF_SERVE]
    if not redis_url or (isinstance(redis_url, str) and not stripped(redis_url)):
        faults.append(f"redis_url: must be redis://host:port/0 or the like, got {redis_url!r}")
    if not given.get("signing_keys"):
        faults.append(
            "signing_keys: missing. Give every process of the room the same (`openssl rand -base64 32` makes a secret)"
        )
    # The room is made if it does not exist: an application that says 403 for every page is of no use.
    known.setdefault("rooms", {room: {}})
    try:
        # The key has no use: the admin API is not served. Arguments only, so that the environment of an
        # application does not change what its code says.
        settings = sources.load(
            environment={}, redis_url=redis_url, admin_key=secrets.token_urlsafe(32), max_streams=0, **known
        )
    except SettingsError as error:
        faults += str(error).splitlines()
    if faults:
        raise SettingsError("\n".join(faults))
    return settings
